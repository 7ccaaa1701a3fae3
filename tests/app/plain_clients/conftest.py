"""Nodes keep what they are sent in a folder of the test's own."""

from pathlib import Path

import pytest

from fedkd.app.plain_clients import public_files


@pytest.fixture
def flower_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "flower"))
    monkeypatch.setattr(public_files, "_last", {})
    return tmp_path / "flower"
