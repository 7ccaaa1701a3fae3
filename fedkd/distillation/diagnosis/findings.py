"""The questions that a diagnosis asks of a round, each with its reason, its statistic and its remedy."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from fedkd.distillation.diagnosis.student_report import ValidationReport

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

HARD, FLAT = 0.1, 0.9
"""Shares of ln C up to which, and from which on, softened targets are hardly more than a class, or hardly anything.

Of hard targets the T² of the loss leaves small gradients, and a student that need not be sure of itself. Under flat
ones the student spends itself on matching the teacher's smallest probabilities, which are noise (Hinton et al. 2015,
arXiv 1503.02531, section 2.1).
"""

LEARNT = 0.1
"""Share of the way from guessing to no mistake below which hardly anything has been learnt."""


class Verdict(StrEnum):
    """What a diagnosis comes to."""

    HEALTHY = "healthy"
    NO_LABELS = "no_labels"
    ONE_CLIENT = "one_client"
    TOO_FEW_SAMPLES = "too_few_samples"
    ATTACKERS = "attackers"
    NOISE = "noise"
    CLIENTS_DIVERGED = "clients_diverged"
    CLIENTS_DROPPED = "clients_dropped"
    TEACHER_AT_CHANCE = "teacher_at_chance"
    TEACHER_WORSE = "teacher_worse"
    TEMPERATURE_TOO_LOW = "temperature_too_low"
    TEMPERATURE_TOO_HIGH = "temperature_too_high"
    STUDENT_BELOW_PUBLIC_ONLY = "student_below_public_only"
    STUDENT_DECLINES = "student_declines"
    STUDENT_UNDERFITS = "student_underfits"
    STUDENT_BEHIND = "student_behind"


@dataclass(frozen=True)
class Circumstances:
    """What is known of a round besides student and teacher; None where something is not known.

    ``labelled`` is how many public samples the server knows the class of, ``clients`` of how many clients the teacher
    is made and ``dropped`` how many others were asked. ``attackers`` of the former are known not to be honest, and
    ``honest_accuracy`` is how often, on the validation samples, the plain mean of the honest ones' answers is right.
    ``client_accuracy`` is that of the honest clients' models on ``client_samples`` validation samples of their own,
    ``client_guess`` what always naming each client's commonest class would give there. ``noise`` says how strong the
    noise of a privacy mechanism is expected to be.
    """

    labelled: int
    clients: int
    dropped: int = 0
    attackers: int = 0
    honest_accuracy: float | None = None
    client_accuracy: float | None = None
    client_guess: float | None = None
    client_samples: int = 0
    noise: str | None = None


@dataclass(frozen=True)
class Finding:
    """Something that looks wrong, and by how many standard errors it stands out.

    One that ``stands`` keeps a round from being called healthy however few they are.
    """

    verdict: Verdict
    errors: float
    text: str
    stands: bool = False


@dataclass(frozen=True)
class KnownRound:
    """All that is known of a round whose samples suffice."""

    report: ValidationReport
    public_only: float | None
    previous: ValidationReport | None
    classes: int
    circumstances: Circumstances | None

    @property
    def target_share(self) -> float | None:
        """The softened targets' entropy as a share of a uniform guess's."""
        entropy = self.report.target_entropy
        return None if entropy is None else entropy / math.log(self.classes)


def findings(round: KnownRound) -> Iterator[Finding]:
    poor = [*_teacher_at_chance(round), *_worse_teacher(round)]
    if round.circumstances is not None:
        yield from _causes(round.report, poor, round.circumstances)
    yield from poor
    if round.circumstances is not None:
        yield from _dropped(round.circumstances)
    yield from _temperature(round)
    yield from _below_public_only(round)
    if round.previous is not None:
        yield from _decline(round, round.previous)
    yield from _lag(round)


def _teacher_at_chance(round: KnownRound) -> Iterator[Finding]:
    """The burden of proof is the teacher's: between what looks like chance and what certainly is not, it is open."""
    report = round.report
    gain, error = report.teacher_accuracy - report.guess, _error_of_guess(report.guess, report.samples)
    if gain >= CERTAIN * error and gain >= LEARNT * (1.0 - report.guess):
        return
    yield Finding(
        Verdict.TEACHER_AT_CHANCE,
        DOUBTFUL if gain >= max(error, LEARNT * (1.0 - report.guess)) else CERTAIN,
        f"Teacher at chance: right on {report.teacher_accuracy:.3f} of {report.samples} samples, and always naming the "
        f"commonest class is right on {report.guess:.3f} ± {error:.3f}. There is nothing to learn from it: look at "
        "what the clients answer (clients.csv) and at what the strategy makes of it.",
    )


def _worse_teacher(round: KnownRound) -> Iterator[Finding]:
    report, public_only = round.report, round.public_only
    if public_only is None or (gap := public_only - report.teacher_accuracy) < MATERIAL:
        return
    error = _error_of_difference(public_only, report.samples, report.teacher_accuracy, report.samples)
    yield Finding(
        Verdict.TEACHER_WORSE,
        gap / error,
        f"Teacher worse than the public labels alone: {report.teacher_accuracy:.3f} against {public_only:.3f} on "
        f"{report.samples} samples (difference {gap:.3f}, standard error {error:.3f}). No temperature mends that: "
        "train the clients longer, choose a teacher that weighs them, or lower λ.",
    )


def _causes(report: ValidationReport, poor: list[Finding], known: Circumstances) -> Iterator[Finding]:
    """What is to blame for a teacher that is worse than it could be; ``poor`` says that it is no good at all."""
    errors = max((finding.errors for finding in poor), default=0.0)
    yield from _attackers(report, errors, known)
    if poor and known.noise is not None:
        yield Finding(
            Verdict.NOISE,
            errors,
            f"The noise drowns what the clients answer: the teacher is right on {report.teacher_accuracy:.3f} of "
            f"{report.samples} samples. {known.noise}. Use less noise, more clients or fewer public samples a round.",
        )
    accuracy, guess, samples = known.client_accuracy, known.client_guess, known.client_samples
    if not poor or accuracy is None or guess is None or samples * (1.0 - guess) < MIN_SAMPLES / 2:
        return
    error = _error_of_guess(guess, samples)
    if accuracy - guess < max(DOUBTFUL * error, LEARNT * (1.0 - guess)):
        yield Finding(
            Verdict.CLIENTS_DIVERGED,
            errors,
            f"The clients learn nothing: their models are right on {accuracy:.3f} of {samples} validation samples of "
            f"their own, and always naming a client's commonest class is on {guess:.3f} ± {error:.3f}, so that the "
            f"teacher is right on {report.teacher_accuracy:.3f} of {report.samples} samples. Their training diverged, "
            "or has hardly begun: lower clients.learning_rate, or raise clients.epochs.",
        )


def _attackers(report: ValidationReport, errors: float, known: Circumstances) -> Iterator[Finding]:
    if known.attackers == 0:
        return
    who = f"{known.attackers} of the {known.clients} clients that the teacher is made of attack"
    remedy = "Choose a strategy that withstands them (stacked, median, multi_krum)."
    if known.honest_accuracy is None:
        yield Finding(
            Verdict.ATTACKERS,
            errors,
            f"Attackers: {who}, and it is right on {report.teacher_accuracy:.3f} of {report.samples} samples. {remedy}",
        )
    elif (gap := known.honest_accuracy - report.teacher_accuracy) >= MATERIAL:
        error = _error_of_difference(known.honest_accuracy, report.samples, report.teacher_accuracy, report.samples)
        yield Finding(
            Verdict.ATTACKERS,
            gap / error,
            f"Attackers: {who}; it is right on {report.teacher_accuracy:.3f} of {report.samples} samples, and the mean "
            f"of the honest clients on {known.honest_accuracy:.3f} (difference {gap:.3f}, standard error {error:.3f}). "
            f"{remedy}",
        )


def _dropped(known: Circumstances) -> Iterator[Finding]:
    asked = known.clients + known.dropped
    if known.dropped >= max(known.clients, 1):
        yield Finding(
            Verdict.CLIENTS_DROPPED,
            CERTAIN,
            f"Most clients were dropped: {known.dropped} of {asked}, and the teacher is made of {known.clients}. The "
            "reasons are in rounds.jsonl.",
        )


def _temperature(round: KnownRound) -> Iterator[Finding]:
    """The student is worse than its teacher under targets that tell it too little, or copies mistakes of hard ones."""
    report, share = round.report, round.target_share
    if share is None or share <= HARD:
        yield from _copies(report)
    gap, error = gap_behind(report)
    if share is None or HARD < share < FLAT or gap < MATERIAL:
        return
    low = share <= HARD
    numbers = f"{_behind(round)}. The targets as they are taught have {share:.0%} of a uniform guess's entropy"
    yield Finding(
        Verdict.TEMPERATURE_TOO_LOW if low else Verdict.TEMPERATURE_TOO_HIGH,
        gap / error,
        f"Temperature too low: {numbers}, hardly more than the names of the classes. Raise distillation.temperature."
        if low
        else f"Temperature too high: {numbers}, and hardly differ from class to class. Lower distillation.temperature.",
    )


def _copies(report: ValidationReport) -> Iterator[Finding]:
    """The student repeats nearly all of the teacher's mistakes, enough of them to matter."""
    copied = report.copied_mistakes
    if copied is None or copied < COPIES or report.agreement < CLOSE:
        return
    if copied * report.mistakes < MATERIAL * report.samples:
        return
    # The error of a share under the hypothesis that a mistake is copied as often as not.
    error = 0.5 / math.sqrt(report.mistakes)
    yield Finding(
        Verdict.TEMPERATURE_TOO_LOW,
        (copied - 0.5) / error,
        f"Temperature too low: copies the teacher's mistakes. The student {mistakes(report)} (half would be "
        f"{0.5:.2f} ± {error:.2f}), at agreement {report.agreement:.3f} (KL {report.divergence:.3f} nats); accuracy "
        f"{report.accuracy:.3f}, teacher {report.teacher_accuracy:.3f} on {report.samples} samples. Raise "
        "distillation.temperature, or lower λ.",
    )


def _below_public_only(round: KnownRound) -> Iterator[Finding]:
    report, public_only = round.report, round.public_only
    if public_only is None or (gap := public_only - report.accuracy) <= 0:
        return
    error = _error_of_difference(public_only, report.samples, report.accuracy, report.samples)
    remedy = (
        "The teacher is better, so that the student's own training is at fault: raise distillation.steps or "
        "distillation.batch_size, or lower distillation.learning_rate."
        if report.teacher_accuracy > public_only
        else "The teacher is no better, and takes the student along: lower λ, or train the clients longer."
    )
    yield Finding(
        Verdict.STUDENT_BELOW_PUBLIC_ONLY,
        gap / error,
        f"Student below the public labels alone: {report.accuracy:.3f} against {public_only:.3f} on {report.samples} "
        f"samples (difference {gap:.3f}, standard error {error:.3f}), with a teacher at {report.teacher_accuracy:.3f}. "
        f"{remedy}",
        stands=True,
    )


def _decline(round: KnownRound, previous: ValidationReport) -> Iterator[Finding]:
    """The accuracy falls while the student follows its teacher, and falls most where the teacher is wrong."""
    report = round.report
    now, before = report.accuracy_where_teacher_wrong, previous.accuracy_where_teacher_wrong
    fall = previous.accuracy - report.accuracy
    if now is None or before is None or fall < MATERIAL or report.agreement < CLOSE:
        return
    right, right_before = report.accuracy_where_teacher_right, previous.accuracy_where_teacher_right
    elsewhere = 0.0 if right is None or right_before is None else max(right_before - right, 0.0)
    if before - now <= elsewhere:
        return
    error = _error_of_difference(previous.accuracy, previous.samples, report.accuracy, report.samples)
    hard = round.target_share is None or round.target_share <= HARD
    yield Finding(
        Verdict.TEMPERATURE_TOO_LOW if hard else Verdict.STUDENT_DECLINES,
        fall / error,
        f"{'Temperature too low: copies the' if hard else 'The student declines: it takes over its'} teacher's "
        f"mistakes. It fell from {previous.accuracy:.3f} to {report.accuracy:.3f} on {report.samples} samples ("
        f"standard error {error:.3f}), most where the teacher is wrong ({before:.3f} to {now:.3f}), at agreement "
        f"{report.agreement:.3f} (KL {report.divergence:.3f} nats); {mistakes(report)}. "
        f"{'Raise distillation.temperature, or lower λ' if hard else 'Lower λ'}.",
    )


def _lag(round: KnownRound) -> Iterator[Finding]:
    """The student is worse than its teacher: because it is uncertain, or for a reason that is not temperature."""
    gap, error = gap_behind(round.report)
    uncertain = round.report.student_entropy >= UNCERTAIN * math.log(round.classes)
    if uncertain and gap >= MATERIAL and round.target_share is None:
        yield Finding(
            Verdict.TEMPERATURE_TOO_HIGH,
            gap / error,
            f"Temperature too high: underfits. Poor and uncertain: {_behind(round)}. Lower distillation.temperature; "
            "if it is low already, raise distillation.steps or distillation.learning_rate.",
        )
    elif uncertain and gap >= MATERIAL:
        yield Finding(
            Verdict.STUDENT_UNDERFITS,
            gap / error,
            f"Student underfits: poor and uncertain, though the targets tell it enough: {_behind(round)}. Raise "
            "distillation.steps or distillation.learning_rate.",
        )
    elif not uncertain and gap >= BEHIND:
        yield Finding(
            Verdict.STUDENT_BEHIND,
            gap / error,
            f"Student behind its teacher, yet sure of itself, so that temperature is not to blame: {_behind(round)}. "
            "Raise distillation.steps, lower distillation.learning_rate, or take a larger student.",
        )


def _behind(round: KnownRound) -> str:
    report, (gap, error) = round.report, gap_behind(round.report)
    return (
        f"student {report.accuracy:.3f}, teacher {report.teacher_accuracy:.3f} on {report.samples} samples (difference "
        f"{gap:.3f}, standard error {error:.3f}); its entropy is {report.student_entropy:.3f} nats, "
        f"{report.student_entropy / math.log(round.classes):.0%} of a uniform guess's, the teacher's "
        f"{report.teacher_entropy:.3f}"
    )


def mistakes(report: ValidationReport) -> str:
    if report.copied_mistakes is None:
        return "the teacher makes no mistake"
    return f"repeats {round(report.copied_mistakes * report.mistakes)} of the teacher's {report.mistakes} mistakes"


def gap_behind(report: ValidationReport) -> tuple[float, float]:
    """By how much the teacher is better than the student, and the standard error of that."""
    error = _error_of_difference(report.teacher_accuracy, report.samples, report.accuracy, report.samples)
    return report.teacher_accuracy - report.accuracy, error


def _error_of_guess(guess: float, samples: int) -> float:
    """The standard error of an accuracy that is a guess's."""
    return math.sqrt(guess * (1.0 - guess) / samples)


def _error_of_difference(first: float, first_samples: int, second: float, second_samples: int) -> float:
    """The standard error of the difference of two accuracies if they were one, as in the two-proportion z-test.

    √(p(1−p)(1/n₁ + 1/n₂)) with the pooled share p, to which a hit and a miss are added so that 20 hits of 20 do not
    pass for certainty. The two are taken as independent. On the same samples good models err together, which makes the
    true error smaller: this errs towards silence.
    """
    pooled = (first * first_samples + second * second_samples + 1.0) / (first_samples + second_samples + 2)
    return math.sqrt(pooled * (1.0 - pooled) * (1.0 / first_samples + 1.0 / second_samples))
