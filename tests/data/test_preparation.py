"""From a source's samples to what models see: transforms, encoders, files that stay where they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fedkd.config.load import load_config
from fedkd.core.errors import ConfigError, DataError, PluginError
from fedkd.core.samples import LazySamples, SampleSpec
from fedkd.data import DataSource, MappedSamples, OtherLabels, Transform, Transformation
from fedkd.data._preparation import Preparation
from fedkd.data.roles import prepare
from fedkd.data.source import Encoder, Encoding, SampleSet
from fedkd.data.transforms.none import Nothing
from fedkd.data.transforms.rows import Rows
from fedkd.data.transforms.scale import Scale
from fedkd.data.transforms.standardise import Standardise

NAN = float("nan")


def sample_set(inputs: Any, **options: Any) -> SampleSet:
    labels = torch.arange(len(inputs)) % 2
    return SampleSet(inputs, labels, inputs, labels, ("a", "b"), **options)


def prepared(inputs: Any, public: Any = None, transform: str = "standardise", **options: Any) -> Preparation:
    source = sample_set(inputs, **options)
    return Preparation(load_config({"data": {"transform": transform}}), source, inputs if public is None else public)


def test_columns_of_a_table_are_standardised_by_hand() -> None:
    public = torch.tensor([[0.0, 5.0, 1.0], [4.0, 5.0, 3.0]])  # means 2, 5, 2; deviations 2, none, 1
    make = Standardise().fit(public)
    assert make(torch.tensor([[6.0, 6.0, 0.0]])).tolist() == [[2.0, 1.0, -2.0]]
    assert Scale().fit(public)(torch.tensor([[6.0, 6.0, 0.0]])).tolist() == [[1.5, 1.0, -0.5]]
    assert Nothing().fit(public)(torch.tensor([[6.0]], dtype=torch.float64)).dtype == torch.float32


def test_channels_of_a_series_are_standardised_without_their_padding() -> None:
    # Channel 0: 1, 3 (mean 2, deviation 1); channel 1: 10, 10.
    public = torch.tensor([[[1.0, NAN], [10.0, NAN]], [[3.0, NAN], [10.0, NAN]]])
    found = prepared(public)
    assert found.public.tolist() == [[[-1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]]
    assert found(torch.tensor([[[5.0, 2.0], [11.0, 10.0]]])).tolist() == [[[3.0, 0.0], [1.0, 0.0]]]


@pytest.mark.parametrize("transform", ["standardise", "scale", "none"])
def test_tokens_stay_as_they_are(transform: str) -> None:
    tokens = torch.tensor([[1, 5, 0], [2, 2, 0], [3, 0, 0]])
    found = prepared(tokens, transform=transform)
    assert torch.equal(found.public, tokens)
    assert found.spec == SampleSpec((3,), vocabulary=6)


def test_pixels_are_scaled_by_255() -> None:
    pixels = torch.tensor([0, 51, 255, 255], dtype=torch.uint8).view(2, 2, 1, 1)
    assert prepared(pixels, transform="scale").public.flatten().tolist() == pytest.approx([0, 0.2, 1, 1])
    assert prepared(pixels, transform="none").public.flatten().tolist() == [0.0, 51.0, 255.0, 255.0]


@pytest.mark.parametrize("transform", ["standardise", "scale"])
def test_what_learns_from_public_samples_asks_for_some(transform: str) -> None:
    table = torch.rand(4, 3)
    with pytest.raises(ConfigError, match=rf"data\.transform: {transform} takes .* there are none; raise data\.public"):
        prepared(table, public=table[:0], transform=transform)
    assert prepared(table, public=table[:0], transform="none").public.shape == (0, 3)


def test_rows_of_images_are_the_steps_of_series() -> None:
    # Two channels, 2×3; means 4 and 10, deviations 2 and none.
    public = torch.tensor([[[[2, 6, 2], [6, 2, 6]], [[10] * 3, [10] * 3]]], dtype=torch.uint8)
    make = Rows().fit(public)
    assert make(public).tolist() == [[[-1, 1], [1, -1], [-1, 1], [0, 0], [0, 0], [0, 0]]]
    assert prepared(public.repeat(2, 1, 1, 1), transform="rows").spec == SampleSpec((6, 2))


@pytest.mark.parametrize("samples", [torch.rand(4, 3), torch.arange(12).view(4, 3), torch.rand(4, 1, 8, 8)])
def test_rows_are_of_images_alone(samples: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"data\.transform: rows takes images .* choose standardise"):
        prepared(samples, transform="rows")


def test_numbers_beyond_float32_are_refused() -> None:
    with pytest.raises(PluginError, match=r"'none' must make finite numbers, got inf"):
        prepared(torch.tensor([[1e300], [1.0]], dtype=torch.float64), transform="none")


@pytest.mark.parametrize(
    ("inputs", "place"),
    [
        (torch.tensor([[1.0, 2.0], [NAN, 2.0]]), r"got nan at \[0\]"),
        (torch.tensor([[1.0, 2.0], [1.0, float("inf")]]), r"got inf at \[1\]"),
        (torch.tensor([[[1.0, 2.0], [NAN, 2.0]], [[1.0, 2.0], [1.0, 2.0]]]), r"got nan at \[1, 0\]"),
    ],
)
def test_samples_that_are_no_numbers_are_refused(inputs: Tensor, place: str) -> None:
    with pytest.raises(DataError, match=rf"data\.dataset: samples must be finite numbers, {place} of a sample"):
        prepared(inputs)


class Doubling(Transform):
    """A transform of one's own that changes the shape."""

    def fit(self, public: Tensor) -> Transformation:
        return lambda samples: torch.cat([samples, samples], dim=1).float()


class Wrong(Transform):
    def fit(self, public: Tensor) -> Transformation:
        return lambda samples: samples.double()


class Logarithms(Transform):
    def fit(self, public: Tensor) -> Transformation:
        return lambda samples: samples.log()


class Broken(Transform):
    def fit(self, public: Tensor) -> Transformation:
        raise KeyError("no such column")


def test_a_transform_of_ones_own() -> None:
    assert prepared(torch.rand(4, 3), transform=f"{__name__}:Doubling").spec.shape == (6,)
    with pytest.raises(PluginError, match=r"must make float32 or int64 \[4, \.\.\.\] of \[4, 3\], got torch\.float64"):
        prepared(torch.rand(4, 3), transform=f"{__name__}:Wrong")
    for zeros in (torch.zeros(4, 3), torch.zeros(4, 3, 2)):
        with pytest.raises(PluginError, match=r"'.*:Logarithms' must make finite numbers, got -inf; look for"):
            prepared(zeros, transform=f"{__name__}:Logarithms")
    with pytest.raises(PluginError, match=r"fit\(\) on 4 samples ended with an error: .*line \d+: KeyError"):
        prepared(torch.rand(4, 3), transform=f"{__name__}:Broken")


class Words:
    """Raw samples: lists of words."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, positions: Tensor | slice) -> list[str]:
        return [self.texts[int(each)] for each in torch.arange(len(self))[positions]]


class FirstLetters(Encoder):
    def fit(self, public: list[str]) -> Encoding:
        return _Letters(sorted({text[0] for text in public}))


class _Letters(Encoding):
    def __init__(self, known: list[str]) -> None:
        self.known, self.vocabulary = known, len(known) + 2

    def __call__(self, raw: list[str]) -> Tensor:
        return torch.tensor([[self.known.index(each[0]) + 2 if each[0] in self.known else 1] for each in raw])


def test_an_encoder_sees_public_samples_alone() -> None:
    found = prepared(Words(["ab", "ba", "cc", "ab"]), public=["ab", "ba"], encoder=FirstLetters())
    assert found.spec == SampleSpec((1,), vocabulary=4)
    assert found(["cc", "b"]).tolist() == [[1], [3]]
    with pytest.raises(ConfigError, match=r"data\.public\.size: .* learns its columns or words from public samples"):
        prepared(Words(["ab", "ba"]), public=[], encoder=FirstLetters())


class Lengths(Encoder):
    learns = False

    def fit(self, public: list[str]) -> Encoding:
        return _Lengths()


class _Lengths(Encoding):
    def __call__(self, raw: list[str]) -> Tensor:
        return torch.tensor([[float(len(each))] for each in raw]).reshape(-1, 1)


def test_an_encoder_that_learns_nothing_does_without_public_samples() -> None:
    found = prepared(Words(["ab", "b"]), public=[], encoder=Lengths(), transform="none")
    assert found(["abc", ""]).tolist() == [[3], [0]]


def test_samples_in_a_file_are_those_of_the_array(tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", table)
    whole, mapped = prepared(torch.from_numpy(table)), MappedSamples(tmp_path / "x.npy")
    found = prepared(mapped, public=mapped[:])
    inputs = found.of(mapped, torch.tensor([7, 3, 30]))
    assert isinstance(inputs, LazySamples)
    assert torch.equal(inputs[:], whole(torch.from_numpy(table))[[7, 3, 30]])
    assert torch.equal(inputs[torch.tensor([2, 0])], inputs[:][[2, 0]])
    assert torch.equal(torch.cat(list(inputs.split(2))), inputs[:])
    assert len(inputs) == 3


@pytest.mark.parametrize("content", [b"no array", b""])
def test_a_file_that_is_no_array_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.npy cannot be read as an array of numbers .*numpy\.save"):
        len(MappedSamples(tmp_path / "x.npy"))


def test_a_pickled_array_is_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"x\.npy cannot be read as an array of numbers"):
        len(MappedSamples(tmp_path / "x.npy"))


def test_public_arrays_are_made_as_their_own_source_says(tmp_path: Path) -> None:
    """Channels last in the public set alone: images all the same, in the task's shape."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "public.npz", x=pixels, y=np.arange(60) % 3)
    public = {"name": "npz", "path": str(tmp_path / "public.npz")}
    overrides = {"dataset": public, "size": 40, "labelled": 0}
    found = prepare(load_config({"data": {"dataset": "digits", "transform": "scale", "public": overrides}}))
    assert found.public.inputs.shape == (40, 1, 8, 8)
    rows = {each.numpy().tobytes() for each in torch.from_numpy(pixels[..., 0]).float().div_(255)}
    assert all(each[0].numpy().tobytes() in rows for each in found.public.inputs)


class TwoTasks(DataSource):
    """Each sample is its number; its class is whether that is odd, and its other label the last digit."""

    def load(self, root: Path) -> SampleSet:
        numbers = torch.arange(100)
        tasks = {"digit": OtherLabels(numbers[:80] % 10, numbers[80:] % 10, tuple("0123456789"))}
        inputs = numbers.float().unsqueeze(1)
        return SampleSet(
            inputs[:80], numbers[:80] % 2, inputs[80:], numbers[80:] % 2, ("even", "odd"), other_labels=tasks
        )


def test_other_labels_go_with_their_samples_into_every_role() -> None:
    raw = {"dataset": f"{__name__}:TwoTasks", "transform": "none", "public": {"size": 30, "labelled": 10}}
    data = prepare(load_config({"data": raw, "clients": {"count": 2}}))
    task = data.other_labels["digit"]
    for inputs, labels in (
        (data.inputs[:], task.private),
        (data.public.inputs, task.public),
        (data.test_inputs[:], task.test),
    ):
        assert (inputs[:, 0].long() % 10).tolist() == labels.tolist()
    assert task.class_names == tuple("0123456789")
