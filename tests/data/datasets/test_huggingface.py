"""Data sets that the library ``datasets`` reads, in folders of files as it finds them."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fedkd.core.errors import DataError
from tests.support.data_files import finished, loaded, pixels, refusal, write_image, write_table

# The library leaves the tables it has read open.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

LABELS = [0, 1] * 20
TABLE = {"name": "huggingface", "dataset": "things", "inputs": "body", "label": "kind"}


def write_csv(folder: Path, split: str, **columns: list[Any]) -> None:
    (folder / "things").mkdir(exist_ok=True)
    write_table(folder / f"things/{split}.csv", columns)


def test_a_folder_of_images_runs(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        for number in range(20):
            write_image(tmp_path / f"things/train/{kind}/{number:02}.png", pixels(6, 5, seed=number))
    source = TABLE | {"inputs": "image", "label": "label"}
    assert finished(tmp_path, source, root="data")["rounds"] == 1
    assert (tmp_path / "data/huggingface").is_dir()
    data = loaded(tmp_path, source)
    assert data.class_names == ("cat", "dog")
    assert data.train_inputs[:].shape == (32, 1, 6, 5)
    assert data.test_inputs[:][0, 0].tolist() == pixels(6, 5, seed=4).tolist()


def test_texts_with_clients_and_a_test_split(tmp_path: Path) -> None:
    write_csv(tmp_path, "train", body=["a b", "c"] * 20, kind=["x", "y"] * 20, who=["ann", "bob"] * 20)
    write_csv(tmp_path, "test", body=["d"], kind=["y"], who=["eve"])
    data = loaded(tmp_path, TABLE | {"client": "who", "length": 3})
    assert (data.class_names, data.client_names) == (("x", "y"), ("ann", "bob"))
    assert (len(data.train_labels), data.test_labels.tolist()) == (40, [1])
    assert data.encoder is not None
    assert data.encoder.fit(["b"])(data.train_inputs[:1]).tolist() == [[1, 2, 0]]


def test_numbers_and_arrays_of_them_and_other_names_of_splits(tmp_path: Path) -> None:
    (tmp_path / "things").mkdir()
    rows = np.arange(80.0).reshape(40, 2)
    for split in ("train", "validation"):
        frame = pd.DataFrame({"body": list(rows), "size": rows[:, 0], "kind": LABELS})
        frame.to_parquet(tmp_path / f"things/{split}.parquet")
    data = loaded(tmp_path, TABLE | {"test_split": "validation"})
    assert isinstance(data.train_inputs, torch.Tensor)
    assert data.train_inputs[:2].tolist() == [[0, 1], [2, 3]]
    assert data.train_inputs.dtype == torch.float32
    assert len(data.test_labels) == 40
    assert loaded(tmp_path, TABLE | {"inputs": "size"}).train_inputs[:2].tolist() == [[0], [2]]


WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no such column": ({"inputs": "bdy"}, ["data.dataset.inputs", "has no 'bdy'", "mean 'body'?"]),
    "no such label": ({"label": "kinds"}, ["data.dataset.label", "mean 'kind'?"]),
    "no such split": ({"train_split": "trian"}, ["data.dataset.train_split", "no split 'trian'", "mean 'train'?"]),
    "inputs as labels": ({"label": "body"}, ["data.dataset.label", "column of inputs"]),
    "a number for a label": ({"label": "share"}, ["data.dataset.label", "'0.5' in sample 0 of things"]),
    "not in reach": ({"dataset": "no/where"}, ["data.dataset.dataset", "no/where cannot be loaded"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_with_its_remedy(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    options, words = WRONG[case]
    write_csv(tmp_path, "train", body=["a", "b"] * 20, kind=LABELS, share=[0.5, 1.5] * 20)
    message = refusal(tmp_path, TABLE | options, root="data")
    assert [word for word in words if word not in message] == [], message


def test_what_is_no_data_is_refused_with_the_readers_reason(tmp_path: Path) -> None:
    (tmp_path / "things").mkdir()
    (tmp_path / "things/train.parquet").write_bytes(b"no parquet")
    assert "data.dataset.dataset: things cannot be loaded" in refusal(tmp_path, TABLE, root="data")


def test_code_beside_the_data_is_never_run(tmp_path: Path) -> None:
    write_csv(tmp_path, "train", body=["a", "b"] * 20, kind=LABELS)
    (tmp_path / "things/things.py").write_text("open('sprung', 'w')", encoding="utf-8")
    with pytest.raises(DataError, match=r"cannot be loaded .*needs no code"):
        loaded(tmp_path, TABLE)
    assert not list(tmp_path.rglob("sprung"))


def test_without_the_library_the_command_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv(tmp_path, "train", body=["a", "b"] * 20, kind=LABELS)
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install 'fedkd[huggingface]'" in refusal(tmp_path, TABLE)


def test_columns_are_found_by_type_or_name(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        for number in range(10):
            write_image(tmp_path / f"things/train/{kind}/{number:02}.png", pixels(6, 5, seed=number))
    found = loaded(tmp_path, {"name": "huggingface", "dataset": "things"})
    assert (found.class_names, found.train_inputs[:].shape[1:]) == (("cat", "dog"), (1, 6, 5))


def test_columns_that_nothing_tells_apart_have_to_be_named(tmp_path: Path) -> None:
    write_csv(tmp_path, "train", body=["a b", "c"] * 20, title=["p", "q"] * 20, label=["x", "y"] * 20)
    source = {"name": "huggingface", "dataset": "things"}
    assert refusal(tmp_path, source) == (
        "Error: data.dataset.inputs: things does not say which column it is, of body, title, label; name it"
    )
    assert loaded(tmp_path, source | {"inputs": "title"}).class_names == ("x", "y")
