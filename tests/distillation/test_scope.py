"""Which classes the losses are about, by hand."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fedkd.core.messages import UNKNOWN_LABEL
from fedkd.distillation.divergence import classification_loss
from fedkd.distillation.loss import Answers, Batch, build_loss
from fedkd.distillation.scope import ClassesSoFar, Scope

KL = build_loss("kl").value
# Classes 0 and 1 are old, 2 is new, 3 was never seen; sample 0 is new and sample 1 rehearsed.
SCOPE = ClassesSoFar(torch.tensor([0, 1, 2]), torch.tensor([0, 1]), torch.tensor([False, True]))
BOTH = torch.tensor([0, 1])


def of_probabilities(*rows: tuple[float, ...]) -> Answers:
    return Answers(torch.tensor(rows).log())


def dist(student: Answers, teacher: Answers, samples: Tensor, **batch: Any) -> float:
    labels = torch.full((len(samples),), UNKNOWN_LABEL)
    return SCOPE.dist(KL, student, teacher, Batch(1.0, batch.pop("labels", labels), **batch), samples).item()


def kl(teacher: tuple[float, ...], student: tuple[float, ...]) -> float:
    return sum(p * math.log(p / q) for p, q in zip(teacher, student, strict=True))


def test_without_a_scope_both_losses_are_over_all_classes() -> None:
    logits, labels = torch.tensor([[0.3, -1.0, 2.0]]), torch.tensor([1])
    assert Scope().task(logits, labels) == classification_loss(logits, labels)
    student, teacher, batch = Answers(logits), Answers(logits.flip(1)), Batch(2.0, labels)
    assert Scope().dist(KL, student, teacher, batch, torch.tensor([0])) == KL(student, teacher, batch)


def test_the_task_loss_chooses_among_the_seen_classes() -> None:
    logits = torch.tensor([[0.2, 0.3, 0.1, 0.4]]).log().requires_grad_()
    loss = SCOPE.task(logits, torch.tensor([2]))
    assert loss.item() == pytest.approx(-math.log(0.1 / 0.6))
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx([0.2 / 0.6, 0.3 / 0.6, 0.1 / 0.6 - 1, 0.0])


def test_of_a_new_sample_the_former_self_is_asked_about_old_classes_alone() -> None:
    student = of_probabilities((0.1, 0.1, 0.7, 0.1))
    teacher = of_probabilities((0.6, 0.2, 0.1, 0.1))
    assert dist(student, teacher, torch.tensor([0])) == pytest.approx(kl((0.75, 0.25), (0.5, 0.5)))


def test_a_rehearsed_sample_is_no_likelier_new_than_the_least_likely_old_class() -> None:
    student = of_probabilities((0.2, 0.2, 0.4, 0.2))
    # What the former self says of the classes 2 and 3, which it was never taught, is not looked at.
    teacher = of_probabilities((0.3, 0.1, 0.3, 0.3))
    expected = kl((0.6, 0.2, 0.2), (0.25, 0.25, 0.5))
    assert dist(student, teacher, torch.tensor([1])) == pytest.approx(expected)


def test_both_kinds_of_samples_count_by_their_weights() -> None:
    student = of_probabilities((0.1, 0.1, 0.7, 0.1), (0.2, 0.2, 0.4, 0.2))
    teacher = of_probabilities((0.6, 0.2, 0.1, 0.1), (0.3, 0.1, 0.3, 0.3))
    new, old = kl((0.75, 0.25), (0.5, 0.5)), kl((0.6, 0.2, 0.2), (0.25, 0.25, 0.5))
    assert dist(student, teacher, BOTH) == pytest.approx((new + old) / 2)
    assert dist(student, teacher, BOTH, weight=torch.tensor([3.0, 1.0])) == pytest.approx((3 * new + old) / 4)
    again = dist(
        of_probabilities(*student.logits.exp().flip(0).tolist()), Answers(teacher.logits.flip(0)), BOTH.flip(0)
    )
    assert again == pytest.approx((new + old) / 2)


def test_labels_features_and_temperatures_go_with_their_samples() -> None:
    seen: list[tuple[Answers, Answers, Batch]] = []

    def watch(student: Answers, teacher: Answers, batch: Batch) -> Tensor:
        seen.append((student, teacher, batch))
        return student.logits.sum()

    logits = torch.arange(12.0).reshape(3, 4)
    answers = Answers(logits, {"layer": torch.tensor([[5.0], [6.0], [7.0]])})
    samples = torch.tensor([1, 0, 1])
    scope = ClassesSoFar(torch.tensor([1, 2, 3]), torch.tensor([1, 3]), torch.tensor([False, True]))
    batch = Batch(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([3, 2, UNKNOWN_LABEL]))
    scope.dist(watch, answers, answers, batch, samples)
    (new, _, of_new), (old, taught, of_old) = seen
    assert new.logits.tolist() == [[5.0, 7.0]]
    assert old.logits.tolist() == [[1.0, 2.0, 3.0], [9.0, 10.0, 11.0]]
    assert taught.logits.tolist() == [[1.0, 1.0, 3.0], [9.0, 9.0, 11.0]]
    assert (new.features["layer"].tolist(), old.features["layer"].tolist()) == ([[6.0]], [[5.0], [7.0]])
    # The new sample's label, class 2, is none that the former self knows; the old one's is the third of the seen.
    assert (of_new.labels.tolist(), of_old.labels.tolist()) == ([UNKNOWN_LABEL], [2, UNKNOWN_LABEL])
    assert isinstance(of_old.temperature, Tensor)
    assert of_old.temperature.tolist() == [1.0, 3.0]
