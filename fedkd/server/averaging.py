"""Averages of the clients' parameters."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fedkd.core.messages import Arrays, ClientReport, parameter_prefix


def parameters_of(report: ClientReport, architecture: int) -> Arrays:
    """The parameters that a client sent, under the names that its model knows them by."""
    prefix = parameter_prefix(architecture)
    return {name.removeprefix(prefix): array for name, array in report.arrays.items() if name.startswith(prefix)}


def parameter_fault(report: ClientReport, architecture: int, expected: Mapping[str, npt.NDArray[Any]]) -> str | None:
    """What is wrong with the parameters of a report, against a state of the client's architecture; None if nothing."""
    found = parameters_of(report, architecture)
    if set(found) != set(expected):
        return f"sent parameters {sorted(set(found) ^ set(expected))[:3]} too many or too few"
    for name, array in found.items():
        wanted = expected[name]
        if array.shape != wanted.shape or array.dtype != wanted.dtype:
            return f"parameter {name} must be {wanted.dtype} {wanted.shape}, got {array.dtype} {array.shape}"
    return None


def average_states(states: Sequence[Arrays], examples: Sequence[int]) -> Arrays:
    """The example-weighted mean of states, summed one at a time in float64 in the order given.

    Whole-number buffers are taken from the first. Equal weights when nobody has examples.
    """
    weights = np.asarray(examples, dtype=np.float64)
    weights = weights / weights.sum() if weights.sum() > 0 else np.full(len(states), 1.0 / len(states))
    sums: dict[str, npt.NDArray[np.float64]] = {}
    for state, share in zip(states, weights.tolist(), strict=True):
        for name, array in state.items():
            if np.issubdtype(array.dtype, np.floating):
                part = share * array.astype(np.float64)
                sums[name] = sums[name] + part if name in sums else part
    return {
        name: sums[name].astype(array.dtype) if name in sums else np.array(array) for name, array in states[0].items()
    }
