"""Sums of clipped per-sample gradients, of any model in which a sample has a gradient of its own."""

from fedkd.privacy.per_sample._choice import (
    ClippedSum,
    check_trainable_privately,
    clipped_gradient_sum,
    clipped_sum_of,
)

__all__ = ["ClippedSum", "check_trainable_privately", "clipped_gradient_sum", "clipped_sum_of"]
