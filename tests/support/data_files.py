"""Small data sets as users have them in files, and the command on them."""

import contextlib
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
from PIL import Image

from fedkd.app.cli import main as cli
from fedkd.core.plugins import DATASET, build
from fedkd.data.source import DataSource, SampleSet

SMALL = {
    "rounds": 1,
    "controls": [],
    "engine": {"kind": "inline"},
    "clients": {"count": 2, "epochs": 1},
    "student": {"model": "mlp"},
    "distillation": {"steps": 3},
}


def command(folder: Path, dataset: Mapping[str, Any], *, model: str = "mlp", **data: Any) -> tuple[int, str]:
    """The status of ``fedkd run`` on a data set, called in ``folder``, and what it says of errors."""
    config = (
        SMALL
        | {"student": {"model": model}}
        | {"data": {"dataset": dict(dataset), "public": {"size": 12, "labelled": 6}, **data}}
    )
    (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
    said = io.StringIO()
    with (
        contextlib.chdir(folder),
        mock.patch.object(sys, "argv", ["fedkd", "run", "config.yaml", "--out", "out"]),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(said),
    ):
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0), said.getvalue()
    return 0, said.getvalue()


def finished(folder: Path, dataset: Mapping[str, Any], *, model: str = "mlp", **data: Any) -> dict[str, Any]:
    """The summary of a run on a data set."""
    status, said = command(folder, dataset, model=model, **data)
    assert status == 0, said
    summary: dict[str, Any] = json.loads((folder / "out/summary.json").read_text(encoding="utf-8"))
    return summary


def refusal(folder: Path, dataset: Mapping[str, Any], **data: Any) -> str:
    """What the command says in one line of a data set that it refuses, without a traceback and without a run."""
    status, said = command(folder, dataset, **data)
    assert status == cli.EXIT_BAD_INPUT, (status, said)
    assert "Traceback" not in said
    assert not (folder / "out").exists()
    return " ".join(said.split())


def loaded(folder: Path, dataset: Mapping[str, Any]) -> SampleSet:
    """What a data source gives when it is used in ``folder``, with that folder for downloads."""
    options = {key: value for key, value in dataset.items() if key != "name"}
    source: DataSource = build(DATASET, dataset["name"], options)
    with contextlib.chdir(folder):
        assert source.available(folder)
        return source.load(folder)


def write_image(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """An image of pixels [height, width] or [height, width, 3], in the format that the name's ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def pixels(*shape: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Random bytes."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_table(path: Path, columns: Mapping[str, Sequence[object]], delimiter: str = ",") -> None:
    """A table with a line of names; cells are written as they are."""
    lines = [delimiter.join(columns), *(delimiter.join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
