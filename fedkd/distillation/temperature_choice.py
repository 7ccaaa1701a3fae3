"""Choosing a temperature on validation samples, by the figures that tell too low a one from too high a one."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from fedkd.core.errors import DivergedError
from fedkd.distillation.diagnosis import ValidationReport, validate_student
from fedkd.distillation.divergence import classification_loss
from fedkd.distillation.temperature import TemperatureSchedule
from fedkd.distillation.validation import Validation
from fedkd.models import predict

Progress = Callable[[int, int], None]
Taught = Callable[[TemperatureSchedule, Progress], nn.Module]
"""From a schedule to a copy of the student that has been taught by it."""


@dataclass(frozen=True)
class Trial:
    """A candidate: how the student did that it taught, on the validation samples.

    ``loss`` is the mean cross-entropy, in nats; both are None for a student that diverged.
    """

    candidate: str
    validation: ValidationReport | None
    loss: float | None


@dataclass(frozen=True)
class TemperatureChoice:
    """The candidate that was chosen, those that chance may have kept from the best accuracy, and what all did."""

    chosen: str
    close: tuple[str, ...]
    trials: tuple[Trial, ...]

    @property
    def text(self) -> str:
        """One line in words, and one per trial."""
        samples = next(trial.validation.samples for trial in self.trials if trial.validation is not None)
        head = (
            f"Temperature {self.chosen}, of {len(self.trials)} tried on {samples} validation samples; within a standard"
            f" error of the best accuracy: {', '.join(self.close)}"
        )
        return "\n".join((head, *map(_told, self.trials)))


def choose(
    contenders: Mapping[str, TemperatureSchedule],
    taught: Taught,
    teacher: Float[Tensor, "samples classes"],
    inputs: Shaped[Tensor, "samples ..."],
    validation: Validation | None,
    progress: Progress,
) -> TemperatureChoice:
    """The contender whose student does best on the validation samples.

    Of those within one standard error of the best accuracy (McNemar 1947: the root of the number of samples on which
    exactly one of the two students is right, over all samples) it is the one that is right most often where the teacher
    is wrong, which a student that copies mistakes is not; of equal ones the one with the lowest cross-entropy, then the
    first. Raises ``ValueError`` without validation samples, and ``DivergedError`` when every student diverges.
    """
    if validation is None or validation.empty:
        raise ValueError(
            "a temperature is chosen on validation samples, and there is none; raise data.public.labelled or "
            "data.public.validation"
        )
    truth = validation.labels
    trials: list[Trial] = []
    hits: dict[str, Bool[Tensor, " held_out"]] = {}
    total = len(contenders)
    for index, (name, schedule) in enumerate(contenders.items()):
        try:
            student = taught(schedule, _part_of(progress, index, total))
            logits = predict(student, inputs[validation.mask])
            report = validate_student(logits, teacher[validation.mask], truth)
        except DivergedError:
            trials.append(Trial(name, None, None))
            continue
        trials.append(Trial(name, report, classification_loss(logits.cpu(), truth.cpu()).item()))
        hits[name] = logits.argmax(dim=-1).cpu() == truth.cpu()
    if not hits:
        raise DivergedError(f"the student diverged under all {total} temperatures; lower distillation.learning_rate")
    best = max(hits, key=lambda name: int(hits[name].sum()))
    close = tuple(name for name, hit in hits.items() if _close(hit, hits[best]))
    chosen = min((trial for trial in trials if trial.candidate in close), key=_rank)
    return TemperatureChoice(chosen.candidate, close, tuple(trials))


def _part_of(progress: Progress, index: int, total: int) -> Progress:
    """The progress of one trial among equally long ones."""
    return lambda done, steps: progress(index * steps + done, total * steps)


def _close(hit: Tensor, best: Tensor) -> bool:
    """Whether as many more hits as the best has are no more than chance gives."""
    return int(best.sum() - hit.sum()) <= math.sqrt(int((best != hit).sum()))


def _rank(trial: Trial) -> tuple[float, float]:
    assert trial.validation is not None
    assert trial.loss is not None
    return -(trial.validation.accuracy_where_teacher_wrong or 0.0), trial.loss


def _told(trial: Trial) -> str:
    report = trial.validation
    if report is None:
        return f"  {trial.candidate}: diverged"
    wrong = report.accuracy_where_teacher_wrong
    split = "" if wrong is None else f" (where the teacher is wrong {wrong:.2f})"
    return (
        f"  {trial.candidate}: accuracy {report.accuracy:.2f}{split}, KL {report.divergence:.2f}, entropy "
        f"{report.student_entropy:.2f}, loss {trial.loss:.2f}"
    )
