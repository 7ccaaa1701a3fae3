"""Samples of another kind than those of the run."""

import pytest
import torch

from fedkd.analysis.strangers import shuffled, strangers_of
from fedkd.analysis.subject import Subject
from fedkd.config.load import parse_config
from fedkd.core.errors import ConfigError
from fedkd.experiment import Experiment

NOISE = "tests.support.noise_images:NoiseImages"
DRAW = torch.Generator().manual_seed(0)


def _subject(dataset: str) -> Subject:
    return Subject(
        Experiment(parse_config({"data": {"dataset": dataset, "public": {"size": 100, "labelled": 20}}})), {}
    )


def test_digits_are_strange_to_other_images() -> None:
    subject = _subject(NOISE)

    found = strangers_of(subject, subject.test.inputs, None, 50, DRAW)

    assert found.name == "digits"
    assert found.inputs.shape == (50, 1, 8, 8)


@pytest.mark.parametrize("dataset", ["digits", "tests.support.kinds_of_samples:Rows"])
def test_where_digits_would_not_be_strange_test_samples_are_shuffled(dataset: str) -> None:
    subject = _subject(dataset)

    found = strangers_of(subject, subject.test.inputs, None, 10_000, DRAW)

    assert found.name == "shuffled test samples"
    assert found.inputs.shape == subject.test.inputs.shape
    assert not torch.equal(found.inputs, subject.test.inputs)


def test_the_data_set_that_is_named_is_taken_or_refused() -> None:
    subject = _subject("digits")

    assert strangers_of(subject, subject.test.inputs, NOISE, 20, DRAW).name == NOISE
    with pytest.raises(ConfigError, match=r"other: must differ from data\.dataset"):
        strangers_of(subject, subject.test.inputs, "digits", 20, DRAW)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_shuffling_keeps_the_values_of_every_place(dtype: torch.dtype) -> None:
    samples = torch.arange(60).view(10, 2, 3).to(dtype)

    found = shuffled(samples, torch.Generator().manual_seed(0))

    assert torch.equal(found.sort(dim=0).values, samples)
    # A row of the original rises by ones.
    assert not bool((found.flatten(1).diff(dim=1) == 1).all(dim=1).any())
