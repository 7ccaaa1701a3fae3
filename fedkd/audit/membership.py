"""What attacks on membership made of the candidates, and how they compare."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int
from torch import Tensor

from fedkd.audit.attack import Asked, AskingAttack, Evidence, MembershipAttack
from fedkd.audit.metrics import Confidence, Scores, auc_difference
from fedkd.audit.report import AttackResult, AttackScores, Comparison, measure


@dataclass(frozen=True)
class Given:
    """What an attack has to go by about one client, and the positions of the candidates that it is about."""

    evidence: Evidence
    places: Int[Tensor, " candidates"]

    @classmethod
    def all_of(cls, evidence: Evidence) -> "Given":
        return cls(evidence, torch.arange(evidence.labels.numel()))

    @classmethod
    def about(cls, evidence: Evidence, places: Int[Tensor, " chosen"], asked: tuple[Asked, ...]) -> "Given":
        """The evidence on some of the candidates, with what came of an attack's own queries about them."""
        some = replace(
            evidence,
            answers=evidence.answers[..., places, :],
            shadows=evidence.shadows[..., places, :],
            included=evidence.included[:, places],
            others=evidence.others[..., places, :],
            labels=evidence.labels[places],
            asked=asked,
        )
        return cls(some, places)


@dataclass(frozen=True)
class ScoredAttack:
    """An attack's scores of candidates, by their ``places`` among those of all attacked clients, and the truth."""

    name: str
    observation: str
    scores: Scores
    members: npt.NDArray[np.bool_]
    places: npt.NDArray[np.int64]
    covered: bool
    needs_shadows: bool
    asks: bool

    def result(self, shadows: int, bound: Confidence) -> AttackResult:
        return measure(
            self.name,
            self.observation,
            self.scores,
            self.members,
            shadows=shadows if self.needs_shadows else 0,
            covered=self.covered,
            bound=bound,
        )

    def held(self) -> AttackScores:
        """The scores as they are held against the ceiling."""
        return AttackScores(self.name, self.observation, self.scores[self.members], self.scores[~self.members])

    def against(self, other: "ScoredAttack", level: float) -> Comparison:
        """The comparison with an attack that scored these candidates, and perhaps more."""
        same = other.scores[np.isin(other.places, self.places)]
        both = [(scores[self.members], scores[~self.members]) for scores in (self.scores, same)]
        value, interval = auc_difference(both[0], both[1], level=level)
        return Comparison(self.name, other.name, self.observation, value, interval, self.scores.size)


def scored(
    name: str,
    attack: MembershipAttack,
    given: Sequence[Given],
    members: Sequence[Tensor],
    *,
    observation: str,
    covered: bool,
) -> ScoredAttack:
    """The attack's scores over all attacked clients; raises ``ValueError`` as ``MembershipAttack.scores`` does."""
    starts = np.cumsum([0, *(truth.numel() for truth in members)])
    return ScoredAttack(
        name,
        observation,
        np.concatenate([attack.scores(each.evidence) for each in given]),
        np.concatenate([truth[each.places].numpy() for truth, each in zip(members, given, strict=True)]),
        np.concatenate([start + each.places.numpy() for start, each in zip(starts, given, strict=False)]),
        covered,
        attack.needs_shadows,
        isinstance(attack, AskingAttack),
    )


def comparisons(found: Sequence[ScoredAttack], level: float) -> Iterator[Comparison]:
    """Of every attack with queries of its own with every one that asks about the same candidates themselves."""
    for one in found:
        for other in found:
            if one.asks and not other.asks and one.observation == other.observation:
                yield one.against(other, level)
