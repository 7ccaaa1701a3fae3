"""What an audit found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fedkd.audit import metrics
from fedkd.audit.attack import KNOWLEDGE
from fedkd.audit.metrics import Scores
from fedkd.privacy.ceiling import ceiling
from fedkd.results.report.audits import Attack

CEILING_RATES = (0.001, 0.01, 0.1)
"""False-positive rates at which attacks are held against the ceiling; the first only with enough non-members."""


@dataclass(frozen=True)
class AttackResult(Attack):
    """An attack, over all attacked clients, with what reports leave out.

    ``tpr_at_01pct_fpr`` is as ``tpr_at_1pct_fpr`` for 0.1 %, None below 3,000 non-members.
    """

    tpr_at_01pct_fpr: float | None = None
    tpr_01pct_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Violation:
    """An attack whose true-positive rate has a lower limit above the ceiling at the upper limit of its false ones.

    The limits hold for all attacks and rates that were looked at together.
    """

    attack: str
    observation: str
    fpr: float
    tpr: float
    tpr_lower: float
    fpr_upper: float
    ceiling: float


@dataclass(frozen=True)
class Comparison:
    """How much larger the AUC of an attack with queries of its own is than another's on the same candidates.

    The interval has the audit's confidence level.
    """

    attack: str
    other: str
    observation: str
    auc_difference: float
    interval: tuple[float, float]
    candidates: int


@dataclass(frozen=True)
class Inference:
    """What an attack that is not about membership measured."""

    attack: str
    observation: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class AuditReport:
    """``audit.json``.

    ``epsilon``, at ``delta`` and for ``unit``, is what the run claims, None without a guarantee; ``ceiling`` holds
    the violations of that claim. ``adversary`` says, for each observation, who sees what, ``knowledge`` what they all
    know besides. ``verified`` says whether repeating the last round gave the run's own student, bit by bit; None where
    that was not tried. ``comparisons`` are those of attacks that ask about inputs of their own with attacks that ask
    about the candidates. ``skipped`` says what was asked for and could not be done, and why.
    """

    attacks: tuple[AttackResult, ...]
    inferences: tuple[Inference, ...]
    epsilon: float | None
    delta: float
    unit: str | None
    ceiling: tuple[Violation, ...]
    seconds: float
    settings: Mapping[str, Any]
    clients: tuple[int, ...]
    adversary: Mapping[str, str] = field(default_factory=dict)
    knowledge: str = KNOWLEDGE
    verified: bool | None = None
    comparisons: tuple[Comparison, ...] = ()
    skipped: tuple[str, ...] = ()

    def result(self, attack: str, observation: str) -> AttackResult:
        """One attack's result; raises ``KeyError`` for one that was not run."""
        for each in self.attacks:
            if (each.attack, each.observation) == (attack, observation):
                return each
        raise KeyError(f"no result of {attack} from {observation}")


def measure(
    attack: str,
    observation: str,
    scores: Scores,
    members: npt.NDArray[np.bool_],
    *,
    shadows: int,
    covered: bool,
    bound: metrics.Confidence,
) -> AttackResult:
    """The result of an attack from its scores and the truth."""
    inside, outside = scores[members], scores[~members]
    coarse = metrics.at_fpr(inside, outside, 0.01)
    fine = metrics.at_fpr(inside, outside, 0.001) if outside.size >= metrics.FINE_FPR_NON_MEMBERS else None
    enough = min(inside.size, outside.size) >= 2
    return AttackResult(
        attack=attack,
        observation=observation,
        auc=metrics.auc(inside, outside),
        auc_interval=metrics.auc_interval(inside, outside, level=bound.level),
        tpr_at_1pct_fpr=coarse.tpr,
        tpr_interval=metrics.clopper_pearson(coarse.true, coarse.members, level=bound.level),
        epsilon_lower_bound=(
            metrics.epsilon_lower_bound(inside, outside, delta=bound.delta, level=bound.level, seed=bound.seed)
            if enough
            else None
        ),
        members=inside.size,
        non_members=outside.size,
        shadows=shadows,
        roc=tuple(metrics.roc(inside, outside, level=bound.level)),
        tpr_at_01pct_fpr=None if fine is None else fine.tpr,
        tpr_01pct_interval=None
        if fine is None
        else metrics.clopper_pearson(fine.true, fine.members, level=bound.level),
        covered=covered,
    )


@dataclass(frozen=True)
class AttackScores:
    """One attack's scores, to be held against the ceiling."""

    attack: str
    observation: str
    members: Scores
    non_members: Scores


def violations(held: Sequence[AttackScores], *, epsilon: float, delta: float, level: float) -> tuple[Violation, ...]:
    """The attacks and rates at which a claim of (ε, δ) is refuted, all of them together with confidence ``level``.

    A threshold is chosen by its false-positive rate alone, and each limit gets its share of the error (Bonferroni).
    """
    tests = [
        (each, rate)
        for each in held
        for rate in CEILING_RATES
        if rate > 0.001 or each.non_members.size >= metrics.FINE_FPR_NON_MEMBERS
    ]
    found = []
    share = 1 - (1 - level) / max(len(tests), 1)
    for each, rate in tests:
        point = metrics.at_fpr(each.members, each.non_members, rate)
        low = metrics.clopper_pearson(point.true, point.members, level=share)[0]
        high = metrics.clopper_pearson(point.false, point.non_members, level=share)[1]
        bar = ceiling(high, epsilon=epsilon, delta=delta)
        if low > bar:
            found.append(Violation(each.attack, each.observation, point.fpr, point.tpr, low, high, bar))
    return tuple(found)
