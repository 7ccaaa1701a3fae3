"""Labels and teacher class by class, against slow versions."""

import math

import pytest
import torch
from torch import Tensor, nn

from fedkd.distillation.by_class import MOST, ClassMeter
from fedkd.distillation.divergence import Temperatures, classification_loss, distillation_loss

SAMPLES, CLASSES, TEMPERATURE = 12, 3, 2.0


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, CLASSES))


def flat_gradient(loss: Tensor, model: nn.Module) -> Tensor:
    return torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, list(model.parameters()))])


def meter_of(model: nn.Module, labels: Tensor, named: Tensor) -> tuple[ClassMeter, Tensor, Tensor]:
    inputs = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(1))
    teacher = (4.0 * nn.functional.one_hot(named, CLASSES)).log_softmax(dim=-1)

    def loss(samples: Tensor, seen: Tensor, target: Tensor, temperature: Temperatures) -> Tensor:
        return distillation_loss(model(seen), target, temperature)

    meter = ClassMeter(model, inputs, teacher, labels, torch.arange(len(labels)), loss=loss)
    return meter, inputs, teacher


def test_cosines_and_gaps_by_hand(model: nn.Module) -> None:
    named = torch.arange(SAMPLES) % CLASSES
    labels = torch.where(torch.arange(SAMPLES) < 6, named, -1)
    meter, inputs, teacher = meter_of(model, labels, named)
    model.train()
    found = meter.measure(TEMPERATURE)
    assert model.training
    model.eval()
    for each in range(CLASSES):
        taught, known = named == each, labels == each
        dist = flat_gradient(distillation_loss(model(inputs[taught]), teacher[taught], TEMPERATURE, None), model)
        task = flat_gradient(classification_loss(model(inputs[known]), labels[known]), model)
        expected = float(nn.functional.cosine_similarity(dist, task, dim=0))
        assert found.cosine[each] == pytest.approx(expected, rel=1e-4)
    gap = (model(inputs) / TEMPERATURE).softmax(-1) - (teacher / TEMPERATURE).softmax(-1)
    assert found.gap == pytest.approx(gap.mean(dim=0).tolist(), abs=1e-6)
    assert sum(found.gap) == pytest.approx(0.0, abs=1e-6)


def test_every_sample_is_measured_at_its_own_temperature(model: nn.Module) -> None:
    named = torch.arange(SAMPLES) % CLASSES
    meter, inputs, teacher = meter_of(model, named, named)
    # Each class has a temperature, so that class by class it is as if all had that one.
    own = torch.tensor([1.0, 2.0, 5.0])
    found = meter.measure(own[named])
    assert found.cosine == tuple(meter.measure(float(each)).cosine[index] for index, each in enumerate(own))
    model.eval()
    divisor = own[named].unsqueeze(1)
    gap = (model(inputs) / divisor).softmax(-1) - (teacher / divisor).softmax(-1)
    assert found.gap == pytest.approx(gap.mean(dim=0).tolist(), abs=1e-6)


def test_a_student_that_learns_by_the_labels_what_the_teacher_says_agrees_with_it(model: nn.Module) -> None:
    named = torch.zeros(SAMPLES, dtype=torch.long)
    meter, *_ = meter_of(model, named, named)
    agreeing = meter.measure(1.0).cosine
    assert agreeing[0] > 0.9
    # Nobody is of the other two classes.
    assert all(math.isnan(each) for each in agreeing[1:])


def test_no_more_samples_than_needed_are_looked_at(model: nn.Module) -> None:
    named = torch.zeros(3 * MOST, dtype=torch.long)
    meter, inputs, teacher = meter_of(model, named, named)
    model.eval()
    gap = model(inputs[:MOST]).softmax(-1) - teacher[:MOST].softmax(-1)
    assert meter.measure(1.0).gap == pytest.approx(gap.mean(dim=0).tolist(), abs=1e-6)
