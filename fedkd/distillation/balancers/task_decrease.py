"""A clock for λ that gives way where the gradients are at odds and where the student has outgrown its teacher."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from fedkd.distillation.balancer import LambdaBalancer, scaled
from fedkd.distillation.geometry import GradientGeometry


@dataclass(kw_only=True)
class TaskDecrease(LambdaBalancer):
    """λ = min(s, s·c/(c−b)): the share s, or less where the two gradients are at odds (b < 0).

    To first order, a step of size η lowers L_cls by η·(λb + (1−λ)c): by η·c with the labels alone. A step may give up a
    share s of that for the sake of the teacher, λb + (1−λ)c ≥ (1−s)·c, which bounds λ by s·c/(c−b) where b < 0. It is
    the importance analysis' "required degree of loss reduction" (Eqs. 7–14), asked of the task loss. Where the
    gradients agree, the bound would allow more than s, up to the teacher alone; that is not taken, because they agree
    behind any teacher as long as the student knows nothing.

    s goes from ``start`` to ``end`` along half a cosine over a round: the teacher first, the labels last. It is
    multiplied by min(1, (e_S/e_T)^``power``), where e_S and e_T are the student's and the teacher's errors on server
    validation: a teacher that the student has outgrown is not followed back, as at the start of a round whose teacher
    is worse than the last one. ``prior`` samples, half of them wrong, are added to the validation samples, since the
    errors on a few are known too badly to act upon (2 is Laplace's rule). Without validation samples, or with ``power``
    0, the teacher is trusted.

    ``gradients`` false takes b = 0, so that λ = s: what is left without the gradients, to compare with.
    """

    ema: Annotated[float, Field(ge=0, lt=1)] = 0.9
    start: Annotated[float, Field(ge=0, le=1)] = 1.0
    end: Annotated[float, Field(ge=0, le=1)] = 0.0
    power: Annotated[float, Field(ge=0)] = 2.0
    prior: Annotated[float, Field(ge=2)] = 20.0
    gradients: bool = True
    _trust: float = field(default=1.0, init=False, repr=False)

    asks_for: ClassVar[Literal["nothing", "slope", "errors"]] = "errors"

    def propose(self, geometry: GradientGeometry) -> float:
        if geometry.step == 0:
            self._trust = 1.0
        if geometry.teacher_error is not None and geometry.student_error is not None:
            student, teacher = (
                self._shrunk(error, geometry.validation_samples or 0)
                for error in (geometry.student_error, geometry.teacher_error)
            )
            self._trust = min(1.0, (student / teacher) ** self.power)
        clock = self.end + (self.start - self.end) * (1.0 + math.cos(math.pi * geometry.progress)) / 2.0
        share = self._trust * clock
        if not self.gradients:
            return share
        _, b, c = scaled(geometry)
        return share * c / (c - b) if b < 0.0 else share

    def _shrunk(self, error: float, samples: int) -> float:
        """(wrong + prior/2)/(samples + prior) from (wrong + 1)/(samples + 2)."""
        return (error * (samples + 2) - 1 + self.prior / 2) / (samples + self.prior)

    def policy_state(self) -> dict[str, Any]:
        return {"trust": self._trust}

    def load_policy_state(self, state: Mapping[str, Any]) -> None:
        self._trust = state["trust"]
