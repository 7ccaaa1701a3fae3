"""Data sources: what they return, and what they say when there is nothing to return."""

import gzip
import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from sklearn.datasets import load_digits

from fedkd.core.errors import DataError
from fedkd.core.plugins import DATASET, build, names
from fedkd.data.datasets.digits import Digits
from fedkd.data.datasets.fashion_mnist import FashionMnist
from fedkd.data.source import DataSource, resolve_root

OF_FILES = ("csv", "huggingface", "image_folder", "npz", "text", "torchvision")
PACKAGED = ("digits", "fashion_mnist", "scikit_learn", "watch", "word_lists")
DOWNLOADED = ("mnist", "kmnist", "emnist", "cifar10", "cifar100", "svhn")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every download is refused at once, on any machine."""
    for scheme in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")
    for exception in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(exception, raising=False)


def source_of(name: str) -> DataSource:
    source = build(DATASET, name)
    assert isinstance(source, DataSource)
    return source


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def pixels(samples: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (samples, *shape), dtype=np.uint8)


def write_idx(folder: Path, prefix: str, images: np.ndarray, labels: list[int], *, pack: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", np.array(labels))):
        if pack:
            (folder / f"{prefix}-{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / f"{prefix}-{name}").write_bytes(idx(array))


def test_the_shipped_sources() -> None:
    assert names(DATASET) == sorted((*DOWNLOADED, *OF_FILES, *PACKAGED))


@pytest.mark.parametrize("installed_as_usual", [True, False])
def test_digits_are_those_of_scikit_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed_as_usual: bool
) -> None:
    if not installed_as_usual:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = Digits().load(tmp_path)
    pixels, target = load_digits(return_X_y=True)
    images = torch.cat([found.train_inputs[:], found.test_inputs[:]]).flatten(1).double() * 16 / 255
    rows = torch.cat([images.round(), torch.cat([found.train_labels, found.test_labels]).unsqueeze(1)], dim=1)
    expected = torch.from_numpy(np.column_stack([pixels, target]))
    assert sorted(rows.tolist()) == sorted(expected.tolist())


def test_digits_come_with_a_stratified_fifth_for_testing(tmp_path: Path) -> None:
    data = Digits().load(tmp_path)
    assert data.train_inputs[:].shape[1:] == (1, 8, 8)
    assert len(data.train_labels) + len(data.test_labels) == 1797
    per_class = torch.bincount(data.train_labels) + torch.bincount(data.test_labels)
    assert torch.equal(torch.bincount(data.test_labels), per_class // 5)
    assert int(data.train_inputs[:].max()) == 255
    assert torch.equal(Digits().load(tmp_path).train_inputs[:], data.train_inputs[:])
    assert Digits().available(tmp_path)


@pytest.mark.skipif(not FashionMnist().available(Path("/nowhere")), reason="needs Debian's dataset-fashion-mnist")
def test_fashion_mnist_is_found_where_debian_puts_it(tmp_path: Path) -> None:
    data = FashionMnist().load(tmp_path / "never_made")
    assert data.train_inputs[:].shape == (60_000, 1, 28, 28)
    assert data.test_inputs[:].shape == (10_000, 1, 28, 28)
    assert torch.bincount(data.train_labels).tolist() == [6000] * 10
    assert data.train_labels[:5].tolist() == [9, 0, 0, 3, 0]
    assert data.class_names[9] == "Ankle boot"
    assert not (tmp_path / "never_made").exists()


def test_fashion_mnist_reads_a_folder_of_packed_files_or_torchvisions_layout(tmp_path: Path) -> None:
    train, test = pixels(6, 28, 28), pixels(2, 28, 28)
    for folder, pack in ((tmp_path / "packed", True), (tmp_path / "FashionMNIST/raw", False)):
        write_idx(folder, "train", train, [0, 1, 2, 3, 4, 5], pack=pack)
        write_idx(folder, "t10k", test, [8, 9], pack=pack)
    for source in (FashionMnist(str(tmp_path / "packed")), FashionMnist(str(tmp_path / "nothing"))):
        assert source.available(tmp_path)
        data = source.load(tmp_path)
        assert torch.equal(data.train_inputs[:][:, 0], torch.from_numpy(train))
        assert data.test_labels.tolist() == [8, 9]


def test_damaged_files_are_named(tmp_path: Path) -> None:
    for name in ("train", "t10k"):
        write_idx(tmp_path, name, pixels(2, 28, 28), [0, 1], pack=True)
    whole = gzip.compress(idx(pixels(2, 28, 28))[:-5])
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(whole)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz cannot be read.*install it again"):
        FashionMnist(str(tmp_path)).load(tmp_path)


@pytest.mark.parametrize("name", ["mnist", "kmnist"])
def test_the_mnist_family_is_read_from_torchvisions_layout(name: str, tmp_path: Path) -> None:
    train, test = pixels(5, 28, 28), pixels(2, 28, 28)
    write_idx(tmp_path / name.upper() / "raw", "train", train, [9, 8, 7, 6, 5])
    write_idx(tmp_path / name.upper() / "raw", "t10k", test, [0, 1])
    source = source_of(name)
    assert source.available(tmp_path)
    data = source.load(tmp_path)
    assert torch.equal(data.train_inputs[:][:, 0], torch.from_numpy(train))
    assert data.train_labels.tolist() == [9, 8, 7, 6, 5]
    assert len(data.class_names) == 10


@pytest.mark.parametrize(("split", "classes", "first"), [("balanced", 47, 0), ("letters", 26, 1)])
def test_emnist_is_turned_upright_and_numbered_from_zero(split: str, classes: int, first: int, tmp_path: Path) -> None:
    train = pixels(3, 28, 28)
    for part in ("train", "test"):
        write_idx(tmp_path / "EMNIST" / "raw", f"emnist-{split}-{part}", train, [first, first + 1, first + classes - 1])
    source: DataSource = build(DATASET, "emnist", {"split": split})
    data = source.load(tmp_path)
    assert torch.equal(data.train_inputs[:][:, 0], torch.from_numpy(train).transpose(1, 2))
    assert data.train_labels.tolist() == [0, 1, classes - 1]
    assert len(data.class_names) == classes


@pytest.mark.parametrize(("name", "key"), [("cifar10", "labels"), ("cifar100", "fine_labels")])
def test_cifar_becomes_channels_first(name: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    colour = pixels(4, 3, 32, 32)
    cls = getattr(torchvision.datasets, name.upper())
    folder = tmp_path / cls.base_folder
    folder.mkdir()

    def write(file: str, content: dict[str, object]) -> str:
        (folder / file).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / file).read_bytes()).hexdigest()

    batch = {"data": colour.reshape(4, -1), key: [3, 1, 0, 2]}
    meta_key = cls.meta["key"]
    classes = [f"class {number}" for number in range(10)]
    monkeypatch.setattr(cls, "train_list", [[file, write(file, batch)] for file, _ in cls.train_list])
    monkeypatch.setattr(cls, "test_list", [[file, write(file, batch)] for file, _ in cls.test_list])
    meta_file = cls.meta["filename"]
    meta = {"filename": meta_file, "key": meta_key, "md5": write(meta_file, {meta_key: classes})}
    monkeypatch.setattr(cls, "meta", meta)
    data = source_of(name).load(tmp_path)
    assert data.train_inputs[:].shape[1:] == (3, 32, 32)
    assert torch.equal(data.train_inputs[:4], torch.from_numpy(colour))
    assert data.test_labels.tolist() == [3, 1, 0, 2]
    assert data.class_names == tuple(classes)


def test_svhn_calls_zero_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    colour = pixels(3, 32, 32, 3)
    splits = dict(torchvision.datasets.SVHN.split_list)
    for part in ("train", "test"):
        file = tmp_path / f"{part}_32x32.mat"
        savemat(file, {"X": colour.transpose(1, 2, 3, 0), "y": np.array([[10], [1], [9]])})
        splits[part] = ["", file.name, hashlib.md5(file.read_bytes()).hexdigest()]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", splits)
    data = source_of("svhn").load(tmp_path)
    assert torch.equal(data.train_inputs[:], torch.from_numpy(colour).permute(0, 3, 1, 2))
    assert data.train_labels.tolist() == [0, 1, 9]


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", DOWNLOADED)
def test_missing_data_say_how_to_get_them(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = source_of(name)
    assert not source.available(tmp_path)
    with pytest.raises(DataError, match=f"{name} is not in data.root = {tmp_path} and cannot be downloaded") as caught:
        source.load(tmp_path)
    assert "point data.root at a folder that has them" in str(caught.value)
    assert "data.dataset=digits" in str(caught.value)
    assert capfd.readouterr().out == ""


@pytest.mark.usefixtures("offline")
def test_missing_fashion_mnist_names_the_debian_package(tmp_path: Path) -> None:
    source = FashionMnist(folder=str(tmp_path))
    assert not source.available(tmp_path)
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist"):
        source.load(tmp_path)


def test_files_that_are_there_but_damaged_are_not_called_missing(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / f"{part}_32x32.mat").write_bytes(b"not a matrix")
    with pytest.raises(DataError, match=r"svhn in data\.root = .* cannot be read .*delete train_32x32\.mat"):
        source_of("svhn").load(tmp_path)


def test_the_default_root_is_in_the_home_folder() -> None:
    assert resolve_root(None) == Path.home() / ".cache" / "fedkd"
    assert resolve_root("~/data") == Path.home() / "data"
