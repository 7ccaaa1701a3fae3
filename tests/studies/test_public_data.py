"""The study of public sets, small: its cells are what runs give, and its figures are of these."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studies.public_data import study
from studies.public_data.settings import PRESETS, Cell

from fedkd import load_config, run_experiment
from fedkd.config.load import to_mapping
from tests.support.drawn_figures import figures_drawn

SMALL = PRESETS["small"]


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("public_data")
    asked = ["--seeds", "0", "--workers", "1", "--out", str(folder), "--runs", str(folder / "runs")]
    with figures_drawn():
        assert study.main(asked) == 0
    return folder


@pytest.fixture(scope="module")
def rows(where: Path) -> dict[tuple[str, str], dict[str, Any]]:
    content = json.loads((where / "public_data.json").read_text())
    return {(row["cell"], row["strategy"]): row for row in content["rows"]}


@pytest.mark.parametrize(
    ("cell", "strategy"), [(Cell(300, 60, wrong=0.4), "selective"), (Cell(300, 60, "inverted"), "stacked")]
)
def test_a_cell_is_what_a_run_gives(
    rows: dict[tuple[str, str], dict[str, Any]], cell: Cell, strategy: str, tmp_path: Path
) -> None:
    config = to_mapping(SMALL.config("alpha=0.3", 0, cell, strategy))
    found = run_experiment(
        load_config(config, ["engine.kind=inline", "controls=[public_only]"]), tmp_path / "run"
    ).summary
    row = rows[cell.name, strategy]
    reached = {"values": found.student_accuracy, "public_only_values": found.controls["public_only"]}
    for name, accuracy in reached.items():
        assert accuracy is not None
        assert row[name] == [pytest.approx(100 * accuracy)], name


def test_all_cells_are_there_and_gains_are_over_the_labels_alone(
    where: Path, rows: dict[tuple[str, str], dict[str, Any]]
) -> None:
    assert set(rows) == {(cell.name, strategy) for cell in SMALL.cells for strategy in cell.strategies}
    reference = rows[SMALL.reference.name, "mean"]
    for (cell, strategy), row in rows.items():
        assert (row["public_only"] is None) == (row["gain"] is None) == (row["labels"] == 0), cell
        if row["gain"] is not None:
            assert row["gain"][0] == pytest.approx(np.mean(row["values"]) - np.mean(row["public_only_values"]))
        if strategy == "mean" and row is not reference:
            assert row["versus_reference"][0] == pytest.approx(row["values"][0] - reference["values"][0])
        if row["size"] == 60:
            assert row["public_only_values"] == reference["public_only_values"], "the labels are the same"
    with (where / "public_data.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(rows)
    assert (where / "public_data.png").stat().st_size > 10_000


def test_a_second_call_only_writes_the_tables_again(where: Path) -> None:
    asked = ["--seeds", "0", "--out", str(where / "again"), "--runs", str(where / "runs")]
    assert study.main(asked) == 0
    for kind in ("json", "md", "csv"):
        assert (where / f"again/public_data.{kind}").read_text() == (where / f"public_data.{kind}").read_text()
