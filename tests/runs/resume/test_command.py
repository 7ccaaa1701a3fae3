"""``fedkd run --resume`` as it is typed."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from fedkd.app.cli import main as cli
from fedkd.results.lock import locked
from tests.support.interrupted import PLAIN, Zygote, results


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit status of ``fedkd run`` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["fedkd", "run", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as ended:
        return int(str(ended.code))
    return 0


def test_the_command_goes_on_without_a_config_and_leaves_a_finished_run_alone(
    stopped: Path, plain: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FEDKD_FIGURES", "1")
    assert command(monkeypatch, "engine.timeout=50", "controls=[]", "--resume", "--out", stopped) == 0
    shown = capsys.readouterr().out
    assert f"resuming {stopped}: 2 rounds done, going on with round 3 of 3" in shown
    assert "3/3" in shown
    assert "1/3" not in shown
    assert (stopped / "rounds.jsonl").read_bytes() == plain["rounds.jsonl"]
    before = {path: path.stat().st_mtime_ns for path in stopped.rglob("*")}
    assert command(monkeypatch, "--resume", "--out", stopped) == 0
    assert f"{stopped} is finished, 3 rounds; nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in stopped.rglob("*")} == before
    # Unless it was interrupted after its summary, while it drew.
    for name in ("lambda", "label_distribution"):
        figure = stopped / "plots" / f"{name}.png"
        figure.unlink()
        assert command(monkeypatch, "--resume", "--out", stopped) == 0
        assert figure.is_file()


def test_the_command_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    for arguments, words in (
        (["quickstart", "--resume"], ["--resume", "--out DIR"]),
        ([], ["CONFIG", "quickstart"]),
        (["--resume", "--out", "none"], ["--out", "none holds no run"]),
        (["quickstart", "--resume", "--out", "taken"], ["--out", "taken", "empty folder"]),
    ):
        assert command(monkeypatch, *arguments) == cli.EXIT_BAD_INPUT
        message = capsys.readouterr().err
        assert all(word in message for word in words), message
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["taken", "thesis.txt"]


def test_resuming_where_there_is_nothing_starts_anew(zygote: Zygote, plain: dict[str, Any], tmp_path: Path) -> None:
    for folder in (tmp_path / "absent" / "run", tmp_path):
        assert zygote.complete(folder / "run", PLAIN, resume=True) == []
        assert results(folder / "run") == plain


def test_a_folder_in_use_is_refused_until_its_process_ends(
    stopped: Path, zygote: Zygote, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (stopped / "rounds.jsonl").read_bytes()
    with locked(stopped):
        assert command(monkeypatch, "--resume", "--out", stopped) == cli.EXIT_RUN_FAILED
        message = capsys.readouterr().err
        assert f"{stopped} is in use by process {os.getpid()} on " in message
        assert "in use" in zygote.run(stopped, PLAIN, resume=True)["error"]
    assert (stopped / "rounds.jsonl").read_bytes() == before
    zygote.complete(stopped, PLAIN, resume=True)
