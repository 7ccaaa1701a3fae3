"""How well an attack tells members from non-members, each figure with its confidence limits.

A score says how much a candidate looks like a member. Candidates of equal score are never told apart: a threshold takes
all of them or none, and a pair of them counts half.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Scores = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
FINE_FPR_NON_MEMBERS = 3000
"""Non-members below which a false-positive rate of 0.1 % means fewer than three of them, and is not reported."""


@dataclass(frozen=True)
class Confidence:
    """At which δ bounds on ε hold, and with what probability; ``seed`` draws what their computation draws."""

    delta: float
    level: float = 0.95
    seed: int = 0


def auc(members: Scores, non_members: Scores) -> float:
    """The probability that a member scores higher than a non-member, from average ranks: 0.5 for constant scores."""
    positive, negative = _checked(members, non_members)
    ranks = stats.rankdata(np.concatenate([positive, negative]))
    count = positive.size
    return float((ranks[:count].sum() - count * (count + 1) / 2) / (count * negative.size))


def auc_interval(members: Scores, non_members: Scores, *, level: float = 0.95) -> tuple[float, float]:
    """A confidence interval of ``auc`` (DeLong et al. 1988, computed as by Sun and Xu 2014), on the logit scale.

    Where the variance vanishes, as at an AUC of 0 or 1, it ends where the Clopper–Pearson interval of as many pairs as
    there are candidates of the rarer kind does.
    """
    positive, negative = _checked(members, non_members)
    value = auc(positive, negative)
    pairs = min(positive.size, negative.size)
    above, below = _placements(positive, negative)
    variance = sum(float(part.var(ddof=1)) / part.size for part in (above, below) if part.size > 1)
    if not (0 < value < 1) or pairs < 2:
        return clopper_pearson(round(value * pairs), pairs, level=level)
    # On this scale the interval stays within (0, 1).
    half = float(stats.norm.ppf(0.5 + level / 2)) * np.sqrt(variance) / (value * (1 - value))
    middle = np.log(value / (1 - value))
    low, high = (1 / (1 + np.exp(-(middle + side * half))) for side in (-1, 1))
    return float(low), float(high)


def auc_difference(
    one: tuple[Scores, Scores], other: tuple[Scores, Scores], *, level: float = 0.95
) -> tuple[float, tuple[float, float]]:
    """``one``'s AUC minus ``other``'s, with a confidence interval that knows that both scored the same candidates.

    Each is the scores of members and of non-members, in the same order (DeLong et al. 1988, Equation 5).
    """
    pairs = [_checked(*scores) for scores in (one, other)]
    if [part.shape for part in pairs[0]] != [part.shape for part in pairs[1]]:
        raise ValueError("one and other must score the same candidates, got different numbers of them")
    value = auc(*pairs[0]) - auc(*pairs[1])
    places = [_placements(*pair) for pair in pairs]
    gaps = [first - second for first, second in zip(*places, strict=True)]
    variance = sum(float(part.var(ddof=1)) / part.size for part in gaps if part.size > 1)
    half = float(stats.norm.ppf(0.5 + level / 2)) * float(np.sqrt(variance))
    return value, (value - half, value + half)


def _placements(positive: Scores, negative: Scores) -> tuple[Scores, Scores]:
    """The share of non-members below each member, and of members above each non-member; their means are the AUC."""
    ranks = stats.rankdata(np.concatenate([positive, negative]))
    above = (ranks[: positive.size] - stats.rankdata(positive)) / negative.size
    return above, 1 - (ranks[positive.size :] - stats.rankdata(negative)) / positive.size


def clopper_pearson(successes: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a binomial probability (Clopper and Pearson 1934), each end exceeded with (1 − level)/2."""
    if not (trials >= 1 and 0 <= successes <= trials):
        raise ValueError(f"successes must lie in 0 to trials, and trials be at least 1, got {successes} of {trials}")
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(stats.beta.ppf(tail, successes, trials - successes + 1))
    high = 1.0 if successes == trials else float(stats.beta.isf(tail, successes + 1, trials - successes))
    return low, high


@dataclass(frozen=True)
class Operating:
    """What a threshold takes for members: ``true`` of all members and ``false`` of all non-members."""

    threshold: float
    true: int
    members: int
    false: int
    non_members: int

    @property
    def tpr(self) -> float:
        return self.true / self.members

    @property
    def fpr(self) -> float:
        return self.false / self.non_members


def operating_points(members: Scores, non_members: Scores) -> list[Operating]:
    """One point for each threshold between different scores, from the strictest, which takes nobody, to all."""
    thresholds, true, false = _counts(*_checked(members, non_members))
    sizes = np.size(members), np.size(non_members)
    return [
        Operating(float(threshold), int(hit), sizes[0], int(miss), sizes[1])
        for threshold, hit, miss in zip(thresholds, true, false, strict=True)
    ]


def _counts(positive: Scores, negative: Scores) -> tuple[Scores, Counts, Counts]:
    """Thresholds from infinity down, and how many of each kind reach them."""
    thresholds = np.concatenate([[np.inf], np.unique(np.concatenate([positive, negative]))[::-1]])
    true, false = (
        scores.size - np.searchsorted(np.sort(scores), thresholds, side="left") for scores in (positive, negative)
    )
    return thresholds, true, false


def at_fpr(members: Scores, non_members: Scores, fpr: float) -> Operating:
    """The loosest threshold whose false-positive rate is at most ``fpr``."""
    return [point for point in operating_points(members, non_members) if point.fpr <= fpr][-1]


def roc(
    members: Scores, non_members: Scores, *, level: float = 0.95, points: int = 200
) -> list[tuple[float, float, float, float]]:
    """(FPR, TPR, lower and upper limit of TPR) from (0, 0) to (1, 1), at most ``points``, dense at small FPR.

    The limits are Clopper–Pearson's, each for its point alone.
    """
    found = operating_points(members, non_members)
    # Of points with equal FPR only the best one bounds what the attack can do.
    best = {point.false: point for point in found}
    kept = sorted(best)
    if len(kept) > points:
        spread = np.unique(np.round(np.geomspace(1, kept[-1] + 1, points)).astype(int) - 1)
        positions = np.unique(np.searchsorted(kept, spread, side="right") - 1)
        kept = [kept[index] for index in positions]
    return [
        (best[false].fpr, best[false].tpr, *clopper_pearson(best[false].true, best[false].members, level=level))
        for false in kept
    ]


def epsilon_lower_bound(
    members: Scores, non_members: Scores, *, delta: float, level: float = 0.95, seed: int = 0
) -> float:
    """An ε that is too small for what was seen, with confidence ``level`` (Nasr et al. 2021, arXiv 2101.04535).

    A random half of the scores, drawn by ``seed``, chooses the threshold and whether to test what lies above or below
    it; on the other half TPR's lower and FPR's upper Clopper–Pearson limit give ε ≥ log((TPR − δ)/FPR), the same for
    the complements. 0 where nothing is shown.
    """
    return best_epsilon_lower_bound({"score": (members, non_members)}, delta=delta, level=level, seed=seed)[0]


def best_epsilon_lower_bound(
    alternatives: Mapping[str, tuple[Scores, Scores]], *, delta: float, level: float = 0.95, seed: int = 0
) -> tuple[float, str]:
    """``epsilon_lower_bound`` by whichever of several scores does best, and that score's name.

    It is chosen on the same half as the threshold, so that trying many costs no confidence.
    """
    if not 0 <= delta < 1:
        raise ValueError(f"delta must lie in [0, 1), got {delta}; it is a probability")
    if not alternatives:
        raise ValueError("alternatives must hold at least one score, got none")
    draw = np.random.default_rng(seed)
    best: tuple[float, str, float, int] = (-1.0, "", np.inf, 0)
    tests = {}
    for name, (members, non_members) in alternatives.items():
        positive, negative = _checked(members, non_members)
        chosen_in, test_in = np.array_split(draw.permutation(positive), 2)
        chosen_out, test_out = np.array_split(draw.permutation(negative), 2)
        if min(test_in.size, test_out.size) == 0:
            raise ValueError(f"{name}: a bound takes at least 2 members and 2 non-members; give more scores")
        tests[name] = test_in, test_out
        thresholds, true, false = _counts(chosen_in, chosen_out)
        sides = _bounds(true, chosen_in.size, false, chosen_out.size, delta=delta, level=level)
        for side, bounds in enumerate(sides):
            index = int(bounds.argmax())
            if bounds[index] > best[0]:
                best = float(bounds[index]), name, float(thresholds[index]), side
    _, name, threshold, side = best
    test_in, test_out = tests[name]
    true, false = (np.array([(scores >= threshold).sum()]) for scores in (test_in, test_out))
    return float(_bounds(true, test_in.size, false, test_out.size, delta=delta, level=level)[side][0]), name


def _bounds(
    true: Counts, members: int, false: Counts, non_members: int, *, delta: float, level: float
) -> tuple[Scores, Scores]:
    """ε by the rates above each threshold, and by those of non-members and members below it."""
    above = _log_ratio(true, members, false, non_members, delta, level)
    return above, _log_ratio(non_members - false, non_members, members - true, members, delta, level)


def _log_ratio(hits: Counts, of_hits: int, misses: Counts, of_misses: int, delta: float, level: float) -> Scores:
    tail = (1 - level) / 2
    low = np.where(hits == 0, 0.0, stats.beta.ppf(tail, np.maximum(hits, 1), of_hits - hits + 1))
    high = np.where(misses == of_misses, 1.0, stats.beta.isf(tail, misses + 1, np.maximum(of_misses - misses, 1)))
    return np.asarray(np.log(np.maximum((low - delta) / high, 1.0)))


def _checked(members: Scores, non_members: Scores) -> tuple[Scores, Scores]:
    found = []
    for name, scores in (("members", members), ("non_members", non_members)):
        array = np.asarray(scores, dtype=np.float64)
        if array.ndim != 1 or array.size == 0:
            raise ValueError(f"{name} must be one score per candidate and at least one, got shape {array.shape}")
        if np.isnan(array).any():
            raise ValueError(f"{name} must be numbers, got NaN; give what cannot be scored the lowest score")
        found.append(array)
    return found[0], found[1]
