"""What a balancer sees of a step."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GradientGeometry:
    """The two gradients of one distillation step, seen through their Gram matrix.

    a = ‖∇L_dist‖², b = ∇L_dist·∇L_cls, c = ‖∇L_cls‖² (importance analysis, Eqs. 10–14). ``step`` counts from 0 within
    the round, which has ``steps`` steps (0: not known).

    The last four come from the server's validation samples, for policies that ask for them, and are None on steps on
    which they were not measured: ``validation_slope`` is ∇L_val·(∇L_dist − ∇L_cls), ``teacher_error`` and
    ``student_error`` are the Laplace-smoothed shares of wrong answers, (wrong + 1)/(samples + 2), of so many
    ``validation_samples``.
    """

    a: float
    b: float
    c: float
    loss_dist: float
    loss_cls: float
    step: int
    steps: int = 0
    validation_slope: float | None = None
    teacher_error: float | None = None
    student_error: float | None = None
    validation_samples: int | None = None

    @property
    def progress(self) -> float:
        """How far the round is, from 0 at its first step to 1 at its last; 0 when its length is not given."""
        return min(self.step / (self.steps - 1), 1.0) if self.steps > 1 else 0.0

    @property
    def cosine(self) -> float:
        """cos φ = b/√(ac), in [−1, 1]; 0 when either gradient vanishes."""
        scale = (self.a * self.c) ** 0.5
        return max(-1.0, min(1.0, self.b / scale)) if scale > 0 else 0.0

    def decrease(self, weight: float) -> float:
        """q(λ) = λ²a + 2λ(1−λ)b + (1−λ)²c: the first-order loss decrease of an SGD step, per unit of learning rate."""
        rest = 1.0 - weight
        return weight * weight * self.a + 2.0 * weight * rest * self.b + rest * rest * self.c
