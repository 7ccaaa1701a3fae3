"""A client's memory of secure sums: kept in one piece, told from another's, and never silently begun anew."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedkd.client.secure_state import SessionStore
from fedkd.core.errors import RunError
from fedkd.privacy.secure_sum import ProtocolError

RUN = bytes(range(32))


def written(folder: Path, client: int = 3, run: bytes = RUN) -> Path:
    """The file of a client that has helped to unmask one sum."""
    with SessionStore.of(str(folder), run, client) as store:
        store.begin(1, 1)
        store.note_report("ab" * 32)
        store.note_release([0, 1, 3])
        store.save({"done": 5})
    (path,) = folder.glob(f"secure_sums/{run.hex()[:32]}/client_{client:06d}.json")
    return path


def opened(folder: Path) -> None:
    with SessionStore.of(str(folder), RUN, 3) as store:
        store.check_release([0, 1, 2, 3], noisy=True, repeats=9)


def test_what_was_released_is_remembered_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(ProtocolError, match=r"round 1 was unmasked before, over clients \[0, 1, 3\]"):
        opened(tmp_path)
    with SessionStore.of(str(tmp_path), RUN, 3) as store:
        store.check_release([3, 1, 0], noisy=False, repeats=0)
        assert store.state(1) == {"done": 5}
        with pytest.raises(ProtocolError, match="begun no secure sum in round 2"):
            store.state(2)


def test_another_run_and_another_client_have_another_file(tmp_path: Path) -> None:
    written(tmp_path)
    for run, client in ((bytes(32), 3), (RUN, 4)):
        with SessionStore.of(str(tmp_path), run, client) as store:
            assert store.sessions == 0


def edited(change: Callable[[dict[str, Any]], None]) -> Callable[[bytes], bytes]:
    def edit(content: bytes) -> bytes:
        whole = json.loads(content)
        change(whole)
        return json.dumps(whole).encode()

    return edit


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "cut": lambda content: content[:-20],
    "no JSON": lambda content: b"\xff\x00",
    "another value": lambda content: b"[]",
    "nested without end": lambda content: b"[" * 200_000,
    "forgotten releases": edited(lambda whole: whole["content"].update(released=[])),
    "another count": edited(lambda whole: whole["content"].update(sessions=0)),
    "without a digest": edited(lambda whole: whole.pop("sha256")),
    "with more": edited(lambda whole: whole.update(more=1)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_memory_is_named_and_not_begun_anew(tmp_path: Path, damage: str) -> None:
    path = written(tmp_path)
    spoilt = DAMAGE[damage](path.read_bytes())
    path.write_bytes(spoilt)
    with pytest.raises(RunError, match=r"client_000003\.json cannot be used .* bring back the file as it was"):
        opened(tmp_path)
    assert path.read_bytes() == spoilt


def test_the_memory_of_another_client_or_run_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path)
    own = path.read_bytes()
    for client, run in ((4, RUN), (3, bytes(32))):
        path.write_bytes(written(tmp_path / "other", client, run).read_bytes())
        with pytest.raises(RunError, match=rf"it is that of client {client} in run {run.hex()[:32]}"):
            opened(tmp_path)
    path.write_bytes(own)
    with pytest.raises(ProtocolError):
        opened(tmp_path)


def test_steps_of_one_client_wait_for_one_another(tmp_path: Path) -> None:
    inside, counts = threading.Event(), []

    def second() -> None:
        inside.wait(10)
        with SessionStore.of(str(tmp_path), RUN, 3) as store:
            counts.append(store.sessions)

    thread = threading.Thread(target=second)
    thread.start()
    with SessionStore.of(str(tmp_path), RUN, 3) as store:
        inside.set()
        thread.join(0.3)
        assert thread.is_alive(), "it waits"
        store.begin(1, 1)
        store.save({})
    thread.join(10)
    assert counts == [1]
