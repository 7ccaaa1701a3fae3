"""A study of one's own begins with a folder in which everything runs at once."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from first_study import STEPS
from typer.testing import CliRunner

from fedkd.app.cli.main import app
from fedkd.core.errors import FolderError

PROGRAMS = {
    "fedkd": f"#!{sys.executable}\nfrom fedkd.app.cli.main import main\nmain()\n",
    "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
}


def test_everything_in_a_new_study_runs(tmp_path: Path) -> None:
    study = tmp_path / "my study"
    made = CliRunner().invoke(app, ["new", str(study)], catch_exceptions=False)
    assert made.exit_code == 0
    assert f"cd '{study}'" in made.output
    small = {"rounds": 1, "clients": {"count": 2, "epochs": 1}, "distillation": {"steps": 3}, "engine": {"workers": 1}}
    experiment = study / "experiment.yaml"
    experiment.write_text(yaml.safe_dump(yaml.safe_load(experiment.read_text(encoding="utf-8")) | small))
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, content in PROGRAMS.items():
        (programs / name).write_text(content)
        (programs / name).chmod(0o755)
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    environ = os.environ | {"PATH": path, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for step in STEPS[1:]:
        if "pdflatex" in step and shutil.which("pdflatex") is None:
            continue
        done = subprocess.run(step, shell=True, cwd=study, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    rows = (study / "runs/sweep/sweep.csv").read_text(encoding="utf-8").splitlines()
    assert [sum(row.startswith(f"{name},") for row in rows) for name in ("my_strategy", "stacked")] == [3, 3]
    assert "my_strategy" in (study / "runs/comparison.html").read_text(encoding="utf-8")
    names = re.findall(r"{((?:tables|figures)/\w+)}", (study / "paper/paper.tex").read_text(encoding="utf-8"))
    assert len(names) == 2
    for name in names:
        assert (study / "paper" / name).with_suffix(".tex" if name.startswith("tables") else ".pdf").is_file()
    assert (study / "paper/paper.pdf").is_file() == (shutil.which("pdflatex") is not None)


def test_nothing_that_is_there_is_touched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FolderError, match="is there already"):
        CliRunner().invoke(app, ["new", str(tmp_path)], catch_exceptions=False)
    assert [each.name for each in tmp_path.iterdir()] == ["notes.txt"]
