"""Clients trained as one stacked model end where each would have ended by itself."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedkd.client import cohort as together
from fedkd.client.cohort import client_fn
from fedkd.client.performer import attempt, attempt_all
from fedkd.client.round import perform
from fedkd.client.state import ClientStore
from fedkd.client.training import SampleLoss, adjusted_cross_entropy, cross_entropy, train
from fedkd.client.vectorised import Training, signature, train_vectorised, vectorisable
from fedkd.config.identity import run_digest_of
from fedkd.config.load import to_json
from fedkd.config.schema import ClientsConfig
from fedkd.config.values import Plugin
from fedkd.core.messages import Job, Reply
from fedkd.core.samples import SampleSpec
from fedkd.core.seeding import torch_generator
from fedkd.data import ExperimentData
from fedkd.experiment import Experiment
from fedkd.models import build_model
from fedkd.privacy.mechanism import NoisyTraining, PrivateTraining
from tests.support.federations import experiment_of, federation

SIZES = (11, 5, 3, 17)
CONFIG = ClientsConfig(batch_size=4, learning_rate=0.05, momentum=0.9)


def trainings(
    model: str = "mlp",
    config: ClientsConfig = CONFIG,
    *,
    sizes: Sequence[int] = SIZES,
    epochs: Sequence[int] = (2, 2, 2, 2),
    dtype: torch.dtype = torch.float64,
    side: int = 8,
    sample: SampleSpec | None = None,
) -> list[Training]:
    """Clients with models, samples and randomness of their own; equal at every call."""
    found = []
    for client, (count, passes) in enumerate(zip(sizes, epochs, strict=False)):
        draw = torch_generator(0, client=client, purpose="samples")
        kind = sample or SampleSpec((1, side, side))
        own = build_model(Plugin(model), kind, 4, torch_generator(0, client=client, purpose="model"))
        if kind.vocabulary is None:
            inputs = torch.randn(count, *kind.shape, generator=draw).to(dtype)
        else:
            inputs = torch.randint(kind.vocabulary, (count, *kind.shape), generator=draw)
        labels = torch.randint(4, (count,), generator=draw)
        loss = adjusted_cross_entropy(labels, 4, config.logit_adjustment) if config.logit_adjustment else cross_entropy
        loss = SampleLoss(loss.terms, tuple(tensor.to(dtype) for tensor in loss.tensors))
        shuffles = torch_generator(0, client=client, purpose="local training")
        found.append(Training(own.to(dtype), inputs, labels, config, passes, shuffles, loss))
    return found


def parameters(training: Training) -> list[Tensor]:
    return [parameter.detach() for parameter in training.model.parameters()]


def largest_difference(one: Sequence[Training], other: Sequence[Training]) -> float:
    """The largest between two sets of models, relative to the largest number of each tensor."""
    return max(
        float((left - right).abs().max() / left.abs().max())
        for first, second in zip(one, other, strict=True)
        for left, right in zip(parameters(first), parameters(second), strict=True)
        if bool(left.any())
    )


def both_ways(*args: Any, **options: Any) -> tuple[list[Training], list[Training]]:
    """The same clients, trained one by one and as a stack."""
    alone, stacked = trainings(*args, **options), trainings(*args, **options)
    for training in alone:
        train(**training.arguments)
    assert all(map(vectorisable, stacked))
    assert len(set(map(signature, stacked))) == 1
    train_vectorised(stacked)
    return alone, stacked


@pytest.mark.parametrize("model", ["cnn", "mlp", "lenet5", "resnet8"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-4)])
def test_every_small_model_ends_where_it_would_alone(model: str, dtype: torch.dtype, tolerance: float) -> None:
    alone, stacked = both_ways(model, dtype=dtype)
    assert largest_difference(alone, stacked) < tolerance
    assert largest_difference(trainings(model, dtype=dtype), stacked) > 0.01


@pytest.mark.parametrize(("model", "side"), [("shufflenet", 8), ("resnet18", 4)])
def test_every_large_model_ends_where_it_would_alone(model: str, side: int) -> None:
    config = replace(CONFIG, batch_size=2, learning_rate=0.01)
    alone, stacked = both_ways(model, config, sizes=(2, 1), epochs=(1, 1), side=side)
    assert largest_difference(alone, stacked) < 1e-11


@pytest.mark.parametrize("model", ["attention", "fixed_context", "gru", "transformer"])
@pytest.mark.parametrize("sample", [SampleSpec((7,), 20), SampleSpec((3, 7))], ids=str)
def test_networks_for_sequences_end_where_they_would_alone(model: str, sample: SampleSpec) -> None:
    alone, stacked = both_ways(model, sizes=(5, 9, 3), sample=sample)
    assert largest_difference(alone, stacked) < 1e-10
    assert largest_difference(trainings(model, sizes=(5, 9, 3), sample=sample), stacked) > 0.01


@pytest.mark.parametrize("name", ["Attention", "transfer"])
def test_networks_of_others_end_where_they_would_alone(name: str) -> None:
    alone, stacked = both_ways(f"tests.support.own_networks:{name}", sizes=(5, 9, 3))
    assert largest_difference(alone, stacked) < 1e-10


def test_texts_that_are_compared_with_others_are_trained_one_by_one() -> None:
    texts = SampleSpec((7,), 20)
    mixed = trainings("tests.support.own_networks:mixed_words", sizes=(5, 9), sample=texts)
    with pytest.raises(ValueError, match="other samples of its batch"):
        train_vectorised(mixed)
    # Of a tied table a stack would have two; torchvision's transformer has layers for dropout, if of nothing.
    for name, sample in (("Tied", texts), ("patches", None)):
        assert not any(map(vectorisable, trainings(f"tests.support.own_networks:{name}", sizes=(5,), sample=sample)))


@pytest.mark.parametrize(
    "options",
    [
        {"momentum": 0.0},
        {"momentum": 0.9, "weight_decay": 0.1},
        {"optimiser": "adam", "learning_rate": 1e-3, "weight_decay": 0.1},
        {"proximal": 0.5},
        {"logit_adjustment": 1.0},
        {"batch_size": 32},
        {"batch_size": 1},
    ],
    ids=str,
)
def test_every_option_of_local_training_does_what_it_does_alone(options: dict[str, Any]) -> None:
    alone, stacked = both_ways(config=replace(CONFIG, **options))
    assert largest_difference(alone, stacked) < 1e-10


def test_client_that_is_done_stays_as_it_is_while_others_go_on() -> None:
    # Momentum and weight decay would move it at every further step, and Adam's moments too.
    for options in ({"momentum": 0.9, "weight_decay": 0.1}, {"optimiser": "adam", "weight_decay": 0.1}):
        alone, stacked = both_ways(config=replace(CONFIG, **options), sizes=(3, 40, 3), epochs=(1, 5, 2))
        assert largest_difference(alone, stacked) < 1e-10


def test_shuffles_and_the_generators_end_are_those_of_the_loop() -> None:
    alone, stacked = both_ways()
    for one, other in zip(alone, stacked, strict=True):
        assert torch.equal(one.generator.get_state(), other.generator.get_state())
    # With another order of samples the models would differ in the first digits.
    reshuffled = trainings()
    for client, training in enumerate(reshuffled):
        training.generator.manual_seed(client)
    train_vectorised(reshuffled)
    assert largest_difference(alone, reshuffled) > 1e-3


def test_losses_with_tensors_of_each_clients_own() -> None:
    def apart(logits: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
        return (logits - targets[rows]).abs()

    def given() -> list[Training]:
        return [
            replace(
                training,
                labels=torch.arange(training.labels.numel()),
                loss=SampleLoss(apart, (torch.full((20, 4), float(client), dtype=torch.float64),)),
            )
            for client, training in enumerate(trainings())
        ]

    alone, stacked = given(), given()
    for training in alone:
        train(**training.arguments)
    train_vectorised(stacked)
    assert largest_difference(alone, stacked) < 1e-11


def test_cross_entropy_of_samples_has_the_gradient_of_torchs_mean_to_the_bit() -> None:
    draw = torch.Generator().manual_seed(3)
    for count in (1, 7, 30, 32):
        logits, labels = torch.randn(count, 10, generator=draw), torch.randint(10, (count,), generator=draw)
        gradients = []
        for loss in (cross_entropy, lambda model, inputs, labels: nn.functional.cross_entropy(model(inputs), labels)):
            given = logits.clone().requires_grad_()
            loss(nn.Identity(), given, labels).backward()
            gradients.append(given.grad)
        assert gradients[0] is not None
        assert gradients[1] is not None
        assert torch.equal(gradients[0], gradients[1])


class _SubtractsBatchMean(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.inner(inputs)
        return logits - logits.mean(dim=0)


def test_what_cannot_be_stacked_is_told_apart() -> None:
    (plain,) = trainings(sizes=(3,))
    assert vectorisable(plain)
    shared = nn.Linear(64, 64)
    for model in (
        nn.Sequential(nn.Flatten(), shared, nn.Tanh(), shared),
        nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64, track_running_stats=False), nn.Linear(64, 4)),
        nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 4)),
        build_model(Plugin("resnet8", {"norm": "batch"}), SampleSpec((1, 8, 8)), 4, torch.Generator()),
        build_model(Plugin("mobilenet_v2"), SampleSpec((1, 8, 8)), 4, torch.Generator()),
        build_model(Plugin("efficientnet_b0"), SampleSpec((1, 8, 8)), 4, torch.Generator()),
    ):
        assert not vectorisable(replace(plain, model=model))
    assert not vectorisable(replace(plain, loss=lambda model, inputs, labels: model(inputs).sum()))
    assert not vectorisable(replace(plain, private=NoisyTraining(PrivateTraining(1.0, 1.0), np.random.default_rng(0))))
    assert not vectorisable(replace(plain, epochs=0))
    assert not vectorisable(replace(plain, labels=plain.labels[:0], inputs=plain.inputs[:0]))
    mixing = [replace(training, model=_SubtractsBatchMean(training.model)) for training in trainings()]
    with pytest.raises(ValueError, match="other samples of its batch"):
        train_vectorised(mixing)


def test_only_clients_that_train_alike_share_a_stack() -> None:
    first, second = trainings(sizes=(3, 9))
    assert signature(first) == signature(second)
    assert signature(first) == signature(replace(first, epochs=7, config=replace(CONFIG, epochs=7)))
    for other in (
        replace(second, config=replace(CONFIG, learning_rate=0.1)),
        replace(second, loss=adjusted_cross_entropy(second.labels, 4, 1.0)),
        *trainings("cnn", sizes=(3,)),
        *trainings(sizes=(3,), dtype=torch.float32),
    ):
        assert signature(first) != signature(other)
    frozen = trainings(sizes=(3,))[0]
    next(frozen.model.parameters()).requires_grad_(False)
    assert signature(first) != signature(frozen)


def test_client_that_diverges_does_no_harm_to_the_others() -> None:
    alone, stacked = trainings(), trainings()
    for index in (0, 3):
        with torch.no_grad():
            parameters(stacked[index])[0].fill_(torch.nan)
    for training in alone:
        train(**training.arguments)
    train_vectorised(stacked)
    assert largest_difference(alone[1:3], stacked[1:3]) < 1e-11
    assert bool(parameters(stacked[0])[-1].isnan().all())


def test_frozen_parameters_stay_and_the_others_train() -> None:
    alone, stacked = trainings(sizes=(5, 3)), trainings(sizes=(5, 3))
    for training in (*alone, *stacked):
        next(training.model.parameters()).requires_grad_(False)
    for training in alone:
        train(**training.arguments)
    train_vectorised(stacked)
    assert largest_difference(alone, stacked) < 1e-11
    assert torch.equal(parameters(stacked[0])[0], parameters(trainings(sizes=(5,))[0])[0])


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models and inputs in float64, so that what differs is more than rounding."""
    initial, resident = Experiment.initial_model, ExperimentData.on

    def twice_as_long(data: ExperimentData, device: torch.device) -> ExperimentData:
        there = resident(data, device)
        return replace(
            there,
            inputs=there.inputs[:].double(),
            public=replace(there.public, inputs=there.public.inputs.double()),
            test_inputs=there.test_inputs[:].double(),
        )

    monkeypatch.setattr(Experiment, "initial_model", lambda experiment, index=0: initial(experiment, index).double())
    monkeypatch.setattr(ExperimentData, "on", twice_as_long)


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many clients each stack had."""
    found: list[int] = []

    def noting(group: Sequence[Training]) -> None:
        train_vectorised(group)
        found.append(len(group))

    monkeypatch.setattr(together, "train_vectorised", noting)
    return found


def stacking(job: Job, experiment: Experiment, state_dir: Path) -> Job:
    config = replace(experiment.config, engine=replace(experiment.config.engine, vectorise="always"))
    return replace(job, config=to_json(config), state_dir=str(state_dir))


def assert_alike(alone: Reply, stacked: Reply, experiment: Experiment, tolerance: float) -> None:
    assert (alone.client, alone.error) == (stacked.client, stacked.error)
    if not alone.ok:
        assert (alone.measured, alone.arrays) == (stacked.measured, stacked.arrays) == (None, {})
        return
    assert alone.measured is not None
    assert stacked.measured is not None
    for name in ("validation_accuracy", "test_accuracy"):
        assert getattr(alone.measured, name) == pytest.approx(getattr(stacked.measured, name))
    assert set(alone.arrays) == set(stacked.arrays)
    for name, array in alone.arrays.items():
        found = stacked.arrays[name]
        if name == "logits":
            count = experiment.data.public.labels.numel()
            array, found = (
                experiment.uplink.decode(
                    data.tobytes(), samples=count, classes=experiment.data.classes, previous=None
                ).logits.numpy()
                for data in (array, found)
            )
        np.testing.assert_allclose(found, array, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["clients.epochs=2", "clients.batch_size=8"], [4, 4]),
        (["clients.rule=parameters", "student.rule=average", "clients.optimiser=adam"], [4, 4]),
        # Round 1: training. Round 2: digesting the consensus, then training.
        (["clients.rule=own_model"], [4, 4, 4]),
        # Two architectures; before its first round a client trains on public labels too.
        (
            ["clients.rule={name: own_model, digest_loss: l1, pretrain_epochs: 1}", "clients.models=[mlp, cnn]"],
            [2] * 8,
        ),
        (["clients.rule=selective"], [4, 4, 4]),
        (["clients.attackers={share: 0.5, behaviour: label_noise}", "clients.logit_adjustment=1"], [4, 4]),
        (["clients.attackers={share: 0.5, behaviour: free_rider}"], [2, 2]),
        (["clients.self_distillation=2", "clients.self_temperature=2", "data.partition.scheme=dirichlet"], [4, 4]),
        (["clients.self_distillation=2", "clients.self_classes=others", "clients.logit_adjustment=1"], [4, 4]),
        (["clients.attackers={share: 0.5, behaviour: stale}", "clients.proximal=0.1"], [4, 2]),
        # By a loss that looks at embeddings, and by DP-SGD, each client trains by itself.
        (["clients.rule=prototypes", "student.rule=label_means"], []),
        (["privacy.mechanism={name: dp_sgd, noise_multiplier: 1.0}"], []),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value[0], str) else "",
)
@pytest.mark.usefixtures("in_float64")
def test_clients_answer_and_remember_what_they_would_alone(
    overrides: list[str], expected: list[int], tmp_path: Path, stacks: list[int]
) -> None:
    running = federation(tmp_path / "alone", *overrides)
    experiment = running.experiment
    for round in (1, 2):
        job, alone = running.ask(round, probe=round == 2)
        clients = [reply.client for reply in alone]
        stacked = stacking(job, experiment, tmp_path / "stacked")
        found = list(attempt_all(client_fn, stacked, clients))
        for one, other in zip(alone, found, strict=True):
            # Logits travel in float32.
            assert_alike(one, other, experiment, 2e-6 if "logits" in one.arrays else 1e-9)
            stores = [
                ClientStore(str(each.state_dir), one.client, run_digest_of(each.config)) for each in (job, stacked)
            ]
            memories = [store.load(round) if store.rounds(round + 1) else {} for store in stores]
            assert set(memories[0]) == set(memories[1])
            for name, kept in memories[0].items():
                if name.startswith("model/"):
                    torch.testing.assert_close(memories[1][name], kept, rtol=1e-9, atol=1e-9)
        running.server.finish_round(job, alone)
    assert stacks == expected


def test_in_float32_answers_agree_to_rounding(tmp_path: Path, stacks: list[int]) -> None:
    running = federation(tmp_path, "clients.epochs=2", "student.model=cnn")
    job, alone = running.ask(1)
    for one, other in zip(
        alone, client_fn.together(stacking(job, running.experiment, tmp_path), range(4)), strict=True
    ):
        assert_alike(one, other, running.experiment, 1e-4)
    assert stacks == [4]


def test_training_alone_for_all_rounds_is_stacked_too(stacks: list[int]) -> None:
    experiment = experiment_of()
    job = Job("local", 1, to_json(experiment.config), measure=True)
    accuracies = [accuracy_of(perform(job, client)) for client in range(4)]
    found = client_fn.together(stacking(job, experiment, Path()), range(4))
    assert [accuracy_of(reply) for reply in found] == pytest.approx(accuracies, abs=0.01)
    assert stacks == [4]


def accuracy_of(reply: Reply) -> float | None:
    assert reply.measured is not None
    return reply.measured.test_accuracy


def test_client_that_fails_before_or_while_it_trains_fails_alone(tmp_path: Path) -> None:
    share = "clients.attackers={share: 0.25, behaviour: '%s'}"
    for behaviour, warned in (
        ("tests.support.odd_clients:Refuses", False),
        ("tests.support.odd_clients:NoSuchClass", True),
    ):
        running = federation(tmp_path, share % behaviour)
        job, alone = running.ask(1)
        together_job = stacking(job, running.experiment, tmp_path)
        if warned:
            with pytest.warns(UserWarning, match="4 clients are trained one by one"):
                found = client_fn.together(together_job, range(4))
        else:
            found = client_fn.together(together_job, range(4))
        assert [reply.ok for reply in found].count(False) == 1
        for one, other in zip(alone, found, strict=True):
            assert_alike(one, other, running.experiment, 1e-4)


def test_stack_that_does_not_fit_into_memory_is_halved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stacks: list[int]
) -> None:
    def cramped(group: Sequence[Training]) -> None:
        if len(group) > 2:
            # As when memory runs out under way: shuffles have been drawn.
            group[0].generator.manual_seed(0)
            raise torch.OutOfMemoryError("out of memory")
        train_vectorised(group)
        stacks.append(len(group))

    monkeypatch.setattr(together, "train_vectorised", cramped)
    running = federation(tmp_path)
    job, alone = running.ask(1)
    for one, other in zip(
        alone, client_fn.together(stacking(job, running.experiment, tmp_path), range(4)), strict=True
    ):
        assert_alike(one, other, running.experiment, 1e-4)
    assert stacks == [2, 2]


def test_parts_stay_within_the_memory_they_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = experiment_of()
    job = Job("round", 1, to_json(experiment.config))
    # On the CPU the loop is faster, and bit-identical from one cohort size to another.
    assert client_fn.parts(job, (2, 0, 1)) == [(2,), (0,), (1,)]
    job = stacking(job, experiment, Path())
    assert client_fn.parts(job, (2, 0, 1, 3)) == [(2, 0, 1, 3)]
    sizes = [together.client_bytes(experiment, client) for client in range(4)]
    assert min(sizes) > sum(parameter.numel() * 4 for parameter in experiment.initial_model().parameters())
    monkeypatch.setattr(together, "COHORT_BYTES", max(sizes[2] + sizes[0], sizes[1] + sizes[3]))
    assert client_fn.parts(job, (2, 0, 1, 3)) == [(2, 0), (1, 3)]
    monkeypatch.setattr(together, "COHORT_BYTES", 1)
    assert client_fn.parts(job, (2, 0)) == [(2,), (0,)]


def test_larger_batches_models_and_moments_take_more_memory() -> None:
    small = experiment_of().training_bytes[0]
    for more in ("clients.batch_size=64", "clients.optimiser=adam", "student.model={name: mlp, hidden: [64]}"):
        assert experiment_of(more).training_bytes[0] > small


@dataclass
class _Pairs:
    """Works on two clients at once."""

    def __call__(self, job: Job, client: int) -> Reply:
        if client == 2:
            raise ValueError("one is a crowd")
        return Reply(client, examples=0)

    def parts(self, job: Job, clients: Sequence[int]) -> list[tuple[int, ...]]:
        if job.kind == "broken":
            raise ValueError("no such job")
        return [tuple(clients[start : start + 2]) for start in range(0, len(clients), 2)]

    def together(self, job: Job, clients: Sequence[int]) -> list[Reply]:
        return [Reply(client, examples=1) for client in clients]


def test_parts_are_worked_on_at_once_while_somebody_waits() -> None:
    job = Job("round", 1, "{}")
    found = list(attempt_all(_Pairs(), job, (0, 1, 2)))
    assert [reply.examples for reply in found] == [1, 1, None]
    assert found[2].error is not None
    assert found[2].error.startswith("ValueError: one is a crowd (")
    answers = iter((True, False))
    late = list(attempt_all(_Pairs(), job, (0, 1, 2, 3), awaited=lambda: next(answers)))
    assert [reply.ok for reply in late] == [True, True, False, False]
    assert "time was over" in str(late[3].error)
    alone = list(attempt_all(_Pairs(), Job("broken", 1, "{}"), (0, 1)))
    assert [reply.examples for reply in alone] == [0, 0]


def test_performer_that_works_on_one_client_is_asked_for_each() -> None:
    asked: list[int] = []

    def alone(job: Job, client: int) -> Reply:
        asked.append(client)
        return Reply(client)

    job = Job("round", 1, "{}")
    assert list(attempt_all(alone, job, (3, 1))) == [attempt(alone, job, client) for client in (3, 1)]
    assert asked == [3, 1, 3, 1]
