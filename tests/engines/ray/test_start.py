"""What keeps Ray from starting is told with what to do about it, before anything is lost."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedkd.core.errors import RunError
from fedkd.engines.ray import cluster


@pytest.fixture
def web_server() -> Iterator[str]:
    """The address of a program that is no Ray."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_a_port_that_another_program_has_is_named(web_server: str) -> None:
    with pytest.raises(RunError, match=f"another program than Ray has the port at '{web_server}'; give the address"):
        cluster.attach_ray(web_server, verbose=False)


def test_the_folder_of_sessions_is_short_enough_for_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/tmp")
    assert cluster.session_folder() == Path("/tmp/ray")
    for name in ("x" * 80, "é" * 40):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.setenv("TMPDIR", str(folder))
        assert cluster.session_folder() == Path("/tmp/ray")
        monkeypatch.setenv("RAY_TMPDIR", str(folder))
        assert cluster.session_folder() == Path("/tmp/ray")
        monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setattr("os.access", lambda *arguments: False)
    with pytest.raises(RunError, match="set RAY_TMPDIR to such a folder, or set engine"):
        cluster.session_folder()


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: /x", "RAY_TMPDIR"),
        ("[Errno 98] Address already in use", "another program has the port"),
        ("The current node timed out during startup. This could happen because the GCS is overloaded", "less so"),
        ("it did not start within 120 s", "less so"),
        ("Attempting to cap object store memory usage at 1 bytes, but the minimum is 78643200", "--shm-size"),
        ("[Errno 28] No space left on device", "has no room"),
        ("[Errno 12] Cannot allocate memory", "too little free memory"),
        ("something else", "--verbose"),
    ],
)
def test_every_reason_has_a_remedy(reason: str, remedy: str) -> None:
    text = cluster.start_remedy(reason)
    assert remedy in text
    assert "engine.kind=inline" in text
