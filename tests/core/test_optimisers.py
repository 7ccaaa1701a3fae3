"""The optimisers against torch's own, bit for bit."""

import copy
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from fedkd.core.optimisers import SGD, Adam, Optimiser

Maker = Callable[[list[Tensor]], Optimiser | torch.optim.Optimizer]

PAIRS: Mapping[str, tuple[Maker, Maker]] = {
    "sgd": (lambda own: SGD(own, 0.1), lambda own: torch.optim.SGD(own, lr=0.1)),
    "sgd with decay": (lambda own: SGD(own, 0.1, 0.0, 0.03), lambda own: torch.optim.SGD(own, 0.1, weight_decay=0.03)),
    "momentum": (lambda own: SGD(own, 0.1, 0.9), lambda own: torch.optim.SGD(own, lr=0.1, momentum=0.9)),
    "momentum with decay": (
        lambda own: SGD(own, 0.1, 0.9, 0.03),
        lambda own: torch.optim.SGD(own, lr=0.1, momentum=0.9, weight_decay=0.03),
    ),
    "adam": (lambda own: Adam(own, 0.01), lambda own: torch.optim.Adam(own, lr=0.01)),
    "adam with decay": (
        lambda own: Adam(own, 0.01, 0.03),
        lambda own: torch.optim.Adam(own, lr=0.01, weight_decay=0.03),
    ),
}


def start(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Parameters of several shapes, one of them laid out by channels."""
    draw = torch.Generator().manual_seed(0)
    shapes = [(7, 5), (7,), (4, 3, 3, 3), ()]
    found = [torch.randn(shape, generator=draw).to(dtype) for shape in shapes]
    found[2] = found[2].contiguous(memory_format=torch.channels_last)
    return [each.requires_grad_() for each in found]


def give_gradients(parameters: list[Tensor], step: int, without: int | None = None) -> None:
    draw = torch.Generator().manual_seed(step)
    for index, parameter in enumerate(parameters):
        gradient = torch.randn(parameter.shape, generator=draw).to(parameter)
        parameter.grad = None if index == without else gradient


def set_rate(optimiser: Optimiser | torch.optim.Optimizer, rate: float) -> None:
    if isinstance(optimiser, Optimiser):
        optimiser.learning_rate = rate
    else:
        optimiser.param_groups[0]["lr"] = rate


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(left, right) for left, right in zip(one, other, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_steps_are_those_of_torch(name: str, dtype: torch.dtype) -> None:
    """Also where a parameter has no gradient at its first steps or later, and as the learning rate changes."""
    moved = []
    for make in PAIRS[name]:
        parameters = start(dtype)
        optimiser = make(parameters)
        for step in range(12):
            give_gradients(parameters, step, without={0: 1, 1: 1, 2: 3, 6: 0}.get(step))
            if step >= 8:
                set_rate(optimiser, 0.1 / step)
            gradients = [each.grad for each in parameters if each.grad is not None]
            before = [each.clone() for each in gradients]
            optimiser.step()
            assert equal(gradients, before)
        moved.append([parameter.detach() for parameter in parameters])
    assert equal(*moved)
    assert not equal(moved[0], start(dtype))


@pytest.mark.parametrize("kept_by", ["its own kind", "torch"])
@pytest.mark.parametrize("name", PAIRS)
def test_a_kept_state_goes_on_as_if_nothing_had_been(name: str, kept_by: str) -> None:
    make = PAIRS[name][0]
    going_on = start()
    before = PAIRS[name][kept_by == "torch"](going_on)
    for step in range(3):
        give_gradients(going_on, step, without=2)
        before.step()
    set_rate(before, 0.02)
    loaded = [each.detach().clone().requires_grad_() for each in going_on]
    state = before.state_dict()
    kept = copy.deepcopy(state)
    after = make(loaded)
    after.load_state_dict(state)
    for step in range(3, 6):
        give_gradients(loaded, step)
        after.step()
    # What was loaded is a copy.
    assert str(state) == str(kept)
    for step in range(3, 6):
        give_gradients(going_on, step)
        before.step()
    assert equal(loaded, going_on)


def test_without_gradients_nothing_moves() -> None:
    parameters = start()
    optimiser = Adam(parameters, 0.1, 0.1)
    give_gradients(parameters, 0)
    optimiser.zero_grad()
    optimiser.step()
    assert equal(parameters, start())
    assert optimiser.state_dict()["state"] == {}


def test_after_it_has_forgotten_the_next_step_is_the_first() -> None:
    for make in (lambda own: SGD(own, 0.1, 0.9), lambda own: Adam(own, 0.1)):
        old, new = start(), start()
        optimiser: Optimiser = make(old)
        give_gradients(old, 0)
        optimiser.step()
        with torch.no_grad():
            torch._foreach_copy_(old, new)
        optimiser.forget()
        for parameters, each in ((old, optimiser), (new, make(new))):
            give_gradients(parameters, 1)
            each.step()
        assert equal(old, new)


def test_the_state_of_other_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="state must be of 4 parameters as the optimiser is, got 2"):
        SGD(start(), 0.1).load_state_dict(SGD(start()[:2], 0.1).state_dict())
