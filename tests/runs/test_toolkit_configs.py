"""Every configuration of the toolkit does what its first line says, with little of everything."""

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedkd.app.cli import main as cli
from fedkd.config.load import load_config
from tests.support import ROOT

FILES = sorted((ROOT / "configs/toolkit").glob("*.yaml"))
LITTLE = {
    "engine.kind": "inline",
    "rounds": "1",
    "controls": "[]",
    "data.private_size": "160",
    "data.public.size": "80",
    "data.public.labelled": "40",
    "clients.count": "4",
    "clients.epochs": "1",
    "distillation.steps": "4",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_does_what_its_first_line_says(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    program, command, *words = shlex.split(first)
    assert (program, words[0]) == ("fedkd", str(path.relative_to(ROOT)))
    less = dict(LITTLE)
    if load_config(path).teacher is not None:
        less["teacher.epochs"] = "1"
    changed = [f"{key}={value}" for key, value in less.items()]
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(
        cli.app, [command, *words, *changed, "--out", str(tmp_path / "run")], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    assert list((tmp_path / "run").glob("*.json"))
