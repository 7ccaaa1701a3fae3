"""Logit adjustment: a client's loss counts a class no rarer than its share of the client's samples explains."""

import math

import pytest
import torch
from torch import nn

from fedkd.client.context import ClientContext
from fedkd.client.training import adjusted_cross_entropy, cross_entropy, train
from fedkd.config.schema import ClientsConfig
from tests.support.federations import experiment_of


class Fixed(nn.Module):
    """Answers with the same logits to everything."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(inputs.shape[0], -1)


def test_by_hand() -> None:
    # Counts 3 and 1, raised by 1: shares 2/3 and 1/3. With equal logits the adjusted softmax is the shares.
    loss = adjusted_cross_entropy(torch.tensor([0, 0, 0, 1]), 2, 1.0)
    inputs = torch.zeros(2, 1, 1, 1)
    found = loss(Fixed([0.0, 0.0]), inputs, torch.tensor([0, 1]))
    assert found.item() == pytest.approx(-(math.log(2 / 3) + math.log(1 / 3)) / 2)


def test_a_model_that_answers_by_the_classes_alone_is_not_pushed_towards_the_clients_shares() -> None:
    labels = torch.tensor([0] * 9 + [1])
    inputs = torch.zeros(10, 1, 1, 1)
    plain, adjusted = Fixed([0.0, 0.0, 0.0]), Fixed([0.0, 0.0, 0.0])
    cross_entropy(plain, inputs, labels).backward()
    adjusted_cross_entropy(labels, 3, 1.0)(adjusted, inputs, labels).backward()
    assert plain.logits.grad is not None
    assert adjusted.logits.grad is not None
    # The class that the client lacks: plain training pushes it down by 1/3, adjusted by its share 1/13.
    assert float(plain.logits.grad[2]) == pytest.approx(1 / 3)
    assert float(adjusted.logits.grad[2]) == pytest.approx(1 / 13)
    assert float(adjusted.logits.grad[0]) == pytest.approx(10 / 13 - 9 / 10, abs=1e-6)


def test_strength_zero_is_plain_cross_entropy() -> None:
    labels = torch.tensor([0, 1, 1])
    inputs = torch.zeros(3, 1, 1, 1)
    model = Fixed([0.3, -1.0])
    assert torch.equal(
        adjusted_cross_entropy(labels, 2, 0.0)(model, inputs, labels), cross_entropy(model, inputs, labels)
    )


def test_batch_normalisation_trains_whatever_is_left_over() -> None:
    # 9 = 2·4 + 1, and of one sample batch normalisation has no statistics.
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs, labels = torch.randn(9, 1, 2, 2, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 3
    train(model, inputs, labels, ClientsConfig(batch_size=4), epochs=1, generator=torch.Generator().manual_seed(1))
    after = model.state_dict()
    assert after["2.num_batches_tracked"] == 2
    assert not torch.equal(after["1.weight"], before["1.weight"])


def test_local_training_uses_it() -> None:
    def trained(adjustment: float, *, by_hand: bool = False) -> torch.Tensor:
        experiment = experiment_of(f"clients.logit_adjustment={0.0 if by_hand else adjustment}", "clients.epochs=3")
        labels = experiment.data.labels[experiment.data.clients[1].train]
        context = ClientContext(experiment, 1, 1, {}, experiment.data.public.inputs, labels)
        loss = adjusted_cross_entropy(labels, experiment.data.classes, adjustment) if by_hand else None
        return torch.cat(
            [parameter.flatten() for parameter in context.train(experiment.initial_model(), loss).parameters()]
        )

    assert torch.equal(trained(1.0), trained(1.0, by_hand=True))
    assert not torch.allclose(trained(1.0), trained(0.0))
