"""Distillation: the losses by hand, the step against autograd, and what the student learns."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedkd.aggregation.types import Teacher
from fedkd.config.schema import DistillationConfig, GeometryConfig
from fedkd.config.values import Plugin
from fedkd.core.optimisers import SGD
from fedkd.distillation.balanced_step import BalancedStep, GeometryMode, Losses, StepRow
from fedkd.distillation.balancer import build_balancer
from fedkd.distillation.distiller import Distiller
from fedkd.distillation.divergence import classification_loss, distillation_loss
from fedkd.distillation.temperature import TemperatureSchedule, build_temperature
from fedkd.distillation.validation import Validation, validation_slope


def test_distillation_loss_by_hand() -> None:
    # KL([¾, ¼] ‖ [½, ½]) = ¾·ln 1.5 + ¼·ln 0.5
    teacher, student = torch.tensor([[0.75, 0.25]]).log(), torch.zeros(1, 2)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert float(distillation_loss(student, teacher, 1.0)) == pytest.approx(expected, rel=1e-6)


def test_distillation_loss_is_from_the_teacher_to_the_student() -> None:
    teacher, student = torch.tensor([[0.75, 0.25]]).log(), torch.zeros(1, 2)
    reverse = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert abs(float(distillation_loss(student, teacher, 1.0)) - reverse) > 0.01


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_a_student_that_equals_its_teacher_has_no_loss(temperature: float) -> None:
    logits = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)) * 10
    assert float(distillation_loss(logits, logits.log_softmax(1), temperature)) == pytest.approx(0.0, abs=1e-5)


def test_the_square_of_the_temperature_restores_the_gradient() -> None:
    """For large T the logit gradient tends to (z_s − z_t)/classes per sample (Hinton et al. 2015, Eq. 4)."""
    teacher = torch.tensor([[1.0, -1.0, 0.0]])
    student = torch.zeros(1, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(distillation_loss(student, teacher, 1000.0), student)
    torch.testing.assert_close(gradient, -teacher / 3, atol=1e-3, rtol=0)


def test_sample_weights_select_samples() -> None:
    logits, target = torch.randn(2, 3), torch.randn(2, 3)
    one = distillation_loss(logits[:1], target[:1], 2.0)
    assert torch.allclose(distillation_loss(logits, target, 2.0, torch.tensor([3.0, 0.0])), one)
    assert float(distillation_loss(logits, target, 2.0, torch.zeros(2))) == 0.0


def linear_problem() -> tuple[nn.Linear, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs, target = torch.randn(6, 4, generator=generator), torch.randn(6, 3, generator=generator)
    return nn.Linear(4, 3), inputs, target, torch.tensor([0, 1, 2, 0, 1, 2])


def losses_of(model: nn.Module, inputs: Tensor, target: Tensor, labels: Tensor) -> Losses:
    logits_dist, logits_cls = model(inputs), model(inputs)
    return Losses(
        distillation_loss(logits_dist, target, 2.0), classification_loss(logits_cls, labels), logits_dist, logits_cls
    )


def one_step(balanced: BalancedStep, losses: Losses, step: int = 0) -> StepRow:
    return balanced.step(losses, round=1, step=step, steps=2, temperature=2.0)


@pytest.mark.parametrize("mode", ["exact", "last_layer"])
def test_a_step_descends_along_the_balanced_gradient(mode: GeometryMode) -> None:
    model, inputs, target, labels = linear_problem()
    reference = copy.deepcopy(model)
    parameters = list(model.parameters())
    balanced = BalancedStep(
        parameters,
        SGD(parameters, 0.1),
        build_balancer("fixed", value=0.3),
        mode=mode,
        last_layer=parameters,
    )
    row = one_step(balanced, losses_of(model, inputs, target, labels))
    dist, task = distillation_loss(reference(inputs), target, 2.0), classification_loss(reference(inputs), labels)
    g_dist = torch.autograd.grad(dist, list(reference.parameters()), retain_graph=True)
    g_cls = torch.autograd.grad(task, list(reference.parameters()), retain_graph=True)
    combined = torch.autograd.grad(0.3 * dist + 0.7 * task, list(reference.parameters()))
    for moved, start, gradient in zip(model.parameters(), reference.parameters(), combined, strict=True):
        torch.testing.assert_close(moved, start - 0.1 * gradient)
    a, b, c = (
        sum(float((x * y).sum()) for x, y in zip(left, right, strict=True))
        for left, right in ((g_dist, g_dist), (g_dist, g_cls), (g_cls, g_cls))
    )
    assert row.predicted_decrease == pytest.approx(0.1 * (0.09 * a + 0.42 * b + 0.49 * c), rel=1e-5)
    assert row.norm_dist == pytest.approx(a**0.5, rel=1e-5)
    assert row.norm_cls == pytest.approx(c**0.5, rel=1e-5)
    assert row.cos == pytest.approx(b / (a * c) ** 0.5, rel=1e-4)
    assert (row.loss_dist, row.loss_cls) == pytest.approx((dist.item(), task.item()))
    if mode == "exact":
        assert row.predicted_decrease_dist == pytest.approx(0.1 * (0.3 * a + 0.7 * b), rel=1e-5)
        assert row.predicted_decrease_cls == pytest.approx(0.1 * (0.3 * b + 0.7 * c), rel=1e-5)


def test_logit_geometry_of_a_mixed_batch_by_hand() -> None:
    """On logits the gradients are (p_s − p_t)/n and (p_s − onehot)/n: zero rows where there is no label."""
    logits = torch.zeros(2, 2, requires_grad=True)
    target = torch.tensor([[0.75, 0.25], [0.5, 0.5]]).log()
    losses = Losses(
        distillation_loss(logits, target, 1.0), classification_loss(logits[1:], torch.tensor([0])), logits, logits
    )
    balanced = BalancedStep([nn.Parameter(torch.zeros(1))], SGD([torch.zeros(1)], 0.1), build_balancer("fixed"))
    balanced.mode = "logits"
    # Row 0: (−¼, ¼)/2 for L_dist, none for L_cls. Row 1: none for L_dist, (−½, ½) for L_cls.
    assert balanced._gram(losses, [], []) == pytest.approx((2 * 0.125**2, 0.0, 0.5))


@pytest.mark.parametrize("policy", ["fixed", "validation_guided", "energy_share"])
@pytest.mark.parametrize("mode", ["exact", "last_layer"])
def test_what_is_measured_changes_no_student_and_stands_at_the_steps_that_were_asked_for(
    policy: str, mode: GeometryMode
) -> None:
    inputs, truth, labels = problem()
    teacher = Teacher.from_probabilities(nn.functional.one_hot(truth, 2).float() * 0.8 + 0.1)
    held_out = torch.arange(len(truth)) % 5 == 0
    rows, students = {}, []
    for every in (0, 1, 3):
        trainer = distiller(policy, steps=7, measure_geometry_every=every, geometry=GeometryConfig(mode=mode))
        found = trainer.distil(teacher, inputs, labels, round=1, validation=Validation(held_out, truth[held_out]))
        rows[every] = found.rows
        students.append(trainer.student.state_dict())
    for other in students[1:]:
        assert all(torch.equal(value, other[name]) for name, value in students[0].items())
    for every, chosen in ((0, ()), (1, range(7)), (3, (0, 3, 6))):
        assert [row.step for row in rows[every] if row.predicted_decrease is not None] == list(chosen)
        known = range(7) if policy == "energy_share" else chosen
        assert [row.step for row in rows[every] if row.cos is not None] == list(known)
        assert [row.step for row in rows[every] if row.norm_dist is not None] == list(known)
        assert [row for row in rows[every] if row.step in chosen] == [rows[1][step] for step in chosen]


def test_between_measurements_lambda_stays_and_one_backward_pass_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs, target, labels = linear_problem()
    parameters = list(model.parameters())
    balanced = BalancedStep(parameters, SGD(parameters, 0.1), build_balancer("energy_share"), every=3)
    passes = []
    backward = torch.autograd.grad

    def counted(*arguments: Any, **options: Any) -> Any:
        passes.append(1)
        return backward(*arguments, **options)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    rows = [one_step(balanced, losses_of(model, inputs, target, labels), step) for step in range(4)]
    assert len(passes) == 2 + 1 + 1 + 2
    assert rows[0].lam == rows[1].lam == rows[2].lam != rows[3].lam
    assert [row.cos is None for row in rows] == [False, True, True, False]


def fidelity(rate: float, **options: Any) -> list[float]:
    """Measured over predicted decrease of the total loss along a short run."""
    inputs, truth, labels = problem()
    teacher = Teacher.from_probabilities(nn.functional.one_hot(truth, 2).float() * 0.8 + 0.1)
    trainer = distiller("energy_share", learning_rate=rate, measure_every=1, steps=20, warmup=0, **options)
    rows = trainer.distil(teacher, inputs, labels, round=1).rows
    return [
        row.measured_decrease / row.predicted_decrease
        for row in rows
        if row.measured_decrease is not None and row.predicted_decrease is not None
    ]


def test_taylors_prediction_is_right_at_small_rates_and_not_at_large_ones() -> None:
    assert all(abs(ratio - 1) < 0.02 for ratio in fidelity(1e-4, momentum=0.0))
    assert any(abs(ratio - 1) > 0.1 for ratio in fidelity(1.0, momentum=0.0))


@pytest.mark.parametrize(
    "options", [{"momentum": 0.9}, {"momentum": 0.9, "weight_decay": 0.01}, {"momentum": 0.0, "clip_norm": 0.3}]
)
def test_the_prediction_is_of_the_update_really_made(options: dict[str, float]) -> None:
    assert all(abs(ratio - 1) < 0.02 for ratio in fidelity(1e-4, **options))


def test_adams_update_is_predicted_too() -> None:
    inputs, truth, labels = problem()
    teacher = Teacher.from_probabilities(nn.functional.one_hot(truth, 2).float() * 0.8 + 0.1)
    trainer = distiller("energy_share", optimiser="adam", learning_rate=1e-5, measure_every=1, steps=20)
    for row in trainer.distil(teacher, inputs, labels, round=1).rows:
        assert row.measured_decrease == pytest.approx(row.predicted_decrease, rel=0.02)


def test_the_validation_slope_is_the_directional_derivative() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(2, 3))
    inputs, labels = torch.randn(9, 1, 4, 4), torch.arange(9) % 3
    direction = {name: torch.randn_like(parameter) for name, parameter in model.named_parameters()}
    loss = nn.functional.cross_entropy(model(inputs), labels)
    found = torch.autograd.grad(loss, list(model.parameters()))
    expected = sum(float((left * right).sum()) for left, right in zip(found, direction.values(), strict=True))
    assert validation_slope(model, inputs, labels, direction) == pytest.approx(expected, rel=1e-4)


def problem() -> tuple[Tensor, Tensor, Tensor]:
    """Separable two-class inputs, their truth, and labels on the first eight only."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(200) % 2
    inputs = torch.randn(200, 1, 4, 4, generator=generator) + (truth * 2.0 - 1.0).view(-1, 1, 1, 1)
    labels = truth.clone()
    labels[8:] = -1
    return inputs, truth, labels


def distiller(
    name: str = "fixed",
    *,
    pseudo_labels: bool = False,
    value: float | None = None,
    temperature: TemperatureSchedule | None = None,
    **options: Any,
) -> Distiller:
    torch.random.set_rng_state(torch.Generator().manual_seed(0).get_state())
    student = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    config = DistillationConfig(**{"steps": 60, "batch_size": 16, "labelled_batch_size": 8, "warmup": 0, **options})
    balancer = build_balancer(name, ema=0.5) if value is None else build_balancer(name, value=value)
    temperature = temperature or build_temperature("constant", value=2.0)
    return Distiller(student, balancer, config, temperature=temperature, seed=0, pseudo_labels=pseudo_labels)


def share_right(model: nn.Module, inputs: Tensor, truth: Tensor) -> float:
    return float((model(inputs).argmax(1) == truth).float().mean())


def test_lambda_decides_whom_the_student_believes() -> None:
    inputs, truth, labels = problem()
    liar = Teacher.from_probabilities(nn.functional.one_hot(1 - truth, 2).float())
    for value, expected in ((1.0, 0.0), (0.0, 1.0)):
        trainer = distiller(value=value)
        trainer.distil(liar, inputs, labels, round=1)
        assert share_right(trainer.student, inputs, truth) == pytest.approx(expected, abs=0.1)


def test_without_labels_lambda_is_one_unless_pseudo_labels_are_asked_for() -> None:
    inputs, truth, _ = problem()
    teacher = Teacher.from_probabilities(nn.functional.one_hot(truth, 2).float() * 0.8 + 0.1)
    unknown = torch.full_like(truth, -1)
    plain, pseudo = distiller(value=0.2), distiller(value=0.2, pseudo_labels=True)
    result = plain.distil(teacher, inputs, unknown, round=1)
    assert (result.mean_lambda, result.loss_cls) == (1.0, 0.0)
    result = pseudo.distil(teacher, inputs, unknown, round=1)
    assert result.mean_lambda == pytest.approx(0.2)
    assert result.loss_cls > 0
    assert share_right(plain.student, inputs, truth) > 0.9


def test_held_out_samples_are_never_trained_on() -> None:
    """Poisoning the held-out samples, in inputs, labels and targets, changes nothing."""
    inputs, truth, labels = problem()
    held_out = torch.zeros(200, dtype=torch.bool)
    held_out[4:8] = held_out[100:150] = True
    probabilities = nn.functional.one_hot(truth, 2).float()
    students = []
    for poison in (False, True):
        shown, known, target = inputs.clone(), labels.clone(), probabilities.clone()
        if poison:
            shown[held_out], known[4:8], target[held_out] = 1e3, 1 - truth[4:8], 0.5
        trainer = distiller(value=0.5)
        labels_held_out = truth[held_out]
        trainer.distil(
            Teacher.from_probabilities(target), shown, known, round=1, validation=Validation(held_out, labels_held_out)
        )
        students.append(trainer.student)
    for left, right in zip(students[0].parameters(), students[1].parameters(), strict=True):
        assert torch.equal(left, right)


def test_resuming_from_state_gives_the_same_student() -> None:
    inputs, truth, labels = problem()
    teacher = Teacher.from_probabilities(nn.functional.one_hot(truth, 2).float())
    whole = distiller("energy_share")
    whole.distil(teacher, inputs, labels, round=1)
    resumed = distiller("energy_share")
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    for trainer in (whole, resumed):
        trainer.distil(teacher, inputs, labels, round=2)
    for left, right in zip(whole.student.parameters(), resumed.student.parameters(), strict=True):
        assert torch.equal(left, right)


class ByPlace(TemperatureSchedule):
    """T of each sample from its place among those that are distilled on."""

    def __init__(self, temperatures: Callable[[int], Tensor]) -> None:
        self._temperatures = temperatures

    def at(self, progress: float, teacher: Tensor) -> Tensor:
        return self._temperatures(len(teacher))


@pytest.mark.parametrize(
    "options", [{}, {"mixed": True}, {"label_share": 0.3, "label_smoothing": 0.1}, {"loss": (Plugin("reverse_kl"),)}]
)
def test_one_temperature_for_all_is_the_same_written_sample_by_sample(options: dict[str, Any]) -> None:
    inputs, truth, labels = problem()
    held_out = torch.zeros(200, dtype=torch.bool)
    held_out[4:8] = held_out[100:150] = True
    teacher = Teacher.from_probabilities(nn.functional.one_hot(truth, 2).float() * 0.8 + 0.1)
    found = []
    for schedule in (build_temperature("constant", value=4.0), ByPlace(lambda count: torch.full((count,), 4.0))):
        trainer = distiller("energy_share", temperature=schedule, measure_every=7, measure_classes_every=20, **options)
        rows = trainer.distil(teacher, inputs, labels, round=1, validation=Validation(held_out, truth[held_out])).rows
        found.append((rows, trainer.student(inputs)))
    assert [row.temperature for row in found[1][0]] == [4.0] * 60
    assert str(found[0][0]) == str(found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_a_sample_keeps_its_temperature_in_every_batch() -> None:
    """One step over all samples that are not held out, against the gradient by hand."""
    inputs, truth, _ = problem()
    held_out = torch.zeros(200, dtype=torch.bool)
    held_out[:90] = held_out[100:150] = True
    kept = ~held_out
    own = torch.linspace(1.0, 9.0, 60)
    teacher = Teacher.from_probabilities(nn.functional.one_hot(truth, 2).float() * 0.8 + 0.1)
    options: dict[str, Any] = {"steps": 1, "batch_size": 60, "learning_rate": 0.1, "momentum": 0.0}
    trainer = distiller(temperature=ByPlace(lambda count: own), **options)
    by_hand = copy.deepcopy(trainer.student)
    validation = Validation(held_out, truth[held_out])
    (row,) = trainer.distil(teacher, inputs, torch.full_like(truth, -1), round=1, validation=validation).rows
    assert row.temperature == pytest.approx(5.0)
    target = teacher.log_probabilities[kept] / own.unsqueeze(1)
    student = by_hand(inputs[kept]) / own.unsqueeze(1)
    divergence = nn.functional.kl_div(
        student.log_softmax(1), target.log_softmax(1), reduction="none", log_target=True
    ).sum(1)
    (own**2 * divergence).mean().backward()
    for moved, start in zip(trainer.student.parameters(), by_hand.parameters(), strict=True):
        assert start.grad is not None
        torch.testing.assert_close(moved, start - 0.1 * start.grad)


def test_nothing_to_distil_on_is_an_error() -> None:
    inputs, truth, labels = problem()
    teacher = Teacher.from_probabilities(nn.functional.one_hot(truth, 2).float())
    with pytest.raises(ValueError, match="held out"):
        distiller().distil(
            teacher, inputs, labels, round=1, validation=Validation(torch.ones(200, dtype=torch.bool), truth)
        )


def test_error_ratio_follows_a_good_teacher_and_leaves_a_bad_one() -> None:
    inputs, truth, labels = problem()
    held_out = torch.zeros(200, dtype=torch.bool)
    held_out[150:] = True
    validation = Validation(held_out, truth[held_out])
    weights = []
    for good in (True, False):
        target = nn.functional.one_hot(truth if good else 1 - truth, 2).float() * 0.8 + 0.1
        trainer = distiller("error_ratio")
        rows = trainer.distil(Teacher.from_probabilities(target), inputs, labels, round=1, validation=validation).rows
        weights.append(rows[-1].lam)
    assert weights[0] > 0.4
    assert weights[1] < 0.01


def test_a_mixed_batch_and_a_consensus_target_teach_the_same_lesson() -> None:
    inputs, truth, labels = problem()
    teacher = Teacher.from_probabilities(nn.functional.one_hot(truth, 2).float() * 0.8 + 0.1)
    for options in ({"mixed": True}, {"label_share": 0.5, "label_smoothing": 0.1}, {"loss": (Plugin("reverse_kl"),)}):
        trainer = distiller(value=0.5, **options)
        trainer.distil(teacher, inputs, labels, round=1)
        assert share_right(trainer.student, inputs, truth) > 0.9


def test_the_learning_rate_falls_as_the_schedule_says() -> None:
    """Without momentum a step's predicted decrease is the rate times what the schedule does not touch, at first."""
    inputs, truth, labels = problem()
    teacher = Teacher.from_probabilities(nn.functional.one_hot(truth, 2).float() * 0.8 + 0.1)
    second = {}
    for schedule in ("linear", "cosine"):
        trainer = distiller("energy_share", schedule=schedule, steps=4, momentum=0.0, measure_geometry_every=1)
        found = trainer.distil(teacher, inputs, labels, round=1).rows[1].predicted_decrease
        assert found is not None
        second[schedule] = found
    assert second["cosine"] / second["linear"] == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)) / 0.75, rel=1e-5)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_a_fresh_optimiser_makes_a_round_depend_on_the_student_alone(optimiser: str) -> None:
    """A second round is what a new trainer makes of the same student; with the momenta of the first it is not."""
    inputs, truth, labels = problem()
    teacher = Teacher.from_probabilities(nn.functional.one_hot(truth, 2).float() * 0.8 + 0.1)

    def second_round(fresh: bool) -> tuple[Tensor, Tensor]:
        options: dict[str, Any] = {"fresh_optimiser": fresh, "optimiser": optimiser, "schedule": "constant", "steps": 5}
        going_on, anew = distiller(value=0.5, **options), distiller(value=0.5, **options)
        going_on.distil(teacher, inputs, labels, round=1)
        going_on.fit_labels(inputs, labels, round=2)
        anew.student.load_state_dict(going_on.student.state_dict())
        for trainer in (going_on, anew):
            trainer.fit_labels(inputs, labels, round=3)
            trainer.distil(teacher, inputs, labels, round=4)
        return going_on.student(inputs), anew.student(inputs)

    assert torch.equal(*second_round(True))
    assert not torch.equal(*second_round(False))


@pytest.mark.parametrize("change", ["flip", "shift"])
def test_the_student_sees_changed_images_with_a_teacher_and_without(change: str) -> None:
    inputs, truth, labels = problem()
    teacher = Teacher.from_probabilities(nn.functional.one_hot(truth, 2).float() * 0.8 + 0.1)

    def weight(shown: Tensor, alone: bool, *changes: str) -> Tensor:
        trainer = distiller(value=0.5, augment=changes)
        if alone:
            trainer.fit_labels(shown, labels, round=1)
        else:
            trainer.distil(teacher, shown, labels, round=1)
        return next(trainer.student.parameters())

    # An image that is the same everywhere is the same however it is flipped or shifted.
    flat = torch.full_like(inputs, 0.5)
    for alone in (False, True):
        assert not torch.equal(weight(inputs, alone), weight(inputs, alone, change))
        assert torch.equal(weight(flat, alone), weight(flat, alone, change))
