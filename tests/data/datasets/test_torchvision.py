"""Any of torchvision's data sets."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fedkd.core.errors import DataError
from tests.data.test_datasets import write_idx
from tests.support.data_files import finished, loaded, pixels, refusal, write_image

FAKE = {
    "name": "torchvision",
    "dataset": "FakeData",
    "options": {"size": 40, "image_size": [3, 6, 5], "num_classes": 2},
}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every download is refused at once."""
    for scheme in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")
    for exception in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(exception, raising=False)


def test_a_data_set_without_splits_runs_and_is_divided(tmp_path: Path) -> None:
    assert finished(tmp_path, FAKE)["rounds"] == 1
    data = loaded(tmp_path, FAKE)
    assert data.train_inputs[:].shape[1:] == (3, 6, 5)
    assert data.class_names == ("0", "1")
    assert len(data.train_labels) + len(data.test_labels) == 40
    assert len(data.test_labels) in {7, 8}


def test_images_are_resized_and_made_grey_when_that_is_said(tmp_path: Path) -> None:
    data = loaded(tmp_path, FAKE | {"size": [2, 4], "channels": 1})
    assert data.test_inputs[:].shape[1:] == (1, 2, 4)


@pytest.mark.parametrize("dataset", ["MNIST", "EMNIST"])
def test_a_train_and_a_test_split_are_found_in_the_arguments(dataset: str, tmp_path: Path) -> None:
    train, test = pixels(5, 28, 28), pixels(2, 28, 28)
    options = {}
    prefixes = ("train", "t10k")
    if dataset == "EMNIST":
        options, prefixes = {"split": "digits"}, ("emnist-digits-train", "emnist-digits-test")
    write_idx(tmp_path / dataset / "raw", prefixes[0], train, [9, 8, 8, 6, 5])
    write_idx(tmp_path / dataset / "raw", prefixes[1], test, [6, 5])
    data = loaded(tmp_path, {"name": "torchvision", "dataset": dataset, "options": options})
    assert torch.equal(data.train_inputs[:][:, 0], torch.from_numpy(train))
    assert (data.train_labels.tolist(), data.test_labels.tolist()) == ([9, 8, 8, 6, 5], [6, 5])
    assert len(data.class_names) == 10


def test_splits_have_the_names_that_are_given(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("valid", 2), ("test", 1)):
        for country in ("AT", "CH"):
            for number in range(count):
                write_image(tmp_path / f"country211/{split}/{country}/{number}.png", pixels(4, 4, 3, seed=number))
    source: dict[str, Any] = {"name": "torchvision", "dataset": "Country211"}
    for options, counts in (({}, (6, 2)), ({"train_split": "valid"}, (4, 2)), ({"test_split": "valid"}, (6, 4))):
        data = loaded(tmp_path, source | options)
        assert (len(data.train_labels), len(data.test_labels)) == counts
        assert data.class_names == ("AT", "CH")


def test_an_image_that_is_cut_off_is_named(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for country in ("AT", "CH"):
            write_image(tmp_path / f"country211/{split}/{country}/0.png", pixels(40, 40, 3))
    file = tmp_path / "country211/train/CH/0.png"
    file.write_bytes(file.read_bytes()[:900])
    with pytest.raises(DataError, match=r"sample 1 of Country211 cannot be read as an image .*truncated"):
        loaded(tmp_path, {"name": "torchvision", "dataset": "Country211"})


WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no such class": ({"dataset": "MNSIT"}, ["data.dataset.dataset", "torchvision.datasets has no", "mean 'MNIST'?"]),
    "not there": (
        {"dataset": "CIFAR10", "options": {}},
        ["data.dataset: CIFAR10 is not in data.root", "point data.root"],
    ),
    "no such option": ({"options": {"colour": 1}}, ["data.dataset: FakeData", "colour", "data.dataset.options"]),
    "no splits": ({"train_split": "easy"}, ["data.dataset.train_split", "no splits with names", "'easy'"]),
    "one class": ({"options": {"size": 9, "num_classes": 1}}, ["data.dataset.dataset", "two classes at least"]),
}


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_with_its_remedy(case: str, tmp_path: Path) -> None:
    options, words = WRONG[case]
    message = refusal(tmp_path, FAKE | options, root="data")
    assert [word for word in words if word not in message] == [], message
