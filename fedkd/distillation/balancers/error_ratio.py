"""λ from how often the teacher and the student are wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from fedkd.distillation.balancer import LambdaBalancer
from fedkd.distillation.geometry import GradientGeometry


@dataclass(kw_only=True)
class ErrorRatio(LambdaBalancer):
    """λ = e_S^k/(e_S^k + e_T^k), where e_S and e_T are the student's and the teacher's errors on server validation.

    The log-odds of λ are k·ln(e_S/e_T): the student follows the teacher for as long as the teacher is the better one,
    and its labels after that. k = 2 weights two unbiased, uncorrelated predictors by their inverse squared errors
    (Bates & Granger 1969); ``power`` is steeper, chosen by validation on seeds of its own. Both errors are taken on the
    same few samples, so that much of the sampling noise cancels. The gradients' norms and angle do not enter: without
    validation samples λ falls back on them, as the energy share a/(a + c).
    """

    power: Annotated[float, Field(gt=0)] = 4.0
    _weight: float | None = field(default=None, init=False, repr=False)

    asks_for: ClassVar[Literal["nothing", "slope", "errors"]] = "errors"

    def propose(self, geometry: GradientGeometry) -> float:
        if geometry.teacher_error is not None and geometry.student_error is not None:
            odds = (geometry.student_error / geometry.teacher_error) ** self.power
            self._weight = odds / (1.0 + odds)
        if self._weight is not None:
            return self._weight
        energy = geometry.a + geometry.c
        return geometry.a / energy if energy > 0 else 0.5

    def policy_state(self) -> dict[str, Any]:
        return {"weight": self._weight}

    def load_policy_state(self, state: Mapping[str, Any]) -> None:
        self._weight = state["weight"]
