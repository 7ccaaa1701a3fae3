"""Tables with one sample a row."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fedkd.data.source import SampleSet
from tests.support.data_files import finished, loaded, refusal, write_table

SOURCE = {"name": "csv", "path": "table.csv", "label": "ill"}
ROWS = 40


def columns() -> dict[str, list[object]]:
    """Ages, cities, and who is ill."""
    return {
        "age": list(range(20, 20 + ROWS)),
        "city": ["Rome", "Oslo"] * (ROWS // 2),
        "smokes": ["true", "False"] * (ROWS // 2),
        "clinic": ["north", "south", "west", "east"] * (ROWS // 4),
        "ill": ["no", "yes"] * (ROWS // 2),
    }


def encoded(data: SampleSet, split: str = "train") -> torch.Tensor:
    """A split as numbers, by what the train rows are like."""
    assert data.encoder is not None
    raw = getattr(data, f"{split}_inputs")[:]
    return data.encoder.fit(data.train_inputs[:])(raw)


def test_a_table_runs_with_clients_and_several_labels(tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv", columns())
    source = SOURCE | {"client": "clinic", "label": ["ill", "smokes"]}
    assert finished(tmp_path, source)["rounds"] == 1
    data = loaded(tmp_path, source)
    assert data.class_names == ("no", "yes")
    assert data.client_names == ("east", "north", "south", "west")
    assert data.train_clients is not None
    assert data.train_clients[:4].tolist() == [1, 2, 3, 0]
    assert data.other_labels["smokes"].class_names == ("False", "true")
    assert data.other_labels["smokes"].train[:4].tolist() == [1, 0, 1, 0]
    # Every fifth row of a class.
    assert data.test_labels.tolist() == [0, 1] * 4


def test_a_table_that_has_changed_is_read_again(tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv", columns())
    before = finished(tmp_path, SOURCE)["student_sha256"]
    (tmp_path / "out").rename(tmp_path / "before")
    write_table(tmp_path / "table.csv", columns() | {"age": [row**2 for row in range(ROWS)]})
    assert finished(tmp_path, SOURCE)["student_sha256"] != before
    (tmp_path / "table.csv").write_text("age,ill", encoding="utf-8")
    (tmp_path / "out").rename(tmp_path / "after")
    assert "table.csv has no rows" in refusal(tmp_path, SOURCE)


def test_numbers_stay_numbers_and_names_become_features(tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv", columns())
    found = encoded(loaded(tmp_path, SOURCE | {"drop": ["clinic"]}))
    # Age, Oslo, Rome, False, True.
    assert found[:2].tolist() == [[20, 0, 1, 0, 1], [21, 1, 0, 1, 0]]
    assert found.dtype == torch.float32
    forced = encoded(loaded(tmp_path, SOURCE | {"drop": ["clinic", "city", "smokes"], "categorical": ["age"]}))
    assert forced.shape == (32, 32)


def test_what_is_missing_and_what_is_unknown_is_taken_from_the_public_rows_alone(tmp_path: Path) -> None:
    train: dict[str, list[object]] = {
        "age": [1, 2, 9, "NA"],
        "city": ["Rome", "Oslo", "?", "Rome"],
        "ill": [0, 1, 0, 1],
    }
    later: dict[str, list[object]] = {"ill": [0, 1, 1], "city": ["Rome", "Paris", ""], "age": ["", 5, 1e6]}
    write_table(tmp_path / "table.csv", train)
    write_table(tmp_path / "later.csv", later)
    data = loaded(tmp_path, SOURCE | {"test": "later.csv"})
    # Age, a city that is missing, Oslo, Rome.
    assert encoded(data).tolist() == [[1, 0, 0, 1], [2, 0, 1, 0], [9, 1, 0, 0], [2, 0, 0, 1]]
    assert encoded(data, "test").tolist() == [[2, 0, 0, 1], [5, 0, 0, 0], [1e6, 1, 0, 0]]
    assert data.test_labels.tolist() == [0, 1, 1]


def test_of_very_many_values_the_rare_ones_share_a_feature(tmp_path: Path) -> None:
    names = [f"name {number}" for number in range(300)]
    write_table(tmp_path / "table.csv", {"who": names + names[:50], "ill": [0, 1] * 175})
    assert encoded(loaded(tmp_path, SOURCE)).shape[1] == 100


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([10, 9, 10, 9] * 10, ("9", "10")),
        ([1.0, 0.0] * 20, ("0", "1")),
        (["b", "None"] * 20, ("None", "b")),
        (["01", "1"] * 20, ("01", "1")),
        ([True, False] * 20, ("False", "True")),
        ([-1, 1] * 20, ("-1", "1")),
    ],
)
def test_classes_are_what_is_written_in_the_order_of_numbers_or_texts(
    labels: list[object], names: tuple[str, ...], tmp_path: Path
) -> None:
    write_table(tmp_path / "table.csv", columns() | {"ill": labels})
    data = loaded(tmp_path, SOURCE)
    assert data.class_names == names
    assert names[int(data.train_labels[0])] == str(labels[0]).removesuffix(".0")


def test_other_delimiters_quotes_and_the_mark_of_utf_8_are_read(tmp_path: Path) -> None:
    table = {"age": range(40), "where": ['"Rome; ""old"""', "Köln"] * 20, "ill": [0, 1] * 20}
    write_table(tmp_path / "table.csv", table, delimiter=";")
    content = (tmp_path / "table.csv").read_bytes()
    (tmp_path / "table.csv").write_bytes(b"\xef\xbb\xbf" + content)
    data = loaded(tmp_path, SOURCE | {"delimiter": ";"})
    rows: Any = data.train_inputs[:]
    assert list(rows["age"][:2]) == [0, 1]
    assert list(rows["where"][:2]) == ['Rome; "old"', "Köln"]
    write_table(tmp_path / "table.tsv", columns(), delimiter="\t")
    assert encoded(loaded(tmp_path, SOURCE | {"path": "table.tsv"})).shape == (32, 9)


def test_the_numbers_of_rows_that_pandas_writes_are_nothing_to_learn_from(tmp_path: Path) -> None:
    pd.DataFrame(columns()).to_csv(tmp_path / "table.csv")
    rows: Any = loaded(tmp_path, SOURCE).train_inputs[:]
    assert list(rows.columns) == ["age", "city", "smokes", "clinic"]


TABLE: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "no such label": ({}, {"label": "sick"}, ["data.dataset.label", "table.csv has no 'sick'", "age, city"]),
    "a label like one": ({}, {"label": "Ill"}, ["data.dataset.label", "did you mean 'ill'?"]),
    "no such client": ({}, {"client": "clinics"}, ["data.dataset.client", "did you mean 'clinic'?"]),
    "nothing to drop": ({}, {"drop": ["height"]}, ["data.dataset.drop", "no 'height'"]),
    "no category": ({}, {"categorical": ["agee"]}, ["data.dataset.categorical", "did you mean 'age'?"]),
    "the client is the label": ({}, {"client": "ill"}, ["data.dataset.client", "column of labels", "'ill'"]),
    "a label twice": ({}, {"label": ["ill", "ill"]}, ["data.dataset.label", "once"]),
    "a missing label": ({"ill": ["no", "yes", ""] + ["no"] * 37}, {}, ["data.dataset.label", "row 3 of", "no label"]),
    "a label NaN": ({"ill": [0, "NaN"] * 20}, {}, ["data.dataset.label", "row 2 of", "leave the sample out"]),
    "a missing client": ({"clinic": ["x"] * 39 + [""]}, {"client": "clinic"}, ["row 40 of", "no client"]),
    "fractions": ({"ill": [0, 1.5] * 20}, {}, ["data.dataset.label", "must hold classes", "'1.5' in row 2"]),
    "one class": ({"ill": ["no"] * 40}, {}, ["data.dataset.label", "two classes at least", "'no'"]),
    "all different": ({"ill": range(40)}, {}, ["data.dataset.label", "no two samples of ill in"]),
    "infinity": ({"age": [1] * 39 + ["inf"]}, {}, ["data.dataset.path", "got inf in row 40", "column age"]),
    "beyond float32": ({"age": [1e39] * 40}, {}, ["data.dataset.path", "1e+39 in row 1"]),
    "nothing left": ({}, {"drop": ["age", "city", "smokes", "clinic"]}, ["data.dataset.path", "drop less"]),
    "no such file": ({}, {"path": "tables.csv"}, ["data.dataset.path", "there is no file", "mean 'table.csv'"]),
    "two letters between": ({}, {"delimiter": "::"}, ["data.dataset.delimiter", "at most 1 character"]),
}


@pytest.mark.parametrize("case", TABLE)
def test_what_is_wrong_in_a_table_is_named_with_its_remedy(case: str, tmp_path: Path) -> None:
    changed, options, words = TABLE[case]
    write_table(tmp_path / "table.csv", columns() | changed)
    message = refusal(tmp_path, SOURCE | options)
    assert [word for word in words if word not in message] == [], message


FILES = {
    "empty": (b"", ["data.dataset.path", "table.csv is empty"]),
    "names alone": (b"age,ill\n", ["data.dataset.path", "no rows"]),
    "a long row": (b"age,ill\n1,0\n2,1,3\n", ["data.dataset.path", "line 3 of", "has 3 columns", "the first line 2"]),
    "a short row": (b"age,ill\n1,0\n2\n", ["data.dataset.path", "line 3 of", "has 1 columns"]),
    "not UTF-8": ("age,ill\nKöln,0\n".encode("latin-1"), ["data.dataset.path", "not UTF-8", "encoding"]),
    "a column twice": (b"ill,ill\n1,0\n", ["data.dataset.path", "two columns 'ill'"]),
    "another delimiter": (b"age;ill\n1;0\n2;1\n", ["data.dataset.label", "has no 'ill'", "age;ill"]),
    "zeros": (b"age,ill\n\0,0\n1,1\n" * 3, ["data.dataset"]),
}


@pytest.mark.parametrize("case", FILES)
def test_what_is_wrong_with_a_file_is_named_with_its_remedy(case: str, tmp_path: Path) -> None:
    content, words = FILES[case]
    (tmp_path / "table.csv").write_bytes(content)
    message = refusal(tmp_path, SOURCE)
    assert [word for word in words if word not in message] == [], message


LATER: dict[str, tuple[dict[str, list[object]], list[str]]] = {
    "a column less": ({"age": [1, 2], "ill": ["no", "yes"]}, ["data.dataset.test", "later.csv has no 'city'"]),
    "names for numbers": (
        {"age": [1, "old"], "city": ["Rome"] * 2, "smokes": [1, 0], "clinic": ["x"] * 2, "ill": ["no", "yes"]},
        ["data.dataset.test", "got 'old' in row 2", "column age"],
    ),
    "a new class": (
        {"age": [1, 2], "city": ["Rome"] * 2, "smokes": [1, 0], "clinic": ["x"] * 2, "ill": ["no", "maybe"]},
        ["data.dataset.label", "got 'maybe'", "leave such test samples out"],
    ),
}


@pytest.mark.parametrize("case", LATER)
def test_a_test_table_must_be_like_the_train_table(case: str, tmp_path: Path) -> None:
    table, words = LATER[case]
    write_table(tmp_path / "table.csv", columns())
    write_table(tmp_path / "later.csv", table)
    message = refusal(tmp_path, SOURCE | {"test": "later.csv"})
    assert [word for word in words if word not in message] == [], message


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "table.npz", x=[1])
    message = refusal(tmp_path, SOURCE | {"path": "table.npz"})
    assert "data.dataset.path: must be a file that ends in .csv, .tsv, .txt, got" in message
