"""The validation protocol of distillation: is the student learning from its teacher, and is that worth anything?

Student and teacher are compared on validation samples whose labels neither has seen (``validate_student``), and with
what else is known of the round (``Circumstances``). ``diagnose`` says in words what that allows to be said. A
difference counts only when it is both large enough to matter and beyond the noise of so few samples; what the samples
cannot settle is never called healthy. No test sample is involved.
"""

import math
from dataclasses import dataclass, replace

from fedkd.distillation.diagnosis.findings import (
    CERTAIN,
    DOUBTFUL,
    MIN_SAMPLES,
    Circumstances,
    Finding,
    KnownRound,
    Verdict,
    findings,
    gap_behind,
    mistakes,
)
from fedkd.distillation.diagnosis.student_report import ValidationReport, validate_student

__all__ = ["Circumstances", "Diagnosis", "ValidationReport", "Verdict", "diagnose", "validate_student"]


@dataclass(frozen=True)
class Diagnosis:
    """A verdict, what it rests on in plain words (the numbers, their noise, what to try), and on how many samples."""

    verdict: Verdict
    text: str
    samples: int


def diagnose(
    report: ValidationReport | None,
    *,
    public_only: float | None,
    previous: ValidationReport | None,
    classes: int,
    circumstances: Circumstances | None = None,
) -> Diagnosis:
    """What is wrong with a distillation, if the samples suffice to say so.

    ``report`` is None where there is no validation sample; ``public_only`` is the accuracy, on the same samples, of a
    student trained on the public labels alone; ``previous`` an earlier round's report; None skips what needs them.
    Facts come first: no labels, a single client. Then questions are asked in this order, and the first whose answer is
    certain decides: what keeps the teacher from being any good (attackers, noise, clients that learn nothing), is it
    at chance or worse than the public labels alone; were most clients dropped; is the temperature too low or too high;
    is the student below the public labels alone, does it decline, underfit, or stay behind for another reason. Without
    a certain answer a doubtful one gives ``TOO_FEW_SAMPLES``, as does any student below ``public_only``. Raises
    ``ValueError`` for ``public_only`` outside [0, 1] or classes below 2.
    """
    if public_only is not None and not 0.0 <= public_only <= 1.0:
        raise ValueError(f"public_only must be an accuracy in [0, 1], got {public_only}; None leaves it out")
    if classes < 2:
        raise ValueError(f"classes must be at least 2, got {classes}")
    if circumstances is not None and circumstances.labelled == 0:
        return Diagnosis(
            Verdict.NO_LABELS,
            "No labels: the server knows the class of no public sample, so that nothing says whether the teacher is "
            "right or the student learns. Raise data.public.labelled, if only for validation.",
            0,
        )
    found = _judge(report, public_only, previous, classes, circumstances)
    if circumstances is not None and circumstances.clients == 1:
        return replace(
            found,
            verdict=Verdict.ONE_CLIENT,
            text="One client: the teacher is a single client's model, and nothing is aggregated or hidden in a crowd. "
            f"Raise clients.count or clients.fraction. Apart from that: {found.text}",
        )
    return found


def _judge(
    report: ValidationReport | None,
    public_only: float | None,
    previous: ValidationReport | None,
    classes: int,
    circumstances: Circumstances | None,
) -> Diagnosis:
    samples = 0 if report is None else report.samples
    if report is None or samples < MIN_SAMPLES:
        return Diagnosis(
            Verdict.TOO_FEW_SAMPLES,
            f"Too few validation samples to tell: {samples}, and below {MIN_SAMPLES} even large differences are "
            "noise. Raise data.public.labelled or data.public.validation.",
            samples,
        )
    doubtful = None
    for finding in findings(KnownRound(report, public_only, previous, classes, circumstances)):
        if finding.errors >= CERTAIN:
            return Diagnosis(finding.verdict, finding.text, samples)
        if (finding.errors >= DOUBTFUL or finding.stands) and doubtful is None:
            doubtful = finding
    if doubtful is not None:
        return Diagnosis(Verdict.TOO_FEW_SAMPLES, _undecided(doubtful, samples), samples)
    return Diagnosis(Verdict.HEALTHY, _healthy(report, public_only, circumstances), samples)


def _undecided(doubtful: Finding, samples: int) -> str:
    needed = math.ceil(samples * (CERTAIN / max(doubtful.errors, 0.1)) ** 2)
    return (
        f"Too few validation samples to tell: {samples}, and what follows is {doubtful.errors:.1f} standard "
        f"errors from chance, where {CERTAIN:.0f} are asked for; about {needed} samples would settle it. "
        f"If it is real: {doubtful.text}"
    )


def _healthy(report: ValidationReport, public_only: float | None, known: Circumstances | None) -> str:
    error = gap_behind(report)[1]
    baseline = (
        "whether the public labels alone would do as well is not known (controls=[public_only] tells)"
        if public_only is None
        else f"the public labels alone {public_only:.3f}"
    )
    attackers = "" if known is None or known.attackers == 0 else f" {known.attackers} attackers do no harm that shows."
    return (
        f"Healthy: student {report.accuracy:.3f}, teacher {report.teacher_accuracy:.3f}, agreement "
        f"{report.agreement:.3f} (KL {report.divergence:.3f} nats); {mistakes(report)}; {baseline}.{attackers} On "
        f"{report.samples} samples differences of accuracy below about {CERTAIN * error:.2f} would not show."
    )
