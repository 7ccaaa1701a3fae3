"""The notebooks: every cell does what it shows, in a folder that is empty at first, and prints nothing twice."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support import ROOT

NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


def executed(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def texts(cell: Any) -> Iterator[str]:
    """What a cell has printed, line by line, without the codes for colours."""
    for output in cell.outputs:
        text = output.get("text") or output["data"].get("text/plain", "")
        yield from re.sub(r"\x1b\[\d*m", "", text).splitlines()


def test_notebooks_are_there_and_kept_without_outputs() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["first_look", "own_strategy"]
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        assert all(cell.get("outputs", []) == [] and cell.get("execution_count") is None for cell in cells)


def test_a_first_look_shows_rounds_tables_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = executed(ROOT / "docs/notebooks/first_look.ipynb", tmp_path, monkeypatch).cells
    begun = next(cell for cell in cells if "run_experiment(" in cell.source)
    lines = Counter(line for line in texts(begun) if line.strip())
    assert [line.split()[0] for line in lines if re.match(r" +\d/3 ", line)] == ["1/3", "2/3", "3/3"]
    assert max(lines.values()) == 1, "nothing is printed twice"
    assert "ipywidgets" not in "".join(lines)
    # The bar is one element, and empty in the end.
    bars = [output for output in begun.outputs if output["data"].get("text/plain") == ""]
    assert [output["data"]["text/html"] for output in bars] == [""]
    pictures = [cell for cell in cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    assert [cell.source for cell in pictures] == [
        f"run.plot.{name}()" for name in ("label_distribution", "accuracy", "balance")
    ]
    shown = next(cell for cell in cells if cell.source == "run").outputs[0]["data"]["text/html"]
    assert "<table" in shown
    assert "public_only" in shown
    assert "of the test samples" in next(texts(cells[-1]))


def test_an_own_strategy_is_compared_seed_by_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = executed(ROOT / "docs/notebooks/own_strategy.ipynb", tmp_path, monkeypatch).cells
    verdict = next(text for cell in cells if "half = " in cell.source for text in texts(cell))
    assert re.match(r"confident − stacked: [+-]\d+\.\d ± \d+\.\d points", verdict)
    assert len(list((tmp_path / "runs/strategies").glob("*/summary.json"))) == 6
