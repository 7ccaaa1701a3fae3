"""A lower bound on ε from one training run with many canaries."""

import numpy as np
import numpy.typing as npt
from scipy import stats

from fedkd.audit.metrics import Scores


def one_run_p_value(canaries: int, guesses: int, correct: int, *, epsilon: float, delta: float) -> float:
    """How likely ``correct`` or more right guesses are for a mechanism that is (ε, δ)-private.

    Each of ``canaries`` records was in the training data with probability ½, independently of all others; for
    ``guesses`` of them the attack said whether it was (Steinke, Nasr and Jagielski 2023, arXiv 2305.08846, Theorem 5.2
    and appendix D).
    """
    if not 0 <= correct <= guesses <= canaries:
        raise ValueError(f"correct ≤ guesses ≤ canaries must hold, got {correct}, {guesses} and {canaries}")
    if not (epsilon >= 0 and 0 <= delta <= 1):
        raise ValueError(f"epsilon must be at least 0 and delta lie in [0, 1], got {epsilon} and {delta}")
    right = 1 / (1 + np.exp(-epsilon))
    tail = float(stats.binom.sf(correct - 1, guesses, right))
    if delta == 0 or correct == 0:
        return min(1.0, tail)
    masses = np.cumsum(stats.binom.pmf(correct - np.arange(1, correct + 1), guesses, right))
    slope = float((masses / np.arange(1, correct + 1)).max())
    return min(1.0, tail + 2 * canaries * delta * slope)


def one_run_epsilon(
    scores: Scores, included: npt.NDArray[np.bool_], *, delta: float, level: float = 0.95
) -> tuple[float, int]:
    """The ε that a run's canaries refute with confidence ``level``, and on how many guesses.

    The highest scores are guessed to be in, as many of the lowest to be out, the rest is left alone. How many guesses
    pay is not known before, so a few numbers of them are tried, each at its share of the error (Bonferroni).
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(included, dtype=bool)
    if values.ndim != 1 or values.shape != truth.shape or values.size < 2:
        raise ValueError(
            f"scores and included must be one each per canary, at least two, got {values.shape} and {truth.shape}"
        )
    if np.isnan(values).any():
        raise ValueError("scores must be numbers, got NaN; give what cannot be scored the middle score")
    order = np.argsort(values, kind="stable")
    sides = sorted({max(1, round(values.size * share / 2)) for share in (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)})
    sides = [side for side in sides if 2 * side <= values.size]
    error = (1 - level) / len(sides)
    best, guesses = 0.0, 0
    for side in sides:
        # Ties at a threshold are left alone: an order among them would be made up.
        top = values > values[order[-side - 1]] if 2 * side < values.size else values > np.median(values)
        bottom = values < values[order[side]] if 2 * side < values.size else values < np.median(values)
        made = int(top.sum() + bottom.sum())
        right = int((truth & top).sum() + (~truth & bottom).sum())
        found = _refuted(values.size, made, right, delta=delta, error=error)
        if found > best:
            best, guesses = found, made
    return best, guesses


def _refuted(canaries: int, guesses: int, correct: int, *, delta: float, error: float) -> float:
    def refutes(epsilon: float) -> bool:
        return one_run_p_value(canaries, guesses, correct, epsilon=epsilon, delta=delta) < error

    if guesses == 0 or not refutes(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while refutes(high):
        low, high = high, 2 * high
        if high > 64:
            return low
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if refutes(middle) else (low, middle)
    return low
