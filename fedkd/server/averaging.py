"""Averages of the clients' parameters."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Shaped
from torch import Tensor

from fedkd.core.messages import LOGIT_BOUND, Arrays, ClientReport, parameter_prefix
from fedkd.experiment import Experiment
from fedkd.models import predict


def parameters_of(report: ClientReport, architecture: int) -> Arrays:
    """The parameters that a client sent, under the names that its model knows them by."""
    prefix = parameter_prefix(architecture)
    return {name.removeprefix(prefix): array for name, array in report.arrays.items() if name.startswith(prefix)}


def answers_of(
    experiment: Experiment, report: ClientReport, inputs: Shaped[Tensor, "samples ..."]
) -> Float[Tensor, "samples classes"]:
    """The logits of the model whose parameters a client sent."""
    architecture = experiment.architecture_of(report.client)
    return predict(experiment.model(parameters_of(report, architecture), architecture), inputs)


def answer_fault(logits: Float[Tensor, "samples classes"]) -> str | None:
    """Why nobody can learn from a model with these answers, however good its parameters look; None if one can."""
    # Compared so that NaN fails.
    if bool((logits.abs() <= LOGIT_BOUND).all()):
        return None
    return f"the logits of its model must lie within ±{LOGIT_BOUND:g}, got others"


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
