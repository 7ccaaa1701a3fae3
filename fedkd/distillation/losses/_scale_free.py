"""What losses that do not depend on the scale of what they compare have in common."""

from torch import Tensor


def to_unit(values: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The values divided by their largest size over ``dims``, so that no square of theirs is too large or small.

    The divisor counts as a constant, which leaves gradients right where the scale does not matter. Zeros stay zeros.
    """
    largest = values.detach().abs().amax(dim=dims, keepdim=True)
    return values / largest.where(largest > 0, largest.new_ones(()))
