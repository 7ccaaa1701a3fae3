"""Clients that learn from their former selves: the loss by hand, and what they forget less of."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fedkd.client.context import ClientContext
from fedkd.client.former_self import remembering
from fedkd.client.training import SampleLoss, adjusted_cross_entropy, cross_entropy, train
from fedkd.config.schema import ClientsConfig
from fedkd.core.messages import Arrays, parameter_prefix, state_arrays
from fedkd.experiment import Experiment
from fedkd.models import hit_rate, predict
from tests.support.federations import experiment_of, federation

INPUTS = torch.zeros(2, 1)


class Fixed(nn.Module):
    """Answers with the same logits to everything."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.logits.expand(inputs.shape[0], -1)


def softmax(logits: list[float]) -> list[float]:
    total = sum(map(math.exp, logits))
    return [math.exp(logit) / total for logit in logits]


def loss_of(logits: list[float], labels: list[int], former: Tensor, **options: float | bool) -> float:
    weight = float(options.pop("weight", 1.0))
    rows = torch.arange(len(labels))
    loss = remembering(cross_entropy, torch.tensor(labels), former, weight=weight, **options)  # type: ignore[arg-type]
    return float(loss(Fixed(logits), INPUTS[: len(labels)], rows).detach())


def test_steps_by_hand() -> None:
    # From logits (0, 0) on class 0, two steps of rate 1. At the first the former self is the model: cross-entropy
    # alone. At the second, softmax(z) − (1, 0), and β·T·(softmax(z/T) − ½) of T²·KL.
    beta, temperature = 0.5, 2.0
    model = Fixed([0.0, 0.0])
    loss = remembering(cross_entropy, torch.tensor([0, 0]), torch.zeros(2, 2), weight=beta, temperature=temperature)
    config = ClientsConfig(batch_size=2, learning_rate=1.0, momentum=0.0)
    train(model, INPUTS, torch.arange(2), config, epochs=1, generator=torch.Generator(), loss=loss)
    first = [0.5, -0.5]
    assert model.logits.tolist() == pytest.approx(first)
    train(model, INPUTS, torch.arange(2), config, epochs=1, generator=torch.Generator(), loss=loss)
    sharp, soft = softmax(first), softmax([logit / temperature for logit in first])
    expected = [
        logit - (share - target) - beta * temperature * (softer - 0.5)
        for logit, share, target, softer in zip(first, sharp, (1.0, 0.0), soft, strict=True)
    ]
    assert model.logits.tolist() == pytest.approx(expected, rel=1e-6)


def test_samples_have_their_own_former_answers_whatever_room_there_is() -> None:
    former = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    logits, labels = [0.2, -0.1], [1, 0]
    expected = 0.0
    for label, before in zip(labels, former.tolist(), strict=True):
        was, now = softmax(before), softmax(logits)
        apart = sum(p * math.log(p / q) for p, q in zip(was, now, strict=True))
        expected += (-math.log(now[label]) + 3.0 * apart) / 2
    assert loss_of(logits, labels, former, weight=3.0) == pytest.approx(expected, rel=1e-6)
    assert loss_of(logits, labels, former, weight=3.0, room=9) == pytest.approx(expected, rel=1e-6)
    assert loss_of(logits, labels, former, weight=0.0) == pytest.approx(
        -math.log(softmax(logits)[0] * softmax(logits)[1]) / 2
    )


@given(
    st.lists(st.floats(-8, 8), min_size=4, max_size=4),
    st.lists(st.floats(-8, 8), min_size=4, max_size=4),
    st.integers(0, 3),
)
def test_with_others_alone_the_label_and_the_rest_part(now: list[float], before: list[float], label: int) -> None:
    """KL(p ‖ q) is that of (p_y, 1 − p_y), which is left out, and (1 − p_y) times that of the other classes."""
    former = torch.tensor([before])
    task = loss_of(now, [label], former, weight=0.0)
    whole = loss_of(now, [label], former) - task
    rest = loss_of(now, [label], former, others=True) - task
    p, q = softmax(before)[label], softmax(now)[label]
    binary = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert whole == pytest.approx(binary + (1 - p) * rest, abs=1e-4)


def test_two_classes_leave_nothing_to_remember_of_the_others() -> None:
    former = torch.tensor([[5.0, -5.0]])
    assert loss_of([0.0, 0.0], [1], former, others=True) == pytest.approx(math.log(2))


def context_of(experiment: Experiment, client: int = 1) -> ClientContext:
    own = experiment.data.clients[client].train
    state: Arrays = {
        parameter_prefix(0) + name: array
        for name, array in state_arrays(experiment.initial_model().state_dict()).items()
    }
    labels = experiment.data.labels[own]
    return ClientContext(experiment, client, 1, state, experiment.data.public.inputs, labels)


@pytest.mark.parametrize("adjustment", [0.0, 1.0])
def test_local_training_learns_from_the_model_that_was_received(adjustment: float) -> None:
    experiment = experiment_of(
        "clients.self_distillation=2", "clients.self_temperature=3", "clients.epochs=3",
        f"clients.logit_adjustment={adjustment}",
    )  # fmt: skip
    context = context_of(experiment)
    found = context.train(context.received_model())
    former = context.received_model().eval()
    task: SampleLoss = cross_entropy
    if adjustment:
        task = adjusted_cross_entropy(context.labels, experiment.data.classes, adjustment)

    def loss(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            target = (former(inputs) / 3).softmax(dim=1)
        apart = nn.functional.kl_div((model(inputs) / 3).log_softmax(dim=1), target, reduction="batchmean")
        return task(model, inputs, labels) + 2 * 9 * apart

    # The configuration says nothing here: ``loss`` is all.
    plain = replace(context, experiment=experiment_of("clients.epochs=3"))
    expected = plain.train(plain.received_model(), loss)
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    untouched = plain.train(plain.received_model())
    assert not torch.allclose(next(found.parameters()), next(untouched.parameters()), atol=1e-3)


def test_the_more_it_counts_the_nearer_answers_stay_to_those_of_the_received_model() -> None:
    apart = []
    for beta in (0.0, 1.0, 10.0, 100.0):
        experiment = experiment_of(
            f"clients.self_distillation={beta}", "clients.epochs=200", "clients.learning_rate=0.002"
        )
        context = context_of(experiment)
        before, after = context.received_model(), context.train(context.received_model())
        was, now = (predict(model, context.inputs).softmax(dim=1) for model in (before, after))
        apart.append(float((was - now).abs().max()))
    assert apart == sorted(apart, reverse=True)
    assert apart[-1] < 0.05 * apart[0]


def test_clients_with_two_classes_forget_less_of_the_other_eight() -> None:
    remembered = {}
    for beta in (0.0, 3.0):
        running = federation(
            None,
            "data.partition={scheme: pathological, classes_per_client: 2}",
            "data.private_size=600", "clients.count=5", "clients.rule=parameters", "student.rule=average",
            "student.model={name: mlp, hidden: [32]}", "clients.epochs=5", f"clients.self_distillation={beta}",
        )  # fmt: skip
        running.rounds(3)
        experiment, job = running.experiment, running.server.job(4)
        data = experiment.data
        found = []
        for client in range(5):
            context = replace(context_of(experiment, client), received=job.parameters)
            model = context.train(context.received_model())
            absent = ~torch.isin(data.test_labels, context.labels)
            found.append(hit_rate(predict(model, data.test_inputs[absent]), data.test_labels[absent]))
        remembered[beta] = sum(found) / len(found)
    assert remembered[3.0] > remembered[0.0] + 0.1


def test_copies_of_the_former_self_are_not_trained() -> None:
    experiment = experiment_of("clients.self_distillation=1")
    context = context_of(experiment)
    received = context.received_model()
    before = copy.deepcopy(received.state_dict())
    context.train(context.received_model())
    assert all(torch.equal(value, before[name]) for name, value in received.state_dict().items())


def test_rule_with_a_loss_of_its_own_is_told() -> None:
    context = context_of(experiment_of("clients.self_distillation=1"))
    with pytest.raises(ValueError, match="choose another rule"):
        context.train(context.received_model(), cross_entropy)
