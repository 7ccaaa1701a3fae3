"""Tracebacks of failed clients in a run's folder: few, and of those that have one."""

from pathlib import Path

import pytest

from fedkd.core.messages import Job, Reply
from fedkd.results import tracebacks
from fedkd.results.tracebacks import Tracebacks


def test_as_many_are_kept_as_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracebacks, "MOST", 2)
    kept = Tracebacks(tmp_path)
    job = Job("round", 3, "{}")
    assert not kept.keep(job, Reply(0))
    assert not kept.folder.exists()
    found = [kept.keep(job, Reply(client, error="x", traceback=f"of {client} \ud800")) for client in (1, 2, 4)]
    assert found == [True, True, False]
    # The same again, as when a round is repeated, takes no more room.
    assert kept.keep(job, Reply(2, error="x", traceback="again"))
    assert (kept.folder / "round_00003_client_000001.txt").read_text() == "of 1 \\ud800"
    assert (kept.folder / "round_00003_client_000002.txt").read_text() == "again"
    assert len(list(kept.folder.iterdir())) == 2


def test_those_of_a_secure_sums_steps_have_files_of_their_own(tmp_path: Path) -> None:
    kept = Tracebacks(tmp_path)
    assert kept.keep(Job("secure/mask", 3, "{}"), Reply(1, error="x", traceback="of 1"))
    assert [path.name for path in kept.folder.iterdir()] == ["round_00003_secure_mask_client_000001.txt"]
