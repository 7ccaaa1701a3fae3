"""The process in which runs die, and uninterrupted runs to compare with, once for all files beside this one."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.interrupted import PLAIN, REMEMBERING, Zygote, results


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    found = Zygote()
    yield found
    found.close()


@pytest.fixture(scope="session")
def plain(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of an uninterrupted plain run."""
    out = tmp_path_factory.mktemp("plain") / "run"
    zygote.complete(out, PLAIN)
    return results(out)


@pytest.fixture(scope="session")
def remembering(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("remembering") / "run"
    zygote.complete(out, REMEMBERING)
    assert list((out / "client_state").iterdir()), "the clients of this algorithm must keep something"
    return results(out)


@pytest.fixture(scope="session")
def _two_rounds_done(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stopped") / "run"
    zygote.killed(out, PLAIN, {"stage": "clients", "round": 3, "done": 0})
    return out


@pytest.fixture
def stopped(_two_rounds_done: Path, tmp_path: Path) -> Path:
    """A run of which two rounds are done: a copy for the test to spoil."""
    return Path(shutil.copytree(_two_rounds_done, tmp_path / "stopped"))
