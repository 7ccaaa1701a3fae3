"""Generators depend on (seed, round, client, purpose) and on nothing else."""

import itertools

import pytest
import torch

from fedkd.core.seeding import SERVER, ambient_randomness, numpy_generator, torch_generator


def test_every_key_gives_its_own_stream() -> None:
    keys = list(itertools.product((0, 1, 2**62), (0, 1), (SERVER, 0, 1), ("a", "b")))
    draws = {
        float(numpy_generator(seed, round=round, client=client, purpose=purpose).random())
        for seed, round, client, purpose in keys
    }
    assert len(draws) == len(keys)


def test_the_same_key_gives_the_same_stream() -> None:
    first, second = (torch.rand(5, generator=torch_generator(3, round=2, client=1, purpose="x")) for _ in range(2))
    assert torch.equal(first, second)


def test_ambient_randomness_drives_dropout_and_leaves_the_global_state_alone() -> None:
    dropout, ones = torch.nn.Dropout(0.5), torch.ones(64)
    before = torch.random.get_rng_state()
    with ambient_randomness(torch_generator(0, purpose="x")):
        first = dropout(ones)
    torch.rand(7)
    with ambient_randomness(torch_generator(0, purpose="x")):
        second = dropout(ones)
    torch.random.set_rng_state(before)
    assert torch.equal(first, second)
    with pytest.raises(RuntimeError), ambient_randomness(torch_generator(0, purpose="x")):
        raise RuntimeError
    assert torch.equal(torch.random.get_rng_state(), before)
