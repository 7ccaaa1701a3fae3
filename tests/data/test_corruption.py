"""Public images that are not like the private ones, and labels that are wrong."""

from typing import Any

import pytest
import torch

from fedkd.config.data_schema import CorruptionConfig
from fedkd.config.load import load_config
from fedkd.core.errors import ConfigError
from fedkd.data import ExperimentData, prepare
from fedkd.data._corruption import corrupted
from fedkd.data.common import CommonData

DRAW = torch.Generator().manual_seed(0)
IMAGES = torch.randint(0, 256, (5, 3, 6, 6), generator=DRAW).to(torch.uint8)


def made(images: torch.Tensor, **how: Any) -> torch.Tensor:
    return corrupted(images, CorruptionConfig(**how), torch.Generator().manual_seed(1))


def data_of(*overrides: str) -> ExperimentData:
    return prepare(load_config({}, ["data.transform=none", *overrides]))


def test_quarter_turns_and_negatives_are_exact() -> None:
    for turns in (1, 2, 3, -1):
        assert torch.equal(made(IMAGES, rotate=90.0 * turns), torch.rot90(IMAGES, turns, (2, 3)))
    assert torch.equal(made(IMAGES, invert=True), 255 - IMAGES)
    assert torch.equal(made(IMAGES, rotate=90.0, invert=True), 255 - torch.rot90(IMAGES, 1, (2, 3)))


def test_an_oblong_image_keeps_its_proportions_and_black_comes_in() -> None:
    bar = torch.zeros(1, 1, 9, 21, dtype=torch.uint8)
    bar[:, :, 4, 6:15] = 200
    turned = made(bar, rotate=90.0)
    assert torch.equal(turned[0, 0, :, 10], torch.full((9,), 200, dtype=torch.uint8))
    assert int(turned.sum()) == 9 * 200


def test_noise_is_of_the_size_that_it_is_said_to_be() -> None:
    grey = torch.full((50, 1, 20, 20), 128, dtype=torch.uint8)
    noisy = made(grey, noise=0.1).double()
    assert float(noisy.std()) == pytest.approx(25.5, rel=0.03)
    assert float(noisy.mean()) == pytest.approx(128, abs=0.5)


def test_public_samples_alone_are_changed() -> None:
    plain, changed = data_of(), data_of("data.public.corruption.invert=true")
    # Digits are pixels from 0 to 255 as models see them under this transform.
    assert torch.equal(changed.public.inputs, 255 - plain.public.inputs)
    assert torch.equal(changed.public.told, plain.public.told)
    assert torch.equal(changed.inputs[:], plain.inputs[:])
    assert torch.equal(changed.test_inputs[:], plain.test_inputs[:])


def test_the_seed_draws_the_noise() -> None:
    one, again, other = (data_of("data.public.corruption.noise=0.2", f"seed={seed}").public for seed in (1, 1, 2))
    assert one.digest == again.digest != other.digest


def test_nodes_are_sent_what_the_server_has() -> None:
    changes = ["data.public.corruption.rotate=30", "data.partition.scheme=at_home", "clients.max_examples=50"]
    config = load_config({}, changes)
    assert CommonData.of(config).public_digest == prepare(config).public.digest


def test_what_are_no_images_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.public\.corruption: changes images, and samples of scikit_learn"):
        data_of("data.dataset={name: scikit_learn, dataset: wine}", "data.public.corruption.rotate=30")


def test_wrong_labels_are_as_many_as_asked_for_and_all_of_them_known_ones() -> None:
    plain = data_of("data.public.labelled=200").public
    public = data_of("data.public.labelled=200", "data.public.label_noise=0.25").public
    assert torch.equal(public.truth, plain.truth)
    wrong = public.told != plain.told
    assert int(wrong.sum()) == 50
    assert not bool(wrong[200:].any())
    assert int(public.told.max()) < 10
    # Nobody tells the server which are wrong, of those for validation neither.
    assert bool((wrong & public.validation).any())
    assert torch.equal(public.labels[~public.validation], public.told[~public.validation])
    assert bool((public.labels[public.validation] == -1).all())


def test_less_label_noise_makes_some_of_the_same_labels_wrong_and_the_seed_draws_which() -> None:
    def told(share: float, seed: int = 0) -> torch.Tensor:
        return data_of("data.public.labelled=200", f"data.public.label_noise={share}", f"seed={seed}").public.told

    right, few, many = told(0.0), told(0.1), told(0.4)
    assert torch.equal(many[few != right], few[few != right])
    assert not torch.equal((told(0.1, seed=1) != told(0.0, seed=1)), few != right)
