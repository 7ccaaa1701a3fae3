"""Client rules: what a client starts from, what it sends, and what it keeps."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedkd.client.context import ClientContext
from fedkd.client.label_means import label_means, others_means
from fedkd.client.rule import ClientRule, Upload
from fedkd.core import plugins
from fedkd.core.errors import ConfigError
from fedkd.core.messages import (
    FEATURE_LABELS,
    FEATURE_LOGITS,
    FEATURE_VALUES,
    INCLUDED,
    MEANS,
    SIZES,
    Arrays,
    Consensus,
    parameter_prefix,
    state_arrays,
)
from fedkd.experiment import Experiment
from fedkd.models import accuracy, embeddings, predict
from tests.support.federations import experiment_of

STILL = "clients.learning_rate=1e-9"


def rule(name: str, **options: object) -> ClientRule:
    built: ClientRule = plugins.build(plugins.CLIENT_RULE, name, options)
    return built


def context(experiment: Experiment, round: int = 1, received: Arrays | None = None, **more: Any) -> ClientContext:
    data, client = experiment.data, more.pop("client", 0)
    labels = data.labels[data.clients[client].train]
    return ClientContext(experiment, client, round, received or {}, data.public.inputs, labels, **more)


def parameters(experiment: Experiment, shift: float = 0.0) -> Arrays:
    state = state_arrays(experiment.initial_model().state_dict())
    return {parameter_prefix(0) + name: array + np.float32(shift) for name, array in state.items()}


def logits_of(upload: Upload) -> Tensor:
    assert upload.logits is not None
    return upload.logits


def trained(experiment: Experiment, model: nn.Module, round: int) -> Tensor:
    """What an epoch of local training in a round makes of a model, on the public samples."""
    return predict(context(experiment, round).train(model), experiment.data.public.inputs)


def test_broadcast_starts_from_what_it_is_sent_and_remembers_nothing() -> None:
    experiment = experiment_of()
    for shift in (0.0, 0.1):
        given = context(experiment, 2, parameters(experiment, shift))
        expected = trained(experiment, given.received_model(), 2)
        upload = rule("broadcast").respond(given)
        assert torch.equal(logits_of(upload), expected)
        assert (upload.arrays, upload.mask, given.memory) == ({}, None, {})
        assert upload.model is not None


def test_broadcast_without_parameters_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="sent no parameters of model 0"):
        rule("broadcast").respond(context(experiment_of()))


def test_parameters_are_sent_whole_under_the_architectures_name() -> None:
    experiment = experiment_of("clients.models=[{name: mlp, hidden: [4]}]")
    sent = {
        parameter_prefix(1) + name: array
        for name, array in state_arrays(experiment.initial_model(1).state_dict()).items()
    }
    upload = rule("parameters").respond(context(experiment, received=parameters(experiment) | sent))
    assert {name: array.shape for name, array in upload.arrays.items()} == {
        name: array.shape for name, array in sent.items()
    }
    assert upload.logits is None
    assert any((upload.arrays[name] != array).any() for name, array in sent.items())
    assert upload.model is not None
    for name, value in upload.model.state_dict().items():
        assert (upload.arrays[parameter_prefix(1) + name] == value.numpy()).all()


def test_an_own_model_goes_on_from_where_it_was() -> None:
    experiment = experiment_of()
    memory: dict[str, Tensor] = {}
    model = experiment.initial_model()
    for round in (1, 2, 5):
        expected = trained(experiment, model, round)
        # What the server's student is does not matter to it.
        upload = rule("own_model").respond(context(experiment, round, parameters(experiment, 0.5), memory=memory))
        assert torch.equal(logits_of(upload), expected)
        assert upload.arrays == {}
    forgetful = rule("own_model").respond(context(experiment, 5))
    assert not torch.equal(logits_of(forgetful), logits_of(upload))


def consensus_on(experiment: Experiment, label: int, mask: Tensor | None = None) -> Consensus:
    """A consensus that everything is ``label``, with 0.91 against 0.01."""
    samples = experiment.data.public.labels.numel()
    target = torch.full((samples, 10), 0.01)
    target[:, label] = 0.91
    return Consensus(
        torch.arange(samples), target.log(), torch.ones(samples, dtype=torch.bool) if mask is None else mask
    )


def divergence(upload: Upload, consensus: Consensus) -> float:
    target = consensus.log_probabilities
    return float((target.exp() * (target - logits_of(upload).log_softmax(dim=1))).sum(dim=1).mean())


@pytest.mark.parametrize("loss", ["kl", "l1"])
def test_digesting_moves_a_model_towards_the_consensus(loss: str) -> None:
    experiment = experiment_of(STILL)
    consensus = consensus_on(experiment, 3)
    found = []
    for epochs in (0, 1, 10):
        digesting = rule("own_model", digest_loss=loss, digest_epochs=epochs, digest_learning_rate=0.05)
        found.append(divergence(digesting.respond(context(experiment, consensus=consensus)), consensus))
    assert found[2] < found[1] < found[0]
    assert found[2] < found[0] / 2


def test_only_samples_with_a_target_are_digested() -> None:
    experiment = experiment_of(STILL)
    digesting = rule("own_model", digest_epochs=3, digest_learning_rate=0.05)
    untouched = logits_of(digesting.respond(context(experiment)))
    nowhere = consensus_on(experiment, 3, torch.zeros(40, dtype=torch.bool))
    assert torch.equal(logits_of(digesting.respond(context(experiment, consensus=nowhere))), untouched)
    half = torch.arange(40) < 20
    lies = torch.where(
        half.unsqueeze(1), consensus_on(experiment, 3).log_probabilities, consensus_on(experiment, 7).log_probabilities
    )
    uploads = [
        digesting.respond(
            context(experiment, consensus=replace(consensus_on(experiment, 3, half), log_probabilities=targets))
        )
        for targets in (consensus_on(experiment, 3).log_probabilities, lies)
    ]
    assert torch.equal(logits_of(uploads[0]), logits_of(uploads[1]))
    assert not torch.equal(logits_of(uploads[0]), untouched)


def test_public_labels_are_learned_before_the_first_round_only() -> None:
    experiment = experiment_of("clients.learning_rate=0.1")
    labels = experiment.data.public.labels
    pretraining = rule("own_model", pretrain_epochs=30)
    assert pretraining.receives == {"consensus", "labels"}
    assert rule("own_model").receives == {"consensus"}
    known = labels >= 0
    inputs = experiment.data.public.inputs[known]
    sent = {"labels": labels.numpy().astype(np.int16)}
    first = context(experiment, received=sent)
    without, upload = rule("own_model").respond(context(experiment)), pretraining.respond(first)
    assert upload.model is not None
    assert without.model is not None
    assert accuracy(upload.model, inputs, labels[known]) > accuracy(without.model, inputs, labels[known]) + 0.3
    again = logits_of(pretraining.respond(context(experiment, 2, sent, memory=dict(first.memory))))
    assert torch.equal(again, logits_of(rule("own_model").respond(context(experiment, 2, memory=dict(first.memory)))))


def test_label_means_by_hand() -> None:
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]])
    arrays = label_means(values, torch.tensor([2, 2, 0]), classes=4)
    assert arrays[MEANS].tolist() == [[10, 20], [0, 0], [2, 3], [0, 0]]
    assert arrays[SIZES].tolist() == [1, 0, 2, 0]


def test_the_others_means_by_hand() -> None:
    # Label 0: mine is 1.0 over two samples, the other's 4.0 over one; label 1: mine alone; label 2: the other's alone.
    own = {MEANS: np.array([[1.0], [5.0], [0.0]]), SIZES: np.array([2, 3, 0])}
    received = {MEANS: np.array([[2.0], [5.0], [7.0]]), SIZES: np.array([3, 3, 4])}
    means, known = others_means(received, own)
    assert means[:, 0].tolist() == pytest.approx([4.0, 0.0, 7.0])
    assert known.tolist() == [1.0, 0.0, 1.0]
    means, known = others_means(received, None)
    assert means[:, 0].tolist() == [2.0, 5.0, 7.0]
    assert known.tolist() == [1.0, 1.0, 1.0]


def test_mean_logits_are_those_of_the_trained_model() -> None:
    experiment = experiment_of()
    given = context(experiment)
    upload = rule("label_logits").respond(given)
    assert upload.model is not None
    expected = label_means(predict(upload.model, given.inputs), given.labels, 10)
    assert (upload.arrays[MEANS] == expected[MEANS]).all()
    assert (upload.arrays[SIZES] == torch.bincount(given.labels, minlength=10).numpy()).all()
    assert upload.logits is None


def means_of(upload: Upload) -> np.ndarray[Any, Any]:
    return upload.arrays[MEANS]


def test_a_clients_own_share_is_taken_off_the_means_where_it_is_in_them() -> None:
    experiment = experiment_of("clients.learning_rate=0.2")
    distilling = rule("label_logits", weight=5.0)
    first = context(experiment)
    own = dict(distilling.respond(first).arrays)
    assert "included" in distilling.receives

    def second(received: Arrays) -> np.ndarray[Any, Any]:
        return means_of(distilling.respond(context(experiment, 2, received, memory=dict(first.memory))))

    marked = {INCLUDED: np.ones(1, np.uint8)}
    # Of means of nobody else nothing is left, and training is as without any.
    assert (second(own | marked) == second({})).all()
    assert (second(own) != second({})).any()
    # The same means with and without its own share in them, where the others' are opposite.
    sizes = own[SIZES].astype(np.int64)
    others = {MEANS: -own[MEANS], SIZES: sizes}
    everybody = {MEANS: np.zeros_like(own[MEANS]), SIZES: 2 * sizes}
    assert second(everybody | marked) == pytest.approx(second(others), abs=1e-5)


@pytest.mark.parametrize(("name", "width"), [("label_logits", 10), ("prototypes", 8)])
def test_a_weight_of_0_ignores_the_others_and_a_large_one_follows_them(name: str, width: int) -> None:
    experiment = experiment_of("clients.learning_rate=0.02", "clients.epochs=10")
    target = np.zeros((10, width), np.float32)
    target[:, 0] = 3.0
    received = {MEANS: target, SIZES: np.full(10, 5)}

    def distance(weight: float, received: Arrays) -> float:
        upload = rule(name, weight=weight).respond(context(experiment, received=received))
        present = upload.arrays[SIZES] > 0
        found = means_of(upload)[present]
        if name == "label_logits":
            found = found - found[:, 1:].mean(axis=1, keepdims=True)
        return float(np.abs(found - target[present]).mean())

    assert distance(0.0, received) == distance(1.0, {})
    assert distance(10.0, received) < 0.7 * distance(0.0, received)


def test_prototypes_are_mean_embeddings() -> None:
    experiment = experiment_of()
    given = context(experiment)
    upload = rule("prototypes").respond(given)
    assert upload.model is not None
    seen, _ = embeddings(upload.model, given.inputs)
    label = int(given.labels[0])
    assert upload.arrays[MEANS].shape == (10, 8)
    assert upload.arrays[MEANS][label] == pytest.approx(seen[given.labels == label].mean(dim=0).numpy(), abs=1e-6)


def test_features_logits_and_labels_of_every_private_sample_are_sent() -> None:
    experiment = experiment_of()
    given = context(experiment)
    upload = rule("features").respond(given)
    assert upload.model is not None
    seen, logits = embeddings(upload.model, given.inputs)
    assert (upload.arrays[FEATURE_VALUES] == seen.numpy()).all()
    assert (upload.arrays[FEATURE_LOGITS] == logits.numpy()).all()
    assert upload.arrays[FEATURE_LABELS].tolist() == given.labels.tolist()
    tests = replace(given, queries=experiment.data.test_inputs[:])
    again = rule("features").respond_again(tests, upload).arrays
    assert set(again) == {FEATURE_VALUES}
    assert (again[FEATURE_VALUES] == embeddings(upload.model, tests.queries)[0].numpy()).all()


def test_the_servers_answers_draw_a_clients_model() -> None:
    experiment = experiment_of("clients.learning_rate=0.05", "clients.epochs=5")
    given = context(experiment)
    answers = np.zeros((len(given.labels), 10), np.float32)
    answers[:, 6] = 8.0
    shares = []
    for weight in (0.0, 3.0):
        upload = rule("features", weight=weight).respond(context(experiment, received={"server_logits": answers}))
        shares.append(float(torch.from_numpy(upload.arrays[FEATURE_LOGITS]).softmax(dim=1)[:, 6].mean()))
    alone = rule("features").respond(given).arrays[FEATURE_LOGITS]
    ignoring = (
        rule("features", weight=0.0)
        .respond(context(experiment, received={"server_logits": answers}))
        .arrays[FEATURE_LOGITS]
    )
    assert (alone == ignoring).all()
    assert shares[1] > shares[0] + 0.2


@pytest.mark.parametrize("name", ["own_model", "label_logits", "prototypes", "features"])
def test_rules_with_a_model_of_their_own_say_that_they_remember(name: str) -> None:
    experiment = experiment_of()
    first = context(experiment)
    one = rule(name).respond(first)
    assert rule(name).remembers
    assert "model/1.weight" in first.memory
    assert one.model is not None
    assert torch.equal(first.memory["model/1.weight"], one.model.state_dict()["1.weight"])


@pytest.mark.parametrize(
    "override", ["clients.rule.digest_epochs=-1", "clients.rule.temperature=0", "clients.rule.weight=2"]
)
def test_options_out_of_range_are_refused(override: str) -> None:
    with pytest.raises(ConfigError, match=r"clients\.rule\."):
        experiment_of("clients.rule=own_model", override)
