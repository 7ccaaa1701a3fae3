"""What λ and the two gradients did in a run, in sentences."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fedkd.results.report.run_log import Numbers, RunLog

_AT_A_BOUND = 0.01
"""How near to 0 or 1 a λ is one of them."""


def geometry_in_words(log: RunLog) -> Iterator[str]:
    """A sentence on each thing that was recorded: λ, the gradients' angle and lengths, how far predictions hold."""
    steps = log.steps
    rounds = steps["round"]
    first, last = (rounds == rounds.min(), rounds == rounds.max()) if steps.length else (rounds, rounds)
    weight, cosine = steps["lambda"], steps["cos"]
    if (known := weight[np.isfinite(weight)]).size:
        ends = _from_to(weight, first, last, "in the first round", "in the last")
        bound = np.mean((known < _AT_A_BOUND) | (known > 1 - _AT_A_BOUND))
        stuck = f"; at {_share(bound)} of the steps it was 0 or 1, one side alone" if bound > 0 else ""
        yield f"λ, the weight of the teacher, was {known.mean():.2f} on average{ends}{stuck}."
    if (known := cosine[np.isfinite(cosine)]).size:
        ends = _from_to(cosine, first, last, "in the first round", "in the last")
        yield (
            f"Teacher and labels pulled the same way (cosine above 0) at {_share(np.mean(known > 0))} of the "
            f"{known.size} steps at which both gradients were taken; the cosine was {known.mean():.2f} on "
            f"average{ends}."
        )
    norms = steps["norm_dist"] / np.where(steps["norm_cls"] > 0, steps["norm_cls"], np.nan)
    if (known := norms[np.isfinite(norms)]).size:
        yield f"The teacher's gradient was {np.median(known):.2g} times as long as the labels', by the median."
    predicted, measured = steps["predicted_decrease"], steps["measured_decrease"]
    usable = np.isfinite(predicted) & np.isfinite(measured) & (predicted != 0)
    if usable.any():
        ratio = float(np.median(measured[usable] / predicted[usable]))
        yield (
            f"A step lowered the loss by {ratio:.2f} times what the first-order expansion predicts, by the median of "
            f"the {int(usable.sum())} steps that were measured again."
        )


def _from_to(values: Numbers, first: Numbers, last: Numbers, begin: str, end: str) -> str:
    """The means at both ends, where there are two; empty for a single round."""
    ends = [values[where][np.isfinite(values[where])] for where in (first, last)]
    if np.array_equal(first, last) or not all(each.size for each in ends):
        return ""
    return f", {ends[0].mean():.2f} {begin} and {ends[1].mean():.2f} {end}"


def _share(share: float | np.floating[Any]) -> str:
    return f"{100 * share:.0f} %"
