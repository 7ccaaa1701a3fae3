"""Arrays in .npz and .npy files."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedkd.data.source import SampleSet
from tests.support.data_files import finished, loaded, pixels, refusal

LABELS = np.arange(40) % 2
SOURCE = {"name": "npz", "path": "arrays.npz"}


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


def tensors_of(data: SampleSet) -> tuple[torch.Tensor, torch.Tensor]:
    """All train and all test inputs as tensors."""
    found = []
    for inputs in (data.train_inputs, data.test_inputs):
        raw = inputs[torch.arange(len(inputs))]
        found.append(raw if data.encoder is None else data.encoder.fit(raw)(raw))
    return found[0], found[1]


def write(folder: Path, kind: str, **arrays: Any) -> dict[str, Any]:
    """An .npz file or .npy files in a folder, and the options that name them."""
    if kind == "npz":
        np.savez(folder / "arrays.npz", **arrays)
        return SOURCE
    (folder / "arrays").mkdir()
    for name, array in arrays.items():
        np.save(folder / "arrays" / name, array)
    return SOURCE | {"path": "arrays"}


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_arrays_run(kind: str, tmp_path: Path) -> None:
    x = numbers(40, 3) + 4 * LABELS[:, None]
    summary = finished(tmp_path, write(tmp_path, kind, x=x, y=LABELS), partition={"scheme": "iid"})
    assert 0 <= summary["student_accuracy"] <= 1


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_tokens_and_series_run(kind: str, tmp_path: Path) -> None:
    source = write(tmp_path, kind, x=np.arange(200).reshape(40, 5) % 11, y=LABELS)
    assert finished(tmp_path, source | {"tokens": True}, model="gru")["rounds"] == 1
    series = numbers(40, 2, 5)
    series[::2, :, 3:] = np.nan
    np.save(tmp_path / "series.npy", series)
    np.save(tmp_path / "y.npy", LABELS)
    (tmp_path / "out").rename(tmp_path / "before")
    assert finished(tmp_path, SOURCE | {"path": "series.npy"}, model="gru")["rounds"] == 1


FORMS: dict[str, tuple[np.ndarray, dict[str, Any], tuple[int, ...], torch.dtype]] = {
    "grey images": (pixels(40, 5, 6), {}, (1, 5, 6), torch.uint8),
    "images": (pixels(40, 3, 5, 6), {}, (3, 5, 6), torch.uint8),
    "images with the channels last": (pixels(40, 5, 6, 3), {}, (3, 5, 6), torch.uint8),
    "images with four channels last": (pixels(40, 5, 6, 4), {}, (4, 5, 6), torch.uint8),
    "three rows of three channels": (pixels(40, 3, 5, 3), {}, (3, 5, 3), torch.uint8),
    "bytes in rows": (pixels(40, 7), {}, (7,), torch.float32),
    "volumes": (pixels(40, 2, 3, 4, 5), {}, (2, 3, 4, 5), torch.float32),
    "float64": (numbers(40, 7), {}, (7,), torch.float32),
    "the other byte order": (numbers(40, 7).astype(">f4"), {}, (7,), torch.float32),
    "series": (numbers(40, 2, 9).astype(np.float16), {}, (2, 9), torch.float32),
    "whole numbers": (np.arange(280).reshape(40, 7) - 9, {}, (7,), torch.float32),
    "truth values": (numbers(40, 7) > 0, {}, (7,), torch.float32),
    "tokens": (np.arange(280, dtype=np.uint16).reshape(40, 7), {"tokens": True}, (7,), torch.int64),
}


@pytest.mark.parametrize("kind", ["npz", "npy"])
@pytest.mark.parametrize("form", FORMS)
def test_samples_take_their_form_from_type_and_shape(form: str, kind: str, tmp_path: Path) -> None:
    array, options, shape, dtype = FORMS[form]
    data = loaded(tmp_path, write(tmp_path, kind, x=array, y=LABELS) | options)
    train, test = tensors_of(data)
    assert (train.shape, test.shape) == ((32, *shape), (8, *shape))
    assert (train.dtype, test.dtype) == (dtype, dtype)
    # The fifth of each class is for testing; the first of all is for training.
    expected = torch.from_numpy(array.astype(np.float64))
    if "last" in form:
        expected = expected.permute(0, 3, 1, 2)
    assert torch.allclose(train[0].double(), expected[0].reshape(shape), rtol=1e-3)
    assert torch.allclose(test[0].double(), expected[8].reshape(shape), rtol=1e-3)


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_tokens_are_below_one_more_than_the_largest(kind: str, tmp_path: Path) -> None:
    x, later = np.arange(200).reshape(40, 5), np.full((4, 5), 777)
    found = write(tmp_path, kind, x=x, y=LABELS, x_test=later, y_test=LABELS[:4])
    data = loaded(tmp_path, found | {"tokens": True})
    if data.encoder is None:
        assert int(tensors_of(data)[1].max()) == 777
    else:
        assert data.encoder.fit(x).vocabulary == 778


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_test_arrays_are_found_by_their_names_or_named(kind: str, tmp_path: Path) -> None:
    arrays = {"x": numbers(40, 3), "x_test": numbers(4, 3), "late": numbers(6, 3)}
    arrays |= {"y": LABELS, "y_test": LABELS[:4], "late_y": np.ones(6, dtype=int)}
    found = write(tmp_path, kind, **arrays)
    assert loaded(tmp_path, found).test_labels.tolist() == [0, 1, 0, 1]
    named = loaded(tmp_path, found | {"test_inputs": "late", "test_labels": "late_y"})
    assert (named.test_labels.tolist(), len(named.train_labels)) == ([1] * 6, 40)


@pytest.mark.parametrize("ids", [np.arange(40) % 3 * 10, np.array(["ann", "bob", "eve"] * 14)[:40]])
def test_clients_are_numbers_or_names(ids: np.ndarray, tmp_path: Path) -> None:
    data = loaded(tmp_path, write(tmp_path, "npz", x=numbers(40, 3), y=LABELS, who=ids) | {"client": "who"})
    assert data.client_names == tuple(map(str, np.unique(ids)))
    assert data.train_clients is not None
    assert data.train_clients[:6].tolist() == [0, 1, 2, 0, 1, 2]


def test_labels_are_sorted_as_numbers(tmp_path: Path) -> None:
    y = np.where(LABELS == 0, 10, 9)
    data = loaded(tmp_path, write(tmp_path, "npz", x=numbers(40, 3), y=y))
    assert (data.class_names, data.train_labels[:2].tolist()) == (("9", "10"), [1, 0])


def test_npy_files_are_named_by_path_and_stay_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    np.save(tmp_path / "deep/pictures.npy", pixels(40, 5, 6))
    np.save(tmp_path / "deep/y.npy", LABELS)
    np.save(tmp_path / "digits.npy", LABELS)
    for labels in ("y", "y.npy", "deep/y.npy", "digits.npy"):
        data = loaded(tmp_path, SOURCE | {"path": "deep/pictures.npy", "labels": labels})
        assert data.train_labels[:4].tolist() == [0, 1, 0, 1]
    assert not isinstance(data.train_inputs, torch.Tensor)
    np.save(tmp_path / "deep/pictures.npy", 255 - pixels(40, 5, 6))
    assert torch.equal(tensors_of(data)[0][0, 0], torch.from_numpy(255 - pixels(40, 5, 6)[0]))


def test_steps_of_nan_in_all_channels_fill_series_up(tmp_path: Path) -> None:
    series = numbers(40, 2, 9)
    series[:, :, 7:] = np.nan
    assert tensors_of(loaded(tmp_path, write(tmp_path, "npz", x=series, y=LABELS)))[0].isnan().sum() == 32 * 2 * 2
    series[3, 1, 2] = np.nan
    np.savez(tmp_path / "arrays.npz", x=series, y=LABELS)
    assert "got nan in sample 3 of x in" in refusal(tmp_path, SOURCE)


def with_nan() -> np.ndarray:
    x = numbers(40, 3)
    x[17, 1] = np.nan
    return x


class Trap:
    """Objects that a pickle makes at once."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return Path.touch, (Path("sprung"),)  # type: ignore[return-value]


WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "no such array": ({}, {"inputs": "X1"}, ["data.dataset.inputs", "has no 'X1'", "did you mean 'x'?"]),
    "no labels": ({}, {"labels": "target"}, ["data.dataset.labels", "has no 'target'", "name one of x, y"]),
    "no such file": ({}, {"path": "array.npz"}, ["data.dataset.path", "there is no file", "mean 'arrays.npz'"]),
    "unequal lengths": ({"y": LABELS[:-1]}, {}, ["data.dataset.labels", "each of the 40 samples, got 39 in y"]),
    "text labels": ({"y": np.array(["a", "b"] * 20)}, {}, ["data.dataset.labels", "got text", "np.unique"]),
    "fractions": ({"y": LABELS + 0.5}, {}, ["data.dataset.labels", "got 0.5 for sample 0"]),
    "one-hot labels": ({"y": np.eye(2)[LABELS]}, {}, ["data.dataset.labels", "[40, 2]", "argmax"]),
    "NaN": ({"x": with_nan()}, {}, ["data.dataset.inputs", "got nan in sample 17 of x", "replace it"]),
    "too large": ({"x": numbers(40, 3) * 1e300}, {}, ["data.dataset.inputs", "finite numbers", "sample 0"]),
    "one class": ({"y": LABELS * 0}, {}, ["data.dataset.labels", "two classes at least", "class '0'"]),
    "labels like a measurement": ({"y": np.arange(40)}, {}, ["data.dataset.labels", "no two samples"]),
    "no samples": ({"x": numbers(0, 3), "y": LABELS[:0]}, {}, ["data.dataset.inputs", "none empty", "[0, 3]"]),
    "one axis": ({"x": numbers(40)}, {}, ["data.dataset.inputs", "two axes at least", "[40]"]),
    "objects": ({"x": np.array([Trap()] * 40)}, {}, ["data.dataset.inputs", "pickled objects"]),
    "negative tokens": (
        {"x": np.arange(80).reshape(40, 2) - 3},
        {"tokens": True},
        ["data.dataset.inputs", "tokens must be 0 or more", "got -3 in sample 0"],
    ),
    "tokens with a point": ({}, {"tokens": True}, ["data.dataset.inputs", "float64 [40, 3]", "tokens=false"]),
    "a new class in test": (
        {"x_test": numbers(4, 3), "y_test": np.array([0, 1, 2, 2])},
        {},
        ["data.dataset.test_labels", "got '2'", "leave such test samples out"],
    ),
    "another shape in test": (
        {"x_test": numbers(4, 2), "y_test": LABELS[:4]},
        {},
        ["data.dataset.test_inputs", "[3] in x", "[2] in x_test"],
    ),
    "half a test set": ({"x_test": numbers(4, 3)}, {}, ["data.dataset.test_labels", "x_test"]),
    "clients with a point": ({"who": numbers(40)}, {"client": "who"}, ["data.dataset.client", "float64 [40]"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_with_its_remedy(case: str, tmp_path: Path) -> None:
    changed, options, words = WRONG[case]
    write(tmp_path, "npz", **{"x": numbers(40, 3), "y": LABELS, **changed})
    message = refusal(tmp_path, SOURCE | options)
    assert [word for word in words if word not in message] == [], message
    assert not (tmp_path / "sprung").exists()


def header(shape: tuple[int, ...]) -> bytes:
    """That of an array of float64, which may not be there."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def half_a_file(folder: Path) -> None:
    file = folder / "arrays.npz"
    file.write_bytes(file.read_bytes()[:300])


def promised(folder: Path) -> None:
    with zipfile.ZipFile(folder / "arrays.npz", "w") as archive:
        archive.writestr("x.npy", header((10**15, 3)))


def flipped(folder: Path) -> None:
    file = folder / "arrays.npz"
    content = bytearray(file.read_bytes())
    content[200] ^= 255
    file.write_bytes(content)


def enormous(folder: Path) -> None:
    (folder / "arrays").mkdir()
    np.save(folder / "arrays/x.npy", numbers(40, 3))
    with (folder / "arrays/y.npy").open("wb") as file:
        file.write(header((10**12,)))
        file.truncate(8 * 10**12 + 128)


def cut_off(folder: Path) -> None:
    (folder / "arrays").mkdir()
    np.save(folder / "arrays/y.npy", LABELS)
    (folder / "arrays/x.npy").write_bytes(header((40, 3)) + b"12345678")


def pickled(folder: Path) -> None:
    (folder / "arrays").mkdir()
    np.save(folder / "arrays/y.npy", LABELS)
    np.save(folder / "arrays/x.npy", np.array([Trap()] * 40))


DAMAGED: dict[str, tuple[Callable[[Path], object], str, list[str]]] = {
    "half a file": (half_a_file, "arrays.npz", ["data.dataset.path", "arrays.npz cannot be read"]),
    "more promised than there is": (promised, "arrays.npz", ["data.dataset.inputs", "cannot be read", "cut off"]),
    "a flipped byte": (flipped, "arrays.npz", ["data.dataset.inputs", "cannot be read", "CRC"]),
    "labels beyond memory": (enormous, "arrays", ["data.dataset.labels", "24,000.0 GB in memory"]),
    "a cut off .npy": (cut_off, "arrays", ["data.dataset.path", "x.npy cannot be read", "cut off"]),
    "a pickled .npy": (pickled, "arrays", ["data.dataset.path", "x.npy cannot be read", "pickled objects"]),
    "another ending": (
        lambda folder: (folder / "x.mat").write_bytes(b""),
        "x.mat",
        ["data.dataset.path", "must be an .npz file", "x.mat", "numpy.savez"],
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_are_named(case: str, tmp_path: Path) -> None:
    damage, path, words = DAMAGED[case]
    write(tmp_path, "npz", x=numbers(40, 3), y=LABELS)
    damage(tmp_path)
    message = refusal(tmp_path, SOURCE | {"path": path})
    assert [word for word in words if word not in message] == [], message
    assert not (tmp_path / "sprung").exists()
