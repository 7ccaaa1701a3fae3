"""Student and teacher on validation samples whose labels neither has seen: what ``diagnosis`` is made from."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fedkd.core.errors import DivergedError


@dataclass(frozen=True)
class ValidationReport:
    """Student against teacher on ``samples`` validation samples. Shares lie in [0, 1], entropies are in nats.

    ``agreement`` is the share with the same top class; ``divergence`` the mean KL(teacher ‖ student), in nats, of both
    softened by ``divergence_temperature``. ``accuracy_where_teacher_right`` and ``_wrong`` are the student's, on the
    samples where the teacher's top class is the label or is not; ``copied_mistakes`` is the share of the teacher's
    wrong answers that the student gives too. Each is None without such samples. The entropies are means, at T = 1, but
    for ``target_entropy``, that of the teacher as the student was taught it, softened (None: not told). ``guess`` is
    the accuracy of always naming the commonest class.
    """

    accuracy: float
    teacher_accuracy: float
    agreement: float
    divergence: float
    accuracy_where_teacher_right: float | None
    accuracy_where_teacher_wrong: float | None
    copied_mistakes: float | None
    student_entropy: float
    teacher_entropy: float
    samples: int
    guess: float
    divergence_temperature: float = 1.0
    target_entropy: float | None = None

    @property
    def mistakes(self) -> int:
        """On how many samples the teacher is wrong."""
        return self.samples - round(self.teacher_accuracy * self.samples)


def validate_student(
    student_logits: Float[Tensor, "samples classes"],
    teacher_log_probabilities: Float[Tensor, "samples classes"],
    labels: Int[Tensor, " samples"],
    *,
    temperature: float = 1.0,
    taught_at: float | None = None,
) -> ValidationReport:
    """Measure a student against its teacher and the truth on validation samples.

    ``temperature`` softens both in ``divergence``, and nothing else; 1 compares the predictions as they are.
    ``taught_at`` is the temperature that the student was taught at (None: not told). Ties go to the class with the
    lowest number. Raises ``ValueError`` without samples, with fewer than two classes, for shapes that differ, for
    numbers that are not finite, and for unknown labels.
    """
    for each in (temperature, taught_at or 1.0):
        _check_temperature(each)
    _check_inputs(student_logits, teacher_log_probabilities, labels)
    student, teacher = student_logits.detach().cpu().double(), teacher_log_probabilities.detach().cpu().double()
    truth, guess, advice = labels.cpu(), student.argmax(dim=-1), teacher.argmax(dim=-1)
    hit, right, same = guess == truth, advice == truth, guess == advice
    return ValidationReport(
        accuracy=hit.double().mean().item(),
        teacher_accuracy=right.double().mean().item(),
        agreement=same.double().mean().item(),
        divergence=_divergence(teacher, student, temperature),
        accuracy_where_teacher_right=_share(hit, right),
        accuracy_where_teacher_wrong=_share(hit, ~right),
        copied_mistakes=_share(same, ~right),
        student_entropy=_entropy(student),
        teacher_entropy=_entropy(teacher),
        samples=truth.numel(),
        guess=truth.bincount().max().item() / truth.numel(),
        divergence_temperature=temperature,
        target_entropy=None if taught_at is None else _entropy(teacher / taught_at),
    )


def _share(what: Tensor, among: Tensor) -> float | None:
    return what[among].double().mean().item() if bool(among.any()) else None


def _entropy(logits: Tensor) -> float:
    return float(torch.special.entr(logits.softmax(dim=-1)).sum(dim=-1).mean())


def _divergence(teacher: Tensor, student: Tensor, temperature: float) -> float:
    first, second = (teacher / temperature).log_softmax(dim=-1), (student / temperature).log_softmax(dim=-1)
    # Rounding may leave a tiny negative number where both agree.
    return max((first.exp() * (first - second)).sum(dim=-1).mean().item(), 0.0)


def _check_temperature(temperature: float) -> None:
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be positive and finite, got {temperature}; 1 compares predictions as is")


def _check_inputs(student: Tensor, teacher: Tensor, labels: Tensor) -> None:
    if student.ndim != 2 or student.shape != teacher.shape or labels.shape != student.shape[:1]:
        raise ValueError(
            "student_logits and teacher_log_probabilities must be [samples, classes] alike, and labels [samples]; got "
            f"{tuple(student.shape)}, {tuple(teacher.shape)} and {tuple(labels.shape)}"
        )
    samples, classes = student.shape
    if samples == 0 or classes < 2:
        raise ValueError(
            f"validation needs at least one sample and two classes, got {samples} and {classes}; "
            "raise data.public.validation"
        )
    for name, values in (("student_logits", student), ("teacher_log_probabilities", teacher)):
        if not bool(torch.isfinite(values).all()):
            raise DivergedError(f"{name} must be finite, got NaN or infinity; lower distillation.learning_rate")
    if bool(((labels < 0) | (labels >= classes)).any()):
        raise ValueError(f"labels must lie in [0, {classes - 1}]; leave out samples whose class is unknown")
