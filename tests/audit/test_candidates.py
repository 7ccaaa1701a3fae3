"""Candidates: nothing but chance tells members from others."""

import pytest
import torch

from fedkd.audit.candidates import CandidatePool, HoldOut, draw_pool
from fedkd.audit.queries import CRAFTED, crafted_queries, views_of
from fedkd.core.errors import ConfigError
from fedkd.data.roles import unused_samples
from fedkd.experiment import Experiment
from tests.support.federations import experiment_of


def pool_of(experiment: Experiment, client: int = 0, most: int = 1000) -> CandidatePool:
    return draw_pool(experiment, client, HoldOut(*unused_samples(experiment.config)), most=most)


def rows(inputs: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in inputs}


def test_members_are_the_clients_and_others_are_nobodys() -> None:
    experiment = experiment_of("clients.count=3", "data.private_size=200")
    data, pool = experiment.data, pool_of(experiment, 1)
    own = data.clients[1]
    assert rows(pool.inputs[pool.members]) <= rows(data.inputs[own.train])
    everybody = torch.cat([client.train for client in data.clients])
    outside = rows(pool.inputs[~pool.members])
    assert not outside & rows(data.inputs[everybody])
    assert not outside & rows(data.public.inputs)
    assert not outside & rows(data.test_inputs[:])
    # Its own validation samples come first, for they are of the client's own distribution.
    assert rows(data.inputs[own.validation]) & outside
    assert rows(pool.inputs[pool.members]) | rows(data.inputs[pool.known]) == rows(data.inputs[own.train])


def test_classes_tell_nothing() -> None:
    pool = pool_of(experiment_of("data.partition.alpha=0.1", "data.private_size=300"))
    counts = [torch.bincount(pool.labels[chosen], minlength=10) for chosen in (pool.members, ~pool.members)]
    assert torch.equal(*counts)
    assert int(pool.members.sum()) * 2 == pool.labels.numel()


def test_no_more_than_asked_for() -> None:
    experiment = experiment_of("data.private_size=300")
    pool = pool_of(experiment, most=21)
    assert pool.labels.numel() <= 20
    assert int(pool.members.sum()) + pool.known.numel() == experiment.data.clients[0].train.numel()


def test_shadows_have_random_halves_that_make_up_a_whole() -> None:
    pool = pool_of(experiment_of("data.private_size=300"))
    for pair in range(3):
        first, second = pool.included(2 * pair, 0), pool.included(2 * pair + 1, 0)
        assert torch.equal(first, ~second)
        counts = [torch.bincount(pool.labels[chosen], minlength=10) for chosen in (first, second, pool.members)]
        assert torch.equal(counts[0], counts[1])
        # As the client's own.
        assert torch.equal(counts[0], counts[2])
    assert torch.equal(pool.included(4, 0), pool.included(4, 0))
    assert not torch.equal(pool.included(0, 0), pool.included(2, 0))
    assert not torch.equal(pool.included(0, 0), pool.included(0, 1))


def test_clients_share_no_others() -> None:
    experiment = experiment_of("data.private_size=150", "data.client_validation=0")
    spare = HoldOut(*unused_samples(experiment.config))
    first, second = (draw_pool(experiment, client, spare, most=1000) for client in (0, 1))
    assert not rows(first.inputs[~first.members]) & rows(second.inputs[~second.members])


def test_unused_samples_have_no_role_and_look_like_the_others() -> None:
    experiment = experiment_of("data.private_size=300")
    inputs, labels = unused_samples(experiment.config)
    used = (
        rows(experiment.data.inputs[:]) | rows(experiment.data.public.inputs[:]) | rows(experiment.data.test_inputs[:])
    )
    assert len(inputs) == len(labels) > 100
    assert not rows(inputs) & used
    assert inputs.dtype == experiment.data.inputs[:].dtype
    assert abs(float(inputs.mean() - experiment.data.inputs[:].mean())) < 0.05
    assert unused_samples(experiment_of("data.private_size=null").config)[0].shape[0] == 0


def test_a_client_whose_classes_are_used_up() -> None:
    experiment = experiment_of("data.private_size=null", "data.client_validation=0")
    with pytest.raises(ConfigError, match=r"data\.private_size: leaves no samples that client 0 could have trained on"):
        pool_of(experiment)


def test_views_and_crafted_queries() -> None:
    inputs = torch.arange(12.0).reshape(1, 1, 3, 4)
    views = views_of(inputs, 6)
    assert views.shape == (6, 1, 1, 3, 4)
    assert torch.equal(views[0], inputs)
    assert views[1, 0, 0, 0].tolist() == [3.0, 2.0, 1.0, 0.0]
    assert views[2, 0, 0, 0].tolist() == [1.0, 2.0, 3.0, 0.0]
    assert len({view.numpy().tobytes() for view in views}) == 6
    public = experiment_of().data.public.inputs
    crafted = crafted_queries(public, torch.Generator().manual_seed(0))
    assert crafted.shape == (CRAFTED, *public.shape[1:])
    assert not rows(crafted) & rows(public)


def test_the_first_candidates_are_as_many_members_as_others_of_each_class() -> None:
    pool = pool_of(experiment_of("clients.count=3", "data.private_size=200"))
    count = pool.labels.numel()
    assert torch.equal(pool.first(count), torch.arange(count))
    for most in (2, 7, count - 3):
        chosen = pool.first(most)
        assert most - 1 <= chosen.numel() <= most
        assert chosen.tolist() == sorted(set(chosen.tolist()))
        labels, members = pool.labels[chosen], pool.members[chosen]
        assert torch.equal(labels[members].sort().values, labels[~members].sort().values)
    assert pool.first(1).numel() == 0
