"""Roles: disjoint, complete, reproducible, and refused with all faults at once."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkd.config.load import load_config, parse_config
from fedkd.config.schema import ExperimentConfig
from fedkd.config.values import Plugin
from fedkd.core.errors import ConfigError
from fedkd.data import DataSource, ExperimentData, PublicSet, SampleSet
from fedkd.data._images import channel_statistics, fit_to_shape, standardise
from fedkd.data.datasets.digits import Digits
from fedkd.data.datasets.fashion_mnist import FashionMnist
from fedkd.data.roles import pixel_scaling, prepare, strangers

DIGITS = Digits().load(Path())
TRAIN, TEST = len(DIGITS.train_labels), len(DIGITS.test_labels)
needs_fashion = pytest.mark.skipif(
    not FashionMnist().available(Path("/nowhere")), reason="needs Debian's dataset-fashion-mnist"
)


def config_of(clients: dict[str, Any] | None = None, seed: int = 0, **data: Any) -> ExperimentConfig:
    return parse_config({"seed": seed, "data": data, "clients": clients or {}})


def public_pixels(data: ExperimentData) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The statistics by which ``data`` was standardised, found from pixels the test knows: the test images."""
    raw, seen = DIGITS.test_inputs[:].float(), data.test_inputs[:]
    deviation = (raw.max() - raw.min()) / (seen.max() - seen.min())
    mean = -seen.min() * deviation + raw.min()
    return (float(mean),), (float(deviation),)


def as_keys(images: torch.Tensor, data: ExperimentData) -> Counter[bytes]:
    """Images as 8-bit pixels again, so that samples can be recognised."""
    mean, deviation = public_pixels(data)
    raw = (images * deviation[0] + mean[0]).round().to(torch.uint8)
    return Counter(bytes(image.numpy().tobytes()) for image in raw)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    scheme=st.sampled_from(["iid", "dirichlet", "pathological", "shards", "quantity"]),
    clients=st.integers(1, 30),
    size=st.integers(1, 1000),
    labelled=st.floats(0, 1),
    validation=st.floats(0, 0.999),
    held_out=st.floats(0, 0.999),
    seed=st.integers(0, 2**63 - 1),
)
def test_every_train_sample_has_exactly_one_role(
    scheme: str, clients: int, size: int, labelled: float, validation: float, held_out: float, seed: int
) -> None:
    known = round(labelled * size)
    if known < 2 or round(validation * known) == 0:
        validation = 0.0  # a share that makes no sample is refused
    data = prepare(
        config_of(
            {"count": clients},
            seed,
            client_validation=held_out,
            partition={"scheme": scheme, "alpha": 0.1},
            public={"size": size, "labelled": known, "validation": validation},
        )
    )
    assert len(data.inputs) == TRAIN - size
    assert len(data.public.inputs) == size
    used = as_keys(data.inputs[:], data) + as_keys(data.public.inputs[:], data)
    assert used == Counter(bytes(image.numpy().tobytes()) for image in DIGITS.train_inputs[:])
    assert torch.equal(as_labels(data), torch.bincount(DIGITS.train_labels, minlength=10))

    held = torch.cat([torch.cat([client.train, client.validation]) for client in data.clients])
    assert torch.equal(held.sort().values, torch.arange(TRAIN - size))
    assert all(len(client.train) >= 1 for client in data.clients)
    assert all(torch.equal(client.train, client.train.sort().values) for client in data.clients)

    public = data.public
    carved = int(public.validation.sum())
    assert carved == max(0, min(round(validation * known), known - 1))
    assert len(public.labelled) == known - carved
    assert not public.validation[public.labelled].any()
    assert torch.equal(public.truth[public.labelled], public.labels[public.labelled])
    assert (public.truth >= 0).all()


def as_labels(data: ExperimentData) -> torch.Tensor:
    return torch.bincount(torch.cat([data.labels, data.public.truth]), minlength=10)


def test_samples_keep_their_own_labels() -> None:
    data = prepare(config_of())
    label_of = {
        image.numpy().tobytes(): int(label)
        for image, label in zip(DIGITS.train_inputs[:], DIGITS.train_labels, strict=True)
    }
    mean, deviation = public_pixels(data)
    for images, labels in ((data.inputs[:], data.labels), (data.public.inputs, data.public.truth)):
        raw = (images * deviation[0] + mean[0]).round().to(torch.uint8)
        assert [label_of[image.numpy().tobytes()] for image in raw] == labels.tolist()
    assert torch.equal(data.test_labels, DIGITS.test_labels)


def test_the_seed_and_nothing_else_decides() -> None:
    before, numpy_before = torch.random.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].copy()
    first, again, other = prepare(config_of(seed=3)), prepare(config_of(seed=3)), prepare(config_of(seed=4))
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state(legacy=False)["state"]["key"])
    assert first.public.digest == again.public.digest != other.public.digest
    assert torch.equal(first.inputs[:], again.inputs[:])
    assert torch.equal(first.public.labels, again.public.labels)
    for mine, yours in zip(first.clients, again.clients, strict=True):
        assert torch.equal(mine.train, yours.train)
        assert torch.equal(mine.validation, yours.validation)
    assert not all(torch.equal(a.train, b.train) for a, b in zip(first.clients, other.clients, strict=True))


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = prepare(config_of())
        torch.set_num_threads(2)
        two = prepare(config_of())
    finally:
        torch.set_num_threads(threads)
    assert one.public.digest == two.public.digest
    assert torch.equal(one.inputs[:], two.inputs[:])


def test_public_images_alone_set_the_scale() -> None:
    data = prepare(config_of())
    assert data.public.inputs.mean().abs() < 1e-5
    assert (data.public.inputs.std(correction=0) - 1).abs() < 1e-5
    assert data.inputs[:].mean().abs() > 1e-4, "the private images must not have been centred by themselves"
    for images in (data.inputs[:], data.public.inputs, data.test_inputs[:]):
        assert images.dtype == torch.float32
        assert images.is_contiguous()


def test_server_validation_is_stratified() -> None:
    data = prepare(config_of(public={"size": 800, "labelled": 800, "validation": 0.25}))
    of_all = torch.bincount(data.public.truth, minlength=10)
    carved = torch.bincount(data.public.truth[data.public.validation], minlength=10)
    assert int(carved.sum()) == 200
    assert ((carved - of_all / 4).abs() < 1).all()


def test_the_last_labelled_sample_is_trained_on_rather_than_validated_with() -> None:
    data = prepare(config_of(public={"size": 10, "labelled": 2, "validation": 0.9}))
    assert len(data.public.labelled) == 1
    assert int(data.public.validation.sum()) == 1


def test_private_size_limits_the_private_samples() -> None:
    data = prepare(config_of(private_size=100))
    assert len(data.inputs) == len(data.labels) == 100
    assert sum(len(client.train) + len(client.validation) for client in data.clients) == 100


def test_a_round_uses_all_labelled_samples_and_a_drawn_part_of_the_rest() -> None:
    public = prepare(config_of(public={"size": 300, "labelled": 50, "validation": 0.2})).public
    assert torch.equal(public.subset(None, 0, 1), torch.arange(300))
    chosen = public.subset(60, 0, 1)
    assert len(chosen) == 110
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert set(public.labelled.tolist()) | set(public.validation.nonzero().flatten().tolist()) <= set(chosen.tolist())
    assert torch.equal(chosen, public.subset(60, 0, 1))
    assert not torch.equal(chosen, public.subset(60, 0, 2))
    assert not torch.equal(chosen, public.subset(60, 1, 1))
    assert torch.equal(public.subset(10_000, 0, 1), torch.arange(300))


def test_the_digest_sees_order_and_every_pixel() -> None:
    def digest(images: torch.Tensor) -> str:
        nothing = torch.full((2,), -1)
        return PublicSet(images, nothing, nothing, torch.zeros(2, dtype=torch.bool)).digest

    images = torch.arange(8.0).view(2, 1, 2, 2)
    assert digest(images) == digest(images.clone())
    assert len({digest(images), digest(images.flip(0)), digest(images + 1e-6), digest(images.view(2, 1, 1, 4))}) == 4


@needs_fashion
def test_public_samples_of_another_data_set_have_its_images_and_no_labels() -> None:
    data = prepare(config_of(public={"dataset": "fashion_mnist", "size": 50, "labelled": 0}))
    assert data.public.inputs.shape == (50, 1, 8, 8)
    assert not data.public.shared_label_space
    assert data.public.labels.tolist() == data.public.truth.tolist() == [-1] * 50
    assert len(data.public.labelled) == 0
    assert len(data.inputs) == TRAIN, "no train sample is spent on the public set"
    assert torch.equal(data.public.subset(7, 0, 1), data.public.subset(7, 0, 1))


@needs_fashion
def test_small_grey_images_serve_a_larger_task() -> None:
    data = prepare(config_of(dataset="fashion_mnist", public={"dataset": "digits", "size": 1000, "labelled": 0}))
    assert data.public.inputs.shape == (1000, 1, 28, 28)
    assert len(data.inputs) == 60_000


def test_fitting_converts_channels_by_luma_and_repetition() -> None:
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert set(fit_to_shape(red, (1, 4, 4)).flatten().tolist()) == {76}  # 0.299 · 255 = 76.245
    grey = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4)
    assert torch.equal(fit_to_shape(grey, (3, 4, 4)), grey.expand(1, 3, 4, 4))
    assert fit_to_shape(grey, (3, 2, 2)).shape == (1, 3, 2, 2)
    flat = torch.full((3000, 1, 6, 6), 200, dtype=torch.uint8)
    assert set(fit_to_shape(flat, (3, 9, 9)).flatten().tolist()) == {200}


def test_standardising_by_hand() -> None:
    images = torch.tensor([0, 4, 7, 7], dtype=torch.uint8).view(2, 2, 1, 1)  # channels 0: 0, 7; 1: 4, 7
    assert channel_statistics(images) == ((3.5, 5.5), (3.5, 1.5))
    assert standardise(images, (3.5, 5.5), (3.5, 1.5)).flatten().tolist() == [-1.0, -1.0, 1.0, 1.0]
    constant = torch.full((3, 1, 2, 2), 9, dtype=torch.uint8)
    assert channel_statistics(constant) == ((9.0,), (1.0,))


@pytest.mark.parametrize(
    ("raw", "texts"),
    [
        (
            {"data": {"public": {"size": TRAIN}}},
            [
                f"data.public.size: must leave private samples of the {TRAIN}",
                f"sizes that fit digits, such as data.public.size={TRAIN // 4}, or",
            ],
        ),
        (
            {"data": {"public": {"size": 1000}, "private_size": 1000}},
            [f"data.private_size: must not exceed the {TRAIN - 1000} train samples of digits", "lower one of the two"],
        ),
        (
            {"clients": {"count": 1000}},
            ["clients.count: 1000 clients", f"need 2000 private samples, there are {TRAIN - 400}"],
        ),
        (
            {
                "clients": {"count": 700},
                "data": {
                    "public": {"round_size": 301},
                    "partition": {"scheme": "shards", "shards_per_client": 3},
                },
            },
            ["3 problems", "data.public.round_size", "clients.count: 700", "data.partition.shards_per_client: 700"],
        ),
        (
            {"data": {"partition": {"scheme": "pathological", "classes_per_client": 11}}},
            ["data.partition.classes_per_client: must not exceed the 10 classes of digits, got 11"],
        ),
        (
            # The same under another name.
            {"data": {"public": {"dataset": "fedkd.data.datasets.digits:Digits", "labelled": 0}}},
            ["data.public.dataset: must differ from data.dataset"],
        ),
        (
            {"data": {"public": {"dataset": "digits", "labelled": 0}}},
            ["data.public.dataset: must differ from data.dataset", "got 'digits'; set it to null"],
        ),
    ],
)
def test_sizes_beyond_the_data_are_refused_together(raw: dict[str, Any], texts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare(load_config(raw))
    for text in texts:
        assert text in str(caught.value)


def test_one_source_with_other_options_is_another_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shifted_digits.py").write_text(
        "from dataclasses import dataclass, replace\n"
        "from fedkd.data.datasets.digits import Digits\n"
        "from fedkd.data import DataSource\n"
        "@dataclass(frozen=True)\n"
        "class Shifted(DataSource):\n"
        "    by: int = 0\n"
        "    def available(self, root): return True\n"
        "    def load(self, root):\n"
        "        found = Digits().load(root)\n"
        "        return replace(found, train_inputs=found.train_inputs.roll(self.by, -1))\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    name = "shifted_digits:Shifted"

    def public(by: int) -> ExperimentData:
        other = {"name": name, "by": by}
        return prepare(config_of(dataset={"name": name}, public={"dataset": other, "size": 50, "labelled": 0}))

    assert len(public(3).inputs) == TRAIN, "no train sample is spent on the public set"
    with pytest.raises(ConfigError, match=r"data\.public\.dataset: must differ"):
        public(0)


@pytest.mark.parametrize("root", ["a\0b", "/" + "x" * 5000, "~nobody_of_that_name/data"])
def test_a_folder_of_data_that_cannot_be_is_refused(root: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.root: ") as refusal:
        prepare(load_config({"data": {"root": root}}))
    assert len(str(refusal.value)) < 500


@needs_fashion
def test_a_public_set_larger_than_its_data_set_is_refused() -> None:
    config = config_of(dataset="fashion_mnist", public={"dataset": "digits", "size": TRAIN + 1, "labelled": 0})
    with pytest.raises(ConfigError, match=f"data.public.size: must not exceed the {TRAIN} train samples of digits"):
        prepare(config)


def test_data_need_neither_flower_nor_ray() -> None:
    program = (
        "import sys; from fedkd.config import ExperimentConfig; import fedkd.data;"
        "fedkd.data.prepare(ExperimentConfig());"
        "print(sorted({'flwr', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_the_sizes_that_a_refusal_names_fit() -> None:
    # Fashion-MNIST's sizes, on a data set of a fortieth of its samples.
    sizes = {"private_size": 30000, "public": {"size": 8000, "labelled": 500, "round_size": 2000}}
    with pytest.raises(ConfigError) as caught:
        prepare(load_config({"data": sizes}))
    (problem,) = caught.value.problems
    named = re.findall(r"data\.\w+(?:\.\w+)?=\w+", problem)
    assert len(named) == 4
    data = prepare(load_config({"data": sizes}, named))
    assert len(data.public.inputs) == TRAIN // 4
    assert len(data.inputs) == TRAIN - TRAIN // 4


@pytest.mark.parametrize("transform", ["none", "scale", "standardise"])
def test_pixels_become_what_models_see_by_scale_and_offset(transform: str) -> None:
    config = config_of(public={"size": 300}, transform=transform)
    found = pixel_scaling(config)
    assert found is not None
    scale, offset = found
    if transform == "scale":
        assert (float(scale), float(offset)) == pytest.approx((1 / 255, 0))
    torch.testing.assert_close(DIGITS.test_inputs[:] * scale + offset, prepare(config).test_inputs[:])


def test_other_samples_than_pixels_have_no_scale_and_offset() -> None:
    config = config_of(dataset="tests.support.kinds_of_samples:Rows", public={"size": 20, "labelled": 10})
    assert pixel_scaling(config) is None


NOISE = "tests.support.noise_images:NoiseImages"
ROWS, WORDS = (f"tests.support.kinds_of_samples:{name}" for name in ("Rows", "Words"))


@pytest.mark.parametrize("transform", ["scale", "standardise"])
def test_strangers_are_made_as_the_task_s_samples_are(transform: str) -> None:
    config = config_of(dataset=NOISE, public={"size": 100, "labelled": 50}, transform=transform)
    scaling = pixel_scaling(config)
    assert scaling is not None

    found = strangers(config, Plugin("digits"), "other")

    torch.testing.assert_close(found, DIGITS.test_inputs[:] * scaling[0] + scaling[1])


@needs_fashion
def test_strangers_get_the_shape_of_the_task_s_images() -> None:
    config = config_of(public={"size": 100, "labelled": 50})
    assert strangers(config, Plugin("fashion_mnist"), "other").shape == (10_000, 1, 8, 8)


@pytest.mark.parametrize(
    ("dataset", "other", "text"),
    [
        ("digits", "digits", "other: must differ from data.dataset, got 'digits'"),
        (ROWS, "digits", "other: must have samples as"),
        (ROWS, WORDS, "other: must have samples as"),
        (WORDS, "tests.data.test_roles:OtherWords", "other: must have tokens below 9"),
    ],
)
def test_strangers_that_are_none_are_refused(dataset: str, other: str, text: str) -> None:
    config = config_of(dataset=dataset, public={"size": 20, "labelled": 10})
    with pytest.raises(ConfigError) as caught:
        strangers(config, Plugin(other), "other")
    (problem,) = caught.value.problems
    assert problem.startswith(text)


class OtherWords(DataSource):
    """Six tokens of a larger vocabulary."""

    def load(self, root: Path) -> SampleSet:
        labels = torch.arange(20) % 2
        inputs = labels[:, None].expand(-1, 6) + 8
        return SampleSet(inputs, labels, inputs, labels, ("a", "b"))
