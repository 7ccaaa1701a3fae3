"""Several losses at once, and what they learn between layers."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedkd.aggregation.types import Teacher
from fedkd.config.schema import DistillationConfig
from fedkd.config.values import Plugin
from fedkd.core.samples import SampleSpec
from fedkd.distillation.balancer import build_balancer
from fedkd.distillation.distiller import Distiller
from fedkd.distillation.divergence import distillation_loss
from fedkd.distillation.loss import Answers, Batch, build_loss
from fedkd.distillation.loss_sum import LossSum
from fedkd.distillation.network import NetworkTeacher
from fedkd.distillation.temperature import build_temperature

SQUARES = "tests.support.squares:Squares"
UNKNOWN = torch.full((6,), -1)


def networks(width: int = 3) -> tuple[nn.Sequential, NetworkTeacher, Tensor]:
    generator = torch.Generator().manual_seed(3)
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 2))
    teacher = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    return student, NetworkTeacher(teacher, SampleSpec((4,))), torch.randn(6, 4, generator=generator)


def squares(layers: dict[str, str] | None = None, **options: Any) -> Plugin:
    return Plugin(SQUARES, {"layers": layers or {"1": "1"}, **options})


def trainer(student: nn.Module, network: NetworkTeacher | None, *losses: Plugin, **options: Any) -> Distiller:
    section = DistillationConfig(
        **{"steps": 1, "batch_size": 6, "warmup": 0, "momentum": 0.0, "schedule": "constant", **options}
    )
    return Distiller(
        student,
        build_balancer("fixed", value=1.0),
        replace(section, loss=losses),
        temperature=build_temperature("constant", value=2.0),
        seed=0,
        network=network,
    )


def test_losses_add_up_by_their_weights() -> None:
    student, target = torch.randn(6, 3), torch.randn(6, 3)
    batch = Batch(2.0, UNKNOWN)
    parts = [build_loss("kl", weight=0.5), build_loss("reverse_kl", weight=3.0)]
    whole = LossSum(parts, nn.Linear(1, 1), None, DistillationConfig(), torch.Generator())
    forward = distillation_loss(student, target, 2.0)
    backward = distillation_loss(target, student, 2.0)
    found = whole(Answers(student), Answers(target), batch)
    torch.testing.assert_close(found, 0.5 * forward + 3.0 * backward)


def test_a_step_descends_the_sum_of_both_losses_by_hand() -> None:
    student, network, inputs = networks(width=5)
    before = copy.deepcopy(student)
    made = trainer(student, network, Plugin("kl"), squares(weight=4.0), learning_rate=0.1)
    row = made.distil(network.on(inputs), inputs, UNKNOWN, round=1).rows[0]
    with torch.no_grad():
        target, wanted = network.model(inputs), network.model[1](network.model[0](inputs))  # type: ignore[index]
    seen = before[1](before[0](inputs))
    loss = distillation_loss(before[2](seen), target, 2.0) + 4.0 * (seen - wanted).square().mean()
    loss.backward()
    assert row.loss_dist == pytest.approx(float(loss.detach()), rel=1e-5)
    gradients = [parameter.grad for parameter in before.parameters() if parameter.grad is not None]
    assert row.norm_dist == pytest.approx(float(torch.cat([each.flatten() for each in gradients]).norm()), rel=1e-5)
    for old, new in zip(before.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(new, old - 0.1 * (0.0 if old.grad is None else old.grad))


def test_a_projection_learns_to_make_the_students_features_the_teachers() -> None:
    student, network, inputs = networks()
    made = trainer(student, network, squares(), steps=400, optimiser="adam", learning_rate=0.02)
    rows = made.distil(network.on(inputs), inputs, UNKNOWN, round=1).rows
    # Three numbers cannot be five, but for what five have in common on six samples.
    assert rows[-1].loss_dist < 0.1 * rows[0].loss_dist


def test_projections_are_no_part_of_the_geometry_nor_of_the_student() -> None:
    student, network, inputs = networks()
    names = set(student.state_dict())
    made = trainer(student, network, squares(), learning_rate=0.0001)
    state = made.state_dict()["loss"]["projections"]
    drawn = {name: each.clone() for name, each in state.items()}
    row = made.distil(network.on(inputs), inputs, UNKNOWN, round=1).rows[0]
    projection = nn.Linear(3, 5)
    projection.load_state_dict({name.removeprefix("0."): each for name, each in drawn.items()})
    other, _, _ = networks()
    seen = other[1](other[0](inputs))
    with torch.no_grad():
        wanted = network.model[1](network.model[0](inputs))  # type: ignore[index]
    (projection(seen) - wanted).square().mean().backward()
    gradients = [parameter.grad.flatten() for parameter in other.parameters() if parameter.grad is not None]
    assert row.norm_dist == pytest.approx(float(torch.cat(gradients).norm()), rel=1e-5)
    assert set(student.state_dict()) == names
    for name, each in made.state_dict()["loss"]["projections"].items():
        assert not torch.equal(each, drawn[name])


def test_what_was_learned_survives_an_interruption() -> None:
    losses = (Plugin("kl"), squares())
    student, network, inputs = networks()
    teacher = network.on(inputs)
    whole = trainer(student, network, *losses, optimiser="adam", steps=3)
    for round in (1, 2):
        whole.distil(teacher, inputs, UNKNOWN, round=round)

    student, network, _ = networks()
    first = trainer(student, network, *losses, optimiser="adam", steps=3)
    first.distil(teacher, inputs, UNKNOWN, round=1)
    kept = copy.deepcopy(first.state_dict())
    other, network, _ = networks()
    second = trainer(other, network, *losses, optimiser="adam", steps=3)
    second.load_state_dict(kept)
    second.distil(teacher, inputs, UNKNOWN, round=2)
    for one, two in zip(whole.student.parameters(), second.student.parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_teacher_network_is_asked_in_evaluation_mode_and_left_as_it_was() -> None:
    student, _, inputs = networks()
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 2)).train()
    before = copy.deepcopy(model.state_dict())
    network = NetworkTeacher(model, SampleSpec((4,)))
    made = trainer(student, network, Plugin("kl"), squares({"0": "1"}), steps=3)
    made.distil(network.on(inputs), inputs, UNKNOWN, round=1)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, each in model.state_dict().items():
        assert torch.equal(each, before[name])


def test_changed_images_are_shown_to_both() -> None:
    images = torch.rand(6, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    network = NetworkTeacher(copy.deepcopy(model), SampleSpec((1, 6, 6)))
    made = trainer(model, network, Plugin("kl"), steps=5, augment=("flip", "shift"))
    rows = made.distil(network.on(images), images, UNKNOWN, round=1).rows
    # A student that is its teacher has no loss only where both have seen the same.
    assert all(row.loss_dist == pytest.approx(0.0, abs=1e-6) for row in rows)
    alone = trainer(copy.deepcopy(network.model).requires_grad_(), None, Plugin("kl"), augment=("flip", "shift"))
    assert alone.distil(network.on(images), images, UNKNOWN, round=1).rows[0].loss_dist > 1e-4


def test_an_ensemble_has_no_layers() -> None:
    student, _, _ = networks()
    with pytest.raises(ValueError, match="an ensemble teacher has logits alone; take one network"):
        trainer(student, None, squares())


def test_layers_that_are_not_there_are_named_with_those_that_are() -> None:
    student, network, _ = networks()
    with pytest.raises(ValueError, match=r"no layer '7'; .*its layers are 0, 1, 2"):
        trainer(student, network, squares({"7": "1"}))


def test_a_teacher_of_logits_alone_is_what_it_was() -> None:
    """Losses on logits do not care whether a network or its answers teach."""
    students = []
    for answers_alone in (False, True):
        student, network, inputs = networks()
        made = trainer(student, None if answers_alone else network, Plugin("kl"), steps=4)
        made.distil(Teacher.from_logits(network.model(inputs)), inputs, UNKNOWN, round=1)
        students.append(student)
    for one, two in zip(students[0].parameters(), students[1].parameters(), strict=True):
        assert torch.equal(one, two)
