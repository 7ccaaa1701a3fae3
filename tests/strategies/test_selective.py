"""Selective-FD: which samples the server keeps, and where clients vote."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fedkd.aggregation.strategy import LogitAggregator
from fedkd.aggregation.testing import check_aggregator
from fedkd.aggregation.types import ReportStack, Teacher
from fedkd.client.context import ClientContext
from fedkd.client.rule import ClientRule
from fedkd.config.load import parse_config
from fedkd.core import plugins
from fedkd.core.errors import PluginError
from fedkd.data.roles import prepare
from fedkd.experiment import Experiment
from tests.support import ROOT


def teacher_of(rows: list[list[list[float]]], mask: list[list[bool]] | None = None, **options: object) -> Teacher:
    """The teacher of probabilities [clients, samples, classes]."""
    aggregator: LogitAggregator = plugins.build(plugins.STRATEGY, "selective", options)
    logits = torch.tensor(rows).log()
    return aggregator(
        ReportStack(
            logits=logits,
            examples=torch.ones(len(rows), dtype=torch.long),
            labels=torch.full((logits.shape[1],), -1),
            clients=tuple(range(len(rows))),
            mask=None if mask is None else torch.tensor(mask),
        )
    )


def test_only_those_who_vote_count() -> None:
    # Sample 1: both vote, (0.9 + 0.3)/2; sample 2: the first alone; sample 3: nobody, so it is not learnt from.
    rows = [[[0.9, 0.1]] * 3, [[0.3, 0.7]] * 3]
    teacher = teacher_of(rows, [[True, True, False], [True, False, False]], threshold=2)
    assert teacher.probabilities[:2, 0].tolist() == pytest.approx([0.6, 0.9])
    assert teacher.sample_weight.tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("threshold", "kept"), [(2.0, [1, 1, 1]), (1.0, [1, 1, 0]), (0.8, [1, 1, 0]), (0.5, [1, 0, 0])]
)
def test_ambiguous_samples_are_dropped(threshold: float, kept: list[int]) -> None:
    # Top probabilities 0.9, 0.6 and 0.4: L1 distances 0.2, 0.8 and 1.2 from the one-hot label.
    teacher = teacher_of([[[0.9, 0.05, 0.05], [0.6, 0.2, 0.2], [0.4, 0.3, 0.3]]], threshold=threshold)
    assert teacher.sample_weight.tolist() == kept


def test_hard_labels_are_shares_of_the_vote() -> None:
    rows = [[[0.6, 0.3, 0.1]], [[0.5, 0.4, 0.1]], [[0.2, 0.4, 0.4]]]
    found = teacher_of(rows, labels="hard", threshold=2).probabilities[0].tolist()
    # One vote, one vote, and one vote halved between equal classes.
    assert found == pytest.approx([2 / 3, 1 / 6, 1 / 6])
    assert teacher_of(rows, labels="hard", threshold=0.6).sample_weight.tolist() == [0]
    assert teacher_of(rows, labels="hard", threshold=2 / 3).sample_weight.tolist() == [1]


@pytest.mark.parametrize("options", [{}, {"threshold": 0.4}, {"labels": "hard"}])
def test_it_is_an_aggregator(options: dict[str, object]) -> None:
    check_aggregator(lambda: plugins.build(plugins.STRATEGY, "selective", options))


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    """Five clients of two of the ten digits each."""
    config = parse_config(
        {
            "seed": 100,
            "data": {
                "dataset": "digits",
                "client_validation": 0.0,
                "partition": {"scheme": "pathological", "classes_per_client": 2},
                "public": {"size": 400, "labelled": 0},
            },
            "clients": {"count": 5, "rule": "selective"},
            "strategy": "selective",
            "student": {"model": {"name": "mlp"}},
        }
    )
    return Experiment(config, prepare(config))


def work_of(experiment: Experiment, client: int, queries: Tensor | None = None, round: int = 1) -> ClientContext:
    inputs = experiment.data.public.inputs if queries is None else queries
    return ClientContext(
        experiment, client, round, {}, inputs, experiment.data.labels[experiment.data.clients[client].train]
    )


def rule_of(**options: Any) -> ClientRule:
    rule: ClientRule = plugins.build(plugins.CLIENT_RULE, "selective", options)
    return rule


def mask_of(context: ClientContext, **options: Any) -> Tensor:
    mask = rule_of(**options).respond(context).mask
    assert mask is not None
    return mask


def test_clients_vote_on_what_they_know(experiment: Experiment) -> None:
    for client in range(5):
        context = work_of(experiment, client)
        known = torch.isin(experiment.data.public.truth, context.labels.unique())
        mask = mask_of(context)
        # Classes have about 40 public samples and 110 private ones here, three quarters of them above the quantile.
        assert mask[known].float().mean() > 0.5
        assert mask[~known].float().mean() < 0.1


def test_public_references_tell_classes_apart_better_than_noise(experiment: Experiment) -> None:
    def precision(reference: str) -> float:
        hits = votes = 0
        for client in range(5):
            context = work_of(experiment, client)
            mask = mask_of(context, reference=reference)
            hits += int(torch.isin(experiment.data.public.truth[mask], context.labels.unique()).sum())
            votes += int(mask.sum())
        return hits / votes

    assert precision("public") > precision("uniform") > 0.3


def test_a_higher_quantile_withholds_more(experiment: Experiment) -> None:
    loose, strict = (mask_of(work_of(experiment, 0), quantile=quantile) for quantile in (0.0, 0.5))
    assert strict.sum() < loose.sum()
    assert not bool((strict & ~loose).any())


def test_the_answers_are_those_of_the_base_rule(experiment: Experiment) -> None:
    base: ClientRule = plugins.build(plugins.CLIENT_RULE, "own_model", {"digest_epochs": 3})
    expected = base.respond(work_of(experiment, 1)).logits
    found = rule_of(base_options={"digest_epochs": 3}).respond(work_of(experiment, 1)).logits
    assert found is not None
    assert expected is not None
    assert torch.equal(found, expected)
    assert rule_of().receives == base.receives
    assert rule_of(base="broadcast").receives == frozenset({"parameters"})


def test_rounds_and_further_queries_change_no_vote(experiment: Experiment) -> None:
    context = work_of(experiment, 2)
    first = mask_of(context)
    again = work_of(experiment, 2, round=4)
    again.memory = context.memory
    assert torch.equal(mask_of(again), first)
    # Without the memory, in another round and with other queries behind: the same selector.
    longer = torch.cat([experiment.data.public.inputs[:], experiment.data.test_inputs[:]])
    other = mask_of(work_of(experiment, 2, longer, round=3))
    assert other.shape == (len(longer),)
    assert torch.equal(other[: len(first)], first)
    # With the memory of other queries.
    context.queries = longer
    assert torch.equal(mask_of(context), other)


def test_a_class_with_one_sample_claims_nothing(experiment: Experiment) -> None:
    context = work_of(experiment, 0)
    rare, common = context.labels.unique().tolist()
    own = experiment.data.clients[0].train
    chosen = torch.cat([own[context.labels == common], own[context.labels == rare][:1]])
    clients = (replace(experiment.data.clients[0], train=chosen), *experiment.data.clients[1:])
    fewer = Experiment(experiment.config, replace(experiment.data, clients=clients))
    mask = mask_of(work_of(fewer, 0))
    truth = experiment.data.public.truth
    assert mask[truth == common].float().mean() > 0.5
    assert mask[truth == rare].float().mean() < 0.2


def test_a_client_with_one_sample_does_not_select(experiment: Experiment) -> None:
    own = experiment.data.clients[0]
    clients = (replace(own, train=own.train[:1]), *experiment.data.clients[1:])
    alone = Experiment(experiment.config, replace(experiment.data, clients=clients))
    assert bool(mask_of(work_of(alone, 0)).all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": "parameters"}, "base: must be a rule that sends logits, got 'parameters'"),
        ({"base": "own_models"}, "base: name: unknown .* 'own_models'; did you mean 'own_model'"),
        ({"base_options": {"digest_epoch": 1}}, "base: digest_epoch: unknown option of OwnModel"),
    ],
)
def test_a_base_that_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        rule_of(**options)


CONFIGS = ROOT / "configs" / "reproductions"


@pytest.mark.parametrize(("setting", "classes"), [("iid", 10), ("weak", 2), ("strong", 1)])
def test_the_reproductions_have_the_published_roles(setting: str, classes: int) -> None:
    from fedkd.config.load import load_config

    config = load_config(CONFIGS / f"selective_fd_{setting}.yaml", [])
    assert (config.clients.count, config.data.public.size, config.data.public.labelled) == (10, 6000, 0)
    assert (config.clients.rule.name, config.strategy.name) == ("selective", "selective")
    if config.data.partition.scheme == "pathological":
        assert config.data.partition.classes_per_client == classes
    else:
        assert config.data.partition.scheme == "iid"
