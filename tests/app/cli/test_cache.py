"""``fedkd cache``: what there is, and clearing it."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from fedkd.app.cli.main import app
from fedkd.results.cache import Cache


def command(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["cache", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_it_is_shown_and_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKD_CACHE", str(tmp_path / "kept"))
    monkeypatch.setenv("FEDKD_CACHE_GB", "1.5")
    assert command() == f"{tmp_path / 'kept'}\n0.0 MB (nothing), of 1.5 GB at most\n"
    for kind, digit in (("client", "1"), ("client", "2"), ("control", "3")):
        Cache.of_user().save(f"{kind}-{digit * 64}", {"values": torch.zeros(100_000)})
    assert command() == f"{tmp_path / 'kept'}\n1.2 MB (2 clients' replies, 1 controls), of 1.5 GB at most\n"
    assert command("clear") == f"{tmp_path / 'kept'}: removed 1.2 MB (2 clients' replies, 1 controls)\n"
    assert "(nothing)" in command()


def test_help_says_how_to_move_and_to_bound_it() -> None:
    for word in ("FEDKD_CACHE ", "FEDKD_CACHE_GB", "clear"):
        assert word in command("--help")
