"""What teachers with noise have in common: their options and what they protect."""

import math
from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fedkd.privacy.calibration import check_epsilon, check_scale
from fedkd.privacy.guarantee import Guarantee
from fedkd.privacy.noise import gaussian

Noise = Annotated[float, Field(gt=0, allow_inf_nan=False)]


SENSITIVITY = math.sqrt(2)
"""A client that changes its vote takes 1 from one class's count and adds 1 to another's."""


def vote_guarantee(noise: float) -> Guarantee:
    """What the noisy majority protects."""
    return Guarantee(
        unit="client",
        neighbouring="replace_one",
        adversary="central",
        sensitivity=SENSITIVITY,
        noise=noise,
        query="the vote counts of each public sample",
        excludes="the reports themselves, which the server sees, and what is measured on them for evaluation",
    )


def vote_signal_to_noise(noise: float, clients: int) -> str:
    """How clear a majority must be to survive the noise."""
    # The difference of two noised counts has standard deviation σ√2; 1.645 of them are exceeded one time in twenty.
    lead = 1.645 * math.sqrt(2) * noise
    verdict = (
        "even a unanimous vote may lose; use more clients or less noise"
        if lead > clients
        else f"that is {lead / clients:.0%} of the clients"
    )
    return f"a class beats another with 95 % certainty when it leads by {lead:.3g} of {clients} votes: {verdict}"


def noise_option(noise: float | None, target_epsilon: float | None, *, default: float) -> float | None:
    """A teacher's σ, None where it follows from the target; raises ``ValueError`` where both are given."""
    if noise is not None and target_epsilon is not None:
        raise ValueError(
            f"noise must be left out where target_epsilon is given, from which it follows; got {noise} and "
            f"{target_epsilon}"
        )
    if target_epsilon is not None:
        check_epsilon(target_epsilon)
        return None
    found = default if noise is None else noise
    check_scale("noise", found)
    return found


def noised(
    values: Float[Tensor, "..."], deviation: float, generator: np.random.Generator | None
) -> Float[Tensor, "..."]:
    """``values`` + N(0, deviation²), in float64; raises ``ValueError`` where there is nothing to draw from."""
    if generator is None:
        raise ValueError("a teacher with noise draws from its reports' noise, and they have none; pass noise=")
    return values.double() + gaussian(values.shape, deviation, generator)
