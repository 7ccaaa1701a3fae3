"""The validation protocol of distillation: is the student learning from its teacher, or only repeating it?

Student and teacher are compared on validation samples whose labels neither has seen, apart where the teacher is right
and where it is wrong. ``validate_student`` measures, ``diagnose`` says in words what the numbers allow to be said. A
difference counts only when it is both large enough to matter and beyond the noise of so few samples.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Float, Int
from torch import Tensor

MIN_SAMPLES = 20
"""Below it nothing is judged: even a difference of ½ between two accuracies lies within its noise (3·√(½/20) ≈ ½)."""

CERTAIN = 3.0
"""Standard errors beyond which a difference is real: chance reaches them once in 740, so that four questions a round
for fifteen rounds raise a false alarm in fewer than one run in ten."""

DOUBTFUL = 2.0
"""Standard errors from which a difference, not yet certain, is called undecided and not healthy."""

MATERIAL = 0.05
"""The smallest loss of accuracy worth acting on, however many samples show it."""

BEHIND = 0.1
"""How far a confident student may trail its teacher: less is what a smaller model, or an early round, costs."""

CLOSE = 0.8
"""Agreement from which a student is said to follow its teacher."""

COPIES = 0.9
"""Share of the teacher's mistakes from which a student is said to repeat them. A teacher is least sure where it is
wrong, so that a student with a view of its own, from labels or from other samples, corrects more than a tenth."""

UNCERTAIN = 0.5
"""Share of ln C, the entropy of a uniform guess, from which a student's predictions are uncertain."""


class Verdict(StrEnum):
    """What a diagnosis comes to."""

    HEALTHY = "healthy"
    TEMPERATURE_TOO_LOW = "temperature_too_low"
    TEMPERATURE_TOO_HIGH = "temperature_too_high"
    TEACHER_WORSE = "teacher_worse"
    STUDENT_BEHIND = "student_behind"
    TOO_FEW_SAMPLES = "too_few_samples"


@dataclass(frozen=True)
class ValidationReport:
    """Student against teacher on ``samples`` validation samples. Shares lie in [0, 1], entropies are in nats.

    ``agreement`` is the share with the same top class; ``divergence`` the mean KL(teacher ‖ student), in nats, of both
    softened by ``divergence_temperature``. ``accuracy_where_teacher_right`` and ``_wrong`` are the student's, on the
    samples where the teacher's top class is the label or is not; ``copied_mistakes`` is the share of the teacher's
    wrong answers that the student gives too. Each is None without such samples. The entropies are means, at T = 1.
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
    divergence_temperature: float = 1.0

    @property
    def mistakes(self) -> int:
        """On how many samples the teacher is wrong."""
        return self.samples - round(self.teacher_accuracy * self.samples)


@dataclass(frozen=True)
class Diagnosis:
    """A verdict, and what it rests on in plain words: the numbers, their noise, and what to try."""

    verdict: Verdict
    text: str


def validate_student(
    student_logits: Float[Tensor, "samples classes"],
    teacher_log_probabilities: Float[Tensor, "samples classes"],
    labels: Int[Tensor, " samples"],
    *,
    temperature: float = 1.0,
) -> ValidationReport:
    """Measure a student against its teacher and the truth on validation samples.

    ``temperature`` softens both in ``divergence``, and nothing else; 1 compares the predictions as they are. Ties go to
    the class with the lowest number. Raises ``ValueError`` without samples, with fewer than two classes, for shapes
    that differ, for numbers that are not finite, and for unknown labels.
    """
    _check_inputs(student_logits, teacher_log_probabilities, labels, temperature)
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
        divergence_temperature=temperature,
    )


def diagnose(
    report: ValidationReport, *, public_only: float | None, previous: ValidationReport | None, classes: int
) -> Diagnosis:
    """What is wrong with a distillation, if the samples suffice to say so.

    ``public_only`` is the accuracy, on the same samples, of a student trained on the public labels alone; ``previous``
    an earlier round's report; None skips what needs them. The questions are asked in this order, and the first that is
    certain decides: is the teacher worse than the public labels alone; does the student copy its teacher's mistakes;
    does it underfit with uncertain predictions; is it behind its teacher for another reason. Without a certain answer a
    doubtful one gives ``TOO_FEW_SAMPLES``. Raises ``ValueError`` for ``public_only`` outside [0, 1] or classes below 2.
    """
    if public_only is not None and not 0.0 <= public_only <= 1.0:
        raise ValueError(f"public_only must be an accuracy in [0, 1], got {public_only}; None leaves it out")
    if classes < 2:
        raise ValueError(f"classes must be at least 2, got {classes}")
    if report.samples < MIN_SAMPLES:
        return Diagnosis(
            Verdict.TOO_FEW_SAMPLES,
            f"Too few validation samples to tell: {report.samples}, and below {MIN_SAMPLES} even large differences are "
            "noise. Raise data.public.labelled or data.public.validation.",
        )
    doubtful = None
    for finding in _findings(report, public_only, previous, classes):
        if finding.errors >= CERTAIN:
            return Diagnosis(finding.verdict, finding.text)
        if finding.errors >= DOUBTFUL and doubtful is None:
            doubtful = finding
    if doubtful is not None:
        needed = math.ceil(report.samples * (CERTAIN / doubtful.errors) ** 2)
        return Diagnosis(
            Verdict.TOO_FEW_SAMPLES,
            f"Too few validation samples to tell: {report.samples}, and what follows is {doubtful.errors:.1f} standard "
            f"errors from chance, where {CERTAIN:.0f} are asked for; about {needed} samples would settle it. "
            f"If it is real: {doubtful.text}",
        )
    error = _error_of_difference(report.accuracy, report.samples, report.teacher_accuracy, report.samples)
    return Diagnosis(
        Verdict.HEALTHY,
        f"Healthy: student {report.accuracy:.3f}, teacher {report.teacher_accuracy:.3f}, agreement "
        f"{report.agreement:.3f} (KL {report.divergence:.3f} nats); {_mistakes(report)}. On {report.samples} samples "
        f"differences of accuracy below about {CERTAIN * error:.2f} would not show.",
    )


@dataclass(frozen=True)
class _Finding:
    """Something that looks wrong, and by how many standard errors it stands out."""

    verdict: Verdict
    errors: float
    text: str


def _findings(
    report: ValidationReport, public_only: float | None, previous: ValidationReport | None, classes: int
) -> Iterator[_Finding]:
    if public_only is not None:
        yield from _worse_teacher(report, public_only)
    if previous is not None:
        yield from _decline(report, previous)
    yield from _copies(report)
    yield from _lag(report, classes)


def _worse_teacher(report: ValidationReport, public_only: float) -> Iterator[_Finding]:
    samples, gap = report.samples, public_only - report.teacher_accuracy
    error = _error_of_difference(public_only, samples, report.teacher_accuracy, samples)
    if gap >= MATERIAL:
        yield _Finding(
            Verdict.TEACHER_WORSE,
            gap / error,
            f"Teacher worse than the public labels alone: {report.teacher_accuracy:.3f} against {public_only:.3f} on "
            f"{samples} samples (difference {gap:.3f}, standard error {error:.3f}). No temperature mends that: train "
            "the clients longer, choose a teacher that weighs them, or lower λ.",
        )


def _decline(report: ValidationReport, previous: ValidationReport) -> Iterator[_Finding]:
    """The accuracy falls while the student follows its teacher, and falls most where the teacher is wrong."""
    now, before = report.accuracy_where_teacher_wrong, previous.accuracy_where_teacher_wrong
    fall = previous.accuracy - report.accuracy
    if now is None or before is None or fall < MATERIAL or report.agreement < CLOSE:
        return
    right, right_before = report.accuracy_where_teacher_right, previous.accuracy_where_teacher_right
    elsewhere = 0.0 if right is None or right_before is None else max(right_before - right, 0.0)
    if before - now <= elsewhere:
        return
    error = _error_of_difference(previous.accuracy, previous.samples, report.accuracy, report.samples)
    yield _Finding(
        Verdict.TEMPERATURE_TOO_LOW,
        fall / error,
        f"Temperature too low: copies the teacher's mistakes. The student fell from {previous.accuracy:.3f} to "
        f"{report.accuracy:.3f} (standard error {error:.3f}), most where the teacher is wrong ({before:.3f} to "
        f"{now:.3f}), at agreement {report.agreement:.3f} (KL {report.divergence:.3f} nats); {_mistakes(report)}. "
        "Raise distillation.temperature, or lower λ.",
    )


def _copies(report: ValidationReport) -> Iterator[_Finding]:
    """The student repeats nearly all of the teacher's mistakes, enough of them to matter."""
    copied = report.copied_mistakes
    if copied is None or copied < COPIES or report.agreement < CLOSE:
        return
    if copied * report.mistakes < MATERIAL * report.samples:
        return
    # The error of a share under the hypothesis that a mistake is copied as often as not.
    error = 0.5 / math.sqrt(report.mistakes)
    yield _Finding(
        Verdict.TEMPERATURE_TOO_LOW,
        (copied - 0.5) / error,
        f"Temperature too low: copies the teacher's mistakes. The student {_mistakes(report)} (half would be "
        f"{0.5:.2f} ± {error:.2f}), at agreement {report.agreement:.3f} (KL {report.divergence:.3f} nats); accuracy "
        f"{report.accuracy:.3f}, teacher {report.teacher_accuracy:.3f}. Raise distillation.temperature, or lower λ.",
    )


def _lag(report: ValidationReport, classes: int) -> Iterator[_Finding]:
    """The student is worse than its teacher: because it is uncertain, or for a reason that is not temperature."""
    samples, gap = report.samples, report.teacher_accuracy - report.accuracy
    error = _error_of_difference(report.teacher_accuracy, samples, report.accuracy, samples)
    share = report.student_entropy / math.log(classes)
    numbers = (
        f"student {report.accuracy:.3f}, teacher {report.teacher_accuracy:.3f} on {samples} samples (difference "
        f"{gap:.3f}, standard error {error:.3f}); its entropy is {report.student_entropy:.3f} nats, {share:.0%} of a "
        f"uniform guess's, the teacher's {report.teacher_entropy:.3f}"
    )
    if share >= UNCERTAIN and gap >= MATERIAL:
        yield _Finding(
            Verdict.TEMPERATURE_TOO_HIGH,
            gap / error,
            f"Temperature too high: underfits. Poor and uncertain: {numbers}. Lower distillation.temperature; if it is "
            "low already, raise distillation.steps or distillation.learning_rate.",
        )
    elif share < UNCERTAIN and gap >= BEHIND:
        yield _Finding(
            Verdict.STUDENT_BEHIND,
            gap / error,
            f"Student behind its teacher, yet sure of itself, so that temperature is not to blame: {numbers}. Raise "
            "distillation.steps, lower distillation.learning_rate, or take a larger student.",
        )


def _mistakes(report: ValidationReport) -> str:
    if report.copied_mistakes is None:
        return "the teacher makes no mistake"
    return f"repeats {round(report.copied_mistakes * report.mistakes)} of the teacher's {report.mistakes} mistakes"


def _error_of_difference(first: float, first_samples: int, second: float, second_samples: int) -> float:
    """The standard error of the difference of two accuracies if they were one, as in the two-proportion z-test.

    √(p(1−p)(1/n₁ + 1/n₂)) with the pooled share p, to which a hit and a miss are added so that 20 hits of 20 do not
    pass for certainty. The two are taken as independent. On the same samples good models err together, which makes the
    true error smaller: this errs towards silence.
    """
    pooled = (first * first_samples + second * second_samples + 1.0) / (first_samples + second_samples + 2)
    return math.sqrt(pooled * (1.0 - pooled) * (1.0 / first_samples + 1.0 / second_samples))


def _share(what: Tensor, among: Tensor) -> float | None:
    return what[among].double().mean().item() if bool(among.any()) else None


def _entropy(logits: Tensor) -> float:
    return float(torch.special.entr(logits.softmax(dim=-1)).sum(dim=-1).mean())


def _divergence(teacher: Tensor, student: Tensor, temperature: float) -> float:
    first, second = (teacher / temperature).log_softmax(dim=-1), (student / temperature).log_softmax(dim=-1)
    # Rounding may leave a tiny negative number where both agree.
    return max((first.exp() * (first - second)).sum(dim=-1).mean().item(), 0.0)


def _check_inputs(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> None:
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be positive and finite, got {temperature}; 1 compares predictions as is")
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
            raise ValueError(f"{name} must be finite, got NaN or infinity; lower distillation.learning_rate")
    if bool(((labels < 0) | (labels >= classes)).any()):
        raise ValueError(f"labels must lie in [0, {classes - 1}]; leave out samples whose class is unknown")
