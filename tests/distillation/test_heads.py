"""Networks that learn several tasks: what is added up over the heads, and what is of the main task."""

import copy
from dataclasses import replace

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedkd.config.schema import DistillationConfig
from fedkd.config.values import Plugin
from fedkd.core.samples import SampleSpec
from fedkd.distillation.balancer import build_balancer
from fedkd.distillation.distiller import Distiller
from fedkd.distillation.divergence import classification_loss, distillation_loss
from fedkd.distillation.heads import all_known, labels_by_head, main_head, main_task, split, top_classes, unlabelled
from fedkd.distillation.loss import Answers, Batch, build_loss
from fedkd.distillation.loss_sum import LossSum
from fedkd.distillation.network import NetworkTeacher
from fedkd.distillation.scope import Scope
from fedkd.distillation.temperature import build_temperature
from fedkd.distillation.validation import Validation

HEADS = (3, 2)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def trainer(
    student: nn.Module, network: NetworkTeacher, *losses: str, value: float = 0.5, **options: object
) -> Distiller:
    section = DistillationConfig(
        **{"steps": 1, "batch_size": 6, "labelled_batch_size": 6, "warmup": 0, "momentum": 0.0, **options}  # type: ignore[arg-type]
    )
    made = Distiller(
        student,
        build_balancer("fixed", value=value),
        replace(section, loss=tuple(map(Plugin, losses))),
        temperature=build_temperature("constant", value=2.0),
        seed=0,
        network=network,
    )
    made.scope = Scope(heads=HEADS)
    return made


def networks() -> tuple[nn.Linear, NetworkTeacher, Tensor]:
    torch.manual_seed(0)
    return nn.Linear(4, 5), NetworkTeacher(nn.Linear(4, 5), SampleSpec((4,))), drawn(6, 4)


def test_outputs_and_labels_are_divided_by_head() -> None:
    outputs = torch.tensor([[1.0, 3.0, 2.0, 0.0, 9.0], [0.0, 0.0, 1.0, 4.0, 2.0]])
    assert [part.tolist() for part in split(outputs, HEADS)] == [[[1, 3, 2], [0, 0, 1]], [[0, 9], [4, 2]]]
    assert top_classes(outputs, HEADS).tolist() == [[1, 1], [2, 0]]
    assert top_classes(outputs, ()).tolist() == [4, 3]
    labels = torch.tensor([[0, 1], [-1, 1], [2, -1]])
    assert all_known(labels).tolist() == [True, False, False]
    assert all_known(labels[:, 0]).tolist() == [True, False, True]
    assert [each.tolist() for each in labels_by_head(labels, HEADS)] == [[0, -1, 2], [1, 1, -1]]
    assert unlabelled(torch.arange(2), HEADS).tolist() == [[-1, -1], [-1, -1]]
    together = outputs.log_softmax(dim=1)
    torch.testing.assert_close(main_task(together, HEADS), outputs[:, :3].log_softmax(dim=1))
    network = nn.Linear(4, 5)
    assert torch.equal(main_head(network, HEADS)(drawn(2, 4)), network(drawn(2, 4))[:, :3])
    assert main_head(network, ()) is network


def test_both_losses_are_the_sums_of_the_heads() -> None:
    student, network, inputs = networks()
    labels = torch.tensor([[0, 1], [1, 0], [2, 1], [0, 0], [1, 1], [2, 0]])
    before = copy.deepcopy(student)
    made = trainer(student, network, "kl", learning_rate=0.1, schedule="constant")
    row = made.distil(network.on(inputs), inputs, labels, round=1).rows[0]
    own, its = before(inputs), network.model(inputs)
    parts = [(own[:, :3], its[:, :3], labels[:, 0]), (own[:, 3:], its[:, 3:], labels[:, 1])]
    dist = sum(distillation_loss(mine, theirs, 2.0) for mine, theirs, _ in parts)
    task = sum(cross_entropy(mine, named) for mine, _, named in parts)
    assert isinstance(dist, Tensor)
    assert isinstance(task, Tensor)
    assert row.loss_dist == pytest.approx(dist.item(), rel=1e-5)
    assert row.loss_cls == pytest.approx(task.item(), rel=1e-5)
    torch.testing.assert_close(classification_loss(own, labels, HEADS), task)
    (0.5 * dist + 0.5 * task).backward()
    assert before.weight.grad is not None
    torch.testing.assert_close(student.weight.data, before.weight.data - 0.1 * before.weight.grad)


def test_a_loss_between_layers_counts_once() -> None:
    student, network, inputs = networks()
    named = NetworkTeacher(nn.Sequential(network.model), network.sample)
    squares = build_loss("tests.support.squares:Squares", layers={"0": "0"})
    whole = LossSum([squares], nn.Sequential(student), named, DistillationConfig(), torch.Generator())
    own, its = student(inputs), network.model(inputs)
    batch = Batch(2.0, unlabelled(torch.arange(6), HEADS), None, HEADS)
    found = whole(Answers(own, {"0": own}), Answers(its, {"0": its}), batch)
    torch.testing.assert_close(found, (own - its).square().mean())


def test_labels_are_mixed_into_the_targets_of_every_head() -> None:
    """With all the weight on the labels, what the teacher says counts for nothing."""
    student, network, inputs = networks()
    labels = torch.tensor([[0, 1], [1, 0], [2, 1], [0, 0], [1, 1], [2, 0]])
    made = trainer(student, network, "kl", value=1.0, label_share=1.0, steps=400, optimiser="adam", learning_rate=0.1)
    made.distil(network.on(inputs), inputs, labels, round=1)
    assert torch.equal(top_classes(student(inputs), HEADS), labels)


def test_without_labels_the_teachers_classes_of_every_task_may_stand_for_them() -> None:
    student, network, inputs = networks()
    made = trainer(student, network, "kl", value=0.0, steps=300, optimiser="adam", learning_rate=0.1)
    made._pseudo_labels = True
    made.distil(network.on(inputs), inputs, unlabelled(torch.arange(6), HEADS), round=1)
    assert torch.equal(top_classes(student(inputs), HEADS), top_classes(network.model(inputs), HEADS))


def test_what_is_measured_is_of_the_main_task() -> None:
    student, network, inputs = networks()
    labels = top_classes(network.model(inputs), HEADS)
    held_out = torch.tensor([True, True, False, False, False, False])
    made = trainer(student, network, "kl", steps=6, measure_classes_every=2, patience=100, validate_every=2)
    made.balancer = build_balancer("error_ratio")
    rows = made.distil(
        network.on(inputs), inputs, labels, round=1, validation=Validation(held_out, labels[held_out, 0])
    ).rows
    by_class = rows[0].gap_by_class
    assert by_class is not None
    assert len(by_class) == 3


def test_the_tests_check_annotated_shapes() -> None:
    with pytest.raises(TypeCheckError, match="logits"):
        distillation_loss(torch.zeros(3), torch.zeros(3, 2), 1.0)
