"""The validation protocol: its numbers by hand, each verdict on a constructed case, and silence on noise."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedkd.distillation.diagnosis import Circumstances, ValidationReport, Verdict, diagnose, validate_student

CLASSES = 10


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def confident(classes: Tensor, certainty: float = 0.9, count: int = CLASSES) -> Tensor:
    """Log-probabilities with ``certainty`` on the given class and the rest spread evenly."""
    hot = torch.nn.functional.one_hot(classes, count).double()
    return (hot * certainty + (1 - hot) * (1 - certainty) / (count - 1)).log()


def answers(truth: Tensor, wrong: Tensor) -> Tensor:
    """The truth, but the next class where ``wrong``."""
    return torch.where(wrong, (truth + 1) % CLASSES, truth)


def case(
    samples: int, *, teacher_wrong: float, copied: float = 0.0, extra_wrong: float = 0.0, certainty: float = 0.9
) -> ValidationReport:
    """A student that repeats ``copied`` of the teacher's mistakes and makes ``extra_wrong`` (of all samples) others."""
    truth = torch.arange(samples) % CLASSES
    index = torch.arange(samples)
    mistakes, own = round(teacher_wrong * samples), round(extra_wrong * samples)
    wrong = index < mistakes
    student_wrong = (index < round(copied * mistakes)) | ((index >= samples - own) & ~wrong)
    student, teacher = confident(answers(truth, student_wrong), certainty), confident(answers(truth, wrong))
    return validate_student(student, teacher, truth)


def test_a_report_by_hand() -> None:
    # Teacher: right, right, wrong (1), wrong (0). Student: right, wrong (0), the same wrong (1), right.
    labels = torch.tensor([0, 1, 0, 1])
    teacher = torch.tensor([[0.8, 0.2], [0.2, 0.8], [0.2, 0.8], [0.8, 0.2]]).log()
    student = torch.tensor([[0.5 + 1e-6, 0.5], [0.5 + 1e-6, 0.5], [0.5, 0.5 + 1e-6], [0.5, 0.5 + 1e-6]]).log()
    report = validate_student(student, teacher, labels)
    assert (report.accuracy, report.teacher_accuracy, report.agreement, report.samples) == (0.5, 0.5, 0.5, 4)
    assert report.accuracy_where_teacher_right == 0.5
    assert report.accuracy_where_teacher_wrong == 0.5
    assert report.copied_mistakes == 0.5
    assert report.mistakes == 2
    binary = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    assert report.student_entropy == pytest.approx(math.log(2), abs=1e-5)
    assert report.teacher_entropy == pytest.approx(binary, abs=1e-5)
    assert report.divergence == pytest.approx(math.log(2) - binary, abs=1e-5)


def test_another_wrong_answer_is_not_a_copy() -> None:
    labels, teacher, student = torch.tensor([0]), torch.tensor([[0.0, 5.0, 0.0]]), torch.tensor([[0.0, 0.0, 5.0]])
    report = validate_student(student, teacher.log_softmax(dim=-1), labels)
    assert (report.copied_mistakes, report.accuracy_where_teacher_wrong, report.agreement) == (0.0, 0.0, 0.0)


def test_the_divergence_is_from_teacher_to_student_and_softened() -> None:
    teacher, student = torch.tensor([[0.75, 0.25]]).log(), torch.zeros(1, 2)
    label = torch.tensor([0])
    forward = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert validate_student(student, teacher, label).divergence == pytest.approx(forward, rel=1e-5)
    p = 1 / (1 + 3**-0.5)
    softened = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))
    warm = validate_student(student, teacher, label, temperature=2.0)
    assert warm.divergence == pytest.approx(softened, rel=1e-5)
    assert warm.teacher_entropy == validate_student(student, teacher, label).teacher_entropy


@pytest.mark.parametrize(("wrong", "empty"), [(False, "wrong"), (True, "right")])
def test_empty_groups_are_none(wrong: bool, empty: str) -> None:
    truth = torch.arange(30) % CLASSES
    right = confident(truth)
    report = validate_student(right, confident(answers(truth, torch.full((30,), wrong))), truth)
    assert (report.accuracy_where_teacher_right is None) == (empty == "right")
    assert (report.accuracy_where_teacher_wrong is None) == (empty == "wrong")
    assert (report.copied_mistakes is None) == (empty == "wrong")
    verdict = diagnose(report, public_only=None, previous=report, classes=CLASSES).verdict
    assert verdict is (Verdict.TEACHER_AT_CHANCE if wrong else Verdict.HEALTHY)


def test_copied_mistakes_are_diagnosed() -> None:
    found = diagnose(case(100, teacher_wrong=0.2, copied=1.0), public_only=None, previous=None, classes=CLASSES)
    assert found.verdict is Verdict.TEMPERATURE_TOO_LOW
    assert "20 of the teacher's 20 mistakes" in found.text


def test_a_fall_where_the_teacher_is_wrong_is_diagnosed() -> None:
    before = case(100, teacher_wrong=0.4, copied=0.1)
    after = case(100, teacher_wrong=0.4, copied=0.8)
    assert diagnose(after, public_only=None, previous=None, classes=CLASSES).verdict is Verdict.HEALTHY
    found = diagnose(after, public_only=0.5, previous=before, classes=CLASSES)
    assert found.verdict is Verdict.TEMPERATURE_TOO_LOW
    assert "0.960 to 0.680" in found.text
    assert diagnose(before, public_only=0.5, previous=after, classes=CLASSES).verdict is Verdict.HEALTHY


def test_a_fall_where_the_teacher_is_right_is_not_copying() -> None:
    before = case(200, teacher_wrong=0.1, copied=0.5)
    after = case(200, teacher_wrong=0.1, copied=0.6, extra_wrong=0.15)
    assert after.agreement >= 0.8
    found = diagnose(after, public_only=None, previous=before, classes=CLASSES)
    assert found.verdict is not Verdict.TEMPERATURE_TOO_LOW


@pytest.mark.parametrize(("certainty", "verdict"), [(0.3, "temperature_too_high"), (0.95, "student_behind")])
def test_a_poor_student_is_judged_by_its_uncertainty(certainty: float, verdict: str) -> None:
    poor = case(100, teacher_wrong=0.05, extra_wrong=0.5, certainty=certainty)
    found = diagnose(poor, public_only=0.4, previous=None, classes=CLASSES)
    assert found.verdict == verdict
    assert f"student {poor.accuracy:.3f}, teacher 0.950 on 100 samples" in found.text


def test_an_uncertain_student_as_good_as_its_teacher_is_healthy() -> None:
    soft = case(100, teacher_wrong=0.1, copied=0.5, certainty=0.3)
    assert diagnose(soft, public_only=0.8, previous=None, classes=CLASSES).verdict is Verdict.HEALTHY


def test_a_teacher_worse_than_the_public_labels_comes_first() -> None:
    poor = case(100, teacher_wrong=0.6, copied=1.0)
    found = diagnose(poor, public_only=0.8, previous=None, classes=CLASSES)
    assert found.verdict is Verdict.TEACHER_WORSE
    assert "0.400 against 0.800 on 100 samples" in found.text
    assert diagnose(poor, public_only=None, previous=None, classes=CLASSES).verdict is Verdict.TEMPERATURE_TOO_LOW


def test_too_few_samples_are_said_to_be_too_few() -> None:
    tiny = diagnose(case(19, teacher_wrong=0.9), public_only=0.9, previous=None, classes=CLASSES)
    assert tiny.verdict is Verdict.TOO_FEW_SAMPLES
    # 12 against 18 of 20: the pooled 31/42 gives an error of 0.139, and 20·(3·0.139/0.3)² = 38.7.
    small = diagnose(case(20, teacher_wrong=0.4, copied=0.5), public_only=0.9, previous=None, classes=CLASSES)
    assert small.verdict is Verdict.TOO_FEW_SAMPLES
    assert "2.2 standard errors" in small.text
    assert "about 39 samples" in small.text
    large = diagnose(case(60, teacher_wrong=0.4, copied=0.5), public_only=0.9, previous=None, classes=CLASSES)
    assert large.verdict is Verdict.TEACHER_WORSE


def test_a_real_but_tiny_difference_is_no_disease() -> None:
    report = case(20_000, teacher_wrong=0.2, copied=0.5, extra_wrong=0.03)
    assert diagnose(report, public_only=0.83, previous=None, classes=CLASSES).verdict is Verdict.HEALTHY


def test_copying_a_few_mistakes_of_a_good_teacher_is_no_disease() -> None:
    report = case(1000, teacher_wrong=0.03, copied=1.0)
    assert diagnose(report, public_only=None, previous=None, classes=CLASSES).verdict is Verdict.HEALTHY


def test_a_confident_student_may_trail_its_teacher_a_little() -> None:
    report = case(2000, teacher_wrong=0.1, copied=0.5, extra_wrong=0.12)
    assert report.teacher_accuracy - report.accuracy == pytest.approx(0.07)
    assert diagnose(report, public_only=None, previous=None, classes=CLASSES).verdict is Verdict.HEALTHY


def test_a_student_that_does_not_follow_its_teacher_is_not_said_to_copy_it() -> None:
    """It repeats nine mistakes in ten and fell most there, but often differs from its teacher elsewhere."""
    before = case(200, teacher_wrong=0.3)
    after = case(200, teacher_wrong=0.3, copied=0.9, extra_wrong=0.2)
    assert after.agreement == pytest.approx(0.77)
    for previous in (None, before):
        found = diagnose(after, public_only=None, previous=previous, classes=CLASSES)
        assert found.verdict is Verdict.STUDENT_BEHIND


@pytest.mark.parametrize("samples", [20, 50, 100])
@pytest.mark.parametrize("difficulty", [0.1, 0.3, 0.5])
def test_noise_on_healthy_runs_raises_no_alarm(samples: int, difficulty: float) -> None:
    """Student, teacher and control err equally often, on the same hard samples: of 300 rounds 3 may be misjudged.

    A student that is below the control by chance is not called healthy either.
    """
    draw = generator(0)
    alarms, healthy = 0, 0

    def one() -> tuple[ValidationReport, float]:
        truth = torch.arange(samples) % CLASSES  # stratified, as validation samples are
        hard = torch.rand(samples, generator=draw) < 2 * difficulty
        teacher, student, control = (hard & (torch.rand(samples, generator=draw) < 0.5) for _ in range(3))
        report = validate_student(confident(answers(truth, student)), confident(answers(truth, teacher)), truth)
        return report, 1.0 - float(control.double().mean())

    previous, _ = one()
    for _ in range(300):
        report, public_only = one()
        verdict = diagnose(report, public_only=public_only, previous=previous, classes=CLASSES).verdict
        assert verdict is not Verdict.HEALTHY or report.accuracy >= public_only
        healthy += verdict is Verdict.HEALTHY or report.accuracy < public_only
        alarms += verdict not in (Verdict.HEALTHY, Verdict.TOO_FEW_SAMPLES)
        previous = report
    assert alarms <= 3
    assert healthy >= 240


GOOD = case(200, teacher_wrong=0.05)
AT_CHANCE = case(200, teacher_wrong=0.9)
KNOWN = Circumstances(labelled=100, clients=8)


def verdict_of(report: ValidationReport | None, public_only: float | None = None, **known: Any) -> Verdict:
    circumstances = replace(KNOWN, **known)
    found = diagnose(report, public_only=public_only, previous=None, classes=CLASSES, circumstances=circumstances)
    assert found.samples == (0 if report is None or found.verdict is Verdict.NO_LABELS else report.samples)
    return found.verdict


def test_facts_come_first() -> None:
    assert verdict_of(None, labelled=0) is Verdict.NO_LABELS
    assert verdict_of(None) is Verdict.TOO_FEW_SAMPLES
    assert verdict_of(GOOD, clients=1) is Verdict.ONE_CLIENT
    assert verdict_of(None, clients=1) is Verdict.ONE_CLIENT
    assert verdict_of(GOOD) is Verdict.HEALTHY
    assert verdict_of(GOOD, clients=4, dropped=4) is Verdict.CLIENTS_DROPPED
    assert verdict_of(GOOD, clients=5, dropped=4) is Verdict.HEALTHY


def test_a_teacher_at_chance_has_a_cause_where_one_is_known() -> None:
    assert verdict_of(AT_CHANCE) is Verdict.TEACHER_AT_CHANCE
    assert verdict_of(AT_CHANCE, noise="Much noise") is Verdict.NOISE
    assert verdict_of(AT_CHANCE, attackers=3) is Verdict.ATTACKERS
    assert verdict_of(AT_CHANCE, attackers=3, honest_accuracy=0.12) is Verdict.TEACHER_AT_CHANCE
    own: dict[str, Any] = {"client_guess": 0.3, "client_samples": 100}
    assert verdict_of(AT_CHANCE, **own, client_accuracy=0.33) is Verdict.CLIENTS_DIVERGED
    assert verdict_of(AT_CHANCE, **own, client_accuracy=0.9) is Verdict.TEACHER_AT_CHANCE
    # Clients of one class each are always right, and that says nothing.
    skewed: dict[str, Any] = {"client_guess": 1.0, "client_samples": 100, "client_accuracy": 1.0}
    assert verdict_of(AT_CHANCE, **skewed) is Verdict.TEACHER_AT_CHANCE


def test_causes_are_not_blamed_for_a_teacher_that_is_good() -> None:
    harmless: dict[str, Any] = {"noise": "Some noise", "attackers": 2, "honest_accuracy": 0.97}
    own: dict[str, Any] = {"client_guess": 0.3, "client_samples": 100, "client_accuracy": 0.3}
    assert verdict_of(GOOD, **harmless, **own) is Verdict.HEALTHY
    assert verdict_of(case(200, teacher_wrong=0.4), attackers=2, honest_accuracy=0.97) is Verdict.ATTACKERS


@pytest.mark.parametrize(("right", "verdict"), [(2, "teacher_at_chance"), (5, "too_few_samples"), (8, "healthy")])
def test_the_burden_of_proof_is_the_teachers(right: int, verdict: str) -> None:
    # Of 20 samples 2 are right by always naming one class, ± 1.3: 5 is 2.2 standard errors from it, 8 is 4.5.
    report = case(20, teacher_wrong=1 - right / 20)
    assert report.teacher_accuracy == pytest.approx(right / 20)
    assert diagnose(report, public_only=None, previous=None, classes=CLASSES).verdict == verdict


def test_a_student_below_the_public_labels_is_never_healthy() -> None:
    report = case(200, teacher_wrong=0.02, extra_wrong=0.07)
    for public_only, verdict in ((0.935, "too_few_samples"), (0.995, "student_below_public_only"), (0.93, "healthy")):
        assert diagnose(report, public_only=public_only, previous=None, classes=CLASSES).verdict == verdict
    many = case(100_000, teacher_wrong=0.02, extra_wrong=0.07)
    found = diagnose(many, public_only=0.94, previous=None, classes=CLASSES)
    assert found.verdict is Verdict.STUDENT_BELOW_PUBLIC_ONLY
    assert "0.930 against 0.940 on 100000 samples" in found.text


@pytest.mark.parametrize(
    ("taught_at", "verdict"),
    [(0.1, "temperature_too_low"), (1.0, "student_underfits"), (100.0, "temperature_too_high")],
)
def test_the_targets_say_whether_the_temperature_is_to_blame(taught_at: float, verdict: str) -> None:
    truth = torch.arange(200) % CLASSES
    wrong = torch.arange(200) < 60
    student, teacher = confident(answers(truth, wrong), 0.3), confident(truth)
    report = validate_student(student, teacher, truth, taught_at=taught_at)
    assert diagnose(report, public_only=None, previous=None, classes=CLASSES).verdict == verdict
    # Softened by 1, nothing changes.
    assert validate_student(student, teacher, truth, taught_at=1.0).target_entropy == report.teacher_entropy


def test_following_a_soft_teacher_into_its_mistakes_is_no_fault_of_the_temperature() -> None:
    truth = torch.arange(100) % CLASSES
    teacher = confident(answers(truth, torch.arange(100) < 10))
    for taught_at, verdict in ((2.0, Verdict.HEALTHY), (0.1, Verdict.TEMPERATURE_TOO_LOW)):
        report = validate_student(teacher, teacher, truth, taught_at=taught_at)
        assert diagnose(report, public_only=None, previous=None, classes=CLASSES).verdict is verdict


@given(
    st.integers(1, 30),
    st.integers(2, 6),
    st.integers(0, 1000),
    st.sampled_from([0.0, 1e-30, 1.0, 1e6, 1e30]),
    st.sampled_from([0.01, 1.0, 100.0]),
)
def test_reports_of_adversarial_predictions_keep_their_promises(
    samples: int, classes: int, seed: int, scale: float, temperature: float
) -> None:
    draw = generator(seed)
    student = torch.randn(samples, classes, generator=draw) * scale
    teacher = (torch.randn(samples, classes, generator=draw) * scale).log_softmax(dim=-1)
    labels = torch.randint(classes, (samples,), generator=draw)
    report = validate_student(student, teacher, labels, temperature=temperature)
    conditional = (
        report.accuracy_where_teacher_right,
        report.accuracy_where_teacher_wrong,
        report.copied_mistakes,
    )
    shares = [report.accuracy, report.teacher_accuracy, report.agreement, *(x for x in conditional if x is not None)]
    assert all(0.0 <= share <= 1.0 for share in shares)
    assert math.isfinite(report.divergence)
    assert report.divergence >= 0.0
    for entropy in (report.student_entropy, report.teacher_entropy):
        assert -1e-9 <= entropy <= math.log(classes) + 1e-9
    right = samples - report.mistakes
    hits = right * (report.accuracy_where_teacher_right or 0) + report.mistakes * (conditional[1] or 0)
    assert hits == pytest.approx(report.accuracy * samples)
    agreed = right * (report.accuracy_where_teacher_right or 0) + report.mistakes * (report.copied_mistakes or 0)
    assert agreed == pytest.approx(report.agreement * samples)
    for earlier in (None, report):
        assert diagnose(report, public_only=0.5, previous=earlier, classes=classes).text


def test_the_order_of_samples_does_not_matter() -> None:
    draw = generator(3)
    student, teacher = torch.randn(50, 4, generator=draw), torch.randn(50, 4, generator=draw).log_softmax(dim=-1)
    labels, order = torch.randint(4, (50,), generator=draw), torch.randperm(50, generator=draw)
    one = validate_student(student, teacher, labels)
    other = validate_student(student[order], teacher[order], labels[order])
    assert one.divergence == pytest.approx(other.divergence)
    # The means of real numbers depend on their order by rounding alone; counts do not depend on it at all.
    assert one.student_entropy == pytest.approx(other.student_entropy)
    assert one.teacher_entropy == pytest.approx(other.teacher_entropy)
    rounded = replace(
        other,
        divergence=one.divergence,
        student_entropy=one.student_entropy,
        teacher_entropy=one.teacher_entropy,
    )
    assert rounded == one


@pytest.mark.parametrize(
    ("student", "teacher", "labels", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(2, dtype=torch.long), "alike"),
        (torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(3, dtype=torch.long), "alike"),
        (torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), "at least one sample"),
        (torch.zeros(2, 1), torch.zeros(2, 1), torch.zeros(2, dtype=torch.long), "two classes"),
        (torch.full((2, 3), math.nan), torch.zeros(2, 3), torch.zeros(2, dtype=torch.long), "student_logits must be"),
        (torch.zeros(2, 3), torch.full((2, 3), -math.inf), torch.zeros(2, dtype=torch.long), "teacher_log_prob"),
        (torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([0, -1]), "labels must lie"),
        (torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([0, 3]), "labels must lie"),
    ],
)
def test_bad_predictions_are_refused(student: Tensor, teacher: Tensor, labels: Tensor, message: str) -> None:
    # The shapes are checked by the annotations where those are in force, and by the function itself elsewhere.
    validate = getattr(validate_student, "__wrapped__", validate_student)
    with pytest.raises(ValueError, match=message):
        validate(student, teacher, labels)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_impossible_temperatures_are_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be positive"):
        validate_student(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]), temperature=temperature)


def test_impossible_diagnoses_are_refused() -> None:
    report = case(50, teacher_wrong=0.2)
    for public_only in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="public_only must be"):
            diagnose(report, public_only=public_only, previous=None, classes=CLASSES)
    with pytest.raises(ValueError, match="classes must be"):
        diagnose(report, public_only=None, previous=None, classes=1)
