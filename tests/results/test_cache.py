"""The cache: what is kept comes back whole or not at all, within its bound, whoever else uses it."""

import hashlib
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from fedkd.core.errors import ConfigError
from fedkd.results.cache import FOLDER, GIGABYTES, Cache
from tests.support.processes import Program

HOLDER = """
import sys, time
from pathlib import Path
from fedkd.results.cache import Cache
with Cache(Path(sys.argv[1]), 10**6).claim(sys.argv[2], wait=True) as taken:
    print(taken, flush=True)
    time.sleep(600)
"""


def key(number: int, kind: str = "client") -> str:
    return f"{kind}-{hashlib.sha256(bytes([number])).hexdigest()}"


def filling(number: int, floats: int = 1000) -> dict[str, object]:
    return {"number": number, "values": torch.full((floats,), float(number))}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", 10**9)


def size(cache: Cache) -> int:
    return sum(path.stat().st_size for path in cache.folder.glob("*.pt"))


def test_what_is_kept_comes_back(cache: Cache) -> None:
    weights = torch.rand(3).double()
    content = {"history": [0.1, 1 / 3], "bar": None, "network": {"w": weights, "n": torch.tensor(7)}}
    assert cache.load(key(1)) is None
    cache.save(key(1), content)
    found = Cache(cache.folder, 10**9).load(key(1))
    assert found is not None
    assert (found["history"], found["bar"]) == (content["history"], None)
    network = found["network"]
    assert network["w"].dtype == torch.float64
    assert torch.equal(network["w"], weights)
    assert cache.load(key(2)) is None
    assert cache.folder.stat().st_mode & 0o077 == 0, "what is known of clients is nobody else's business"


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "another"])
def test_a_damaged_entry_is_none_and_is_removed(cache: Cache, damage: str) -> None:
    cache.save(key(1), filling(1))
    cache.save(key(2), filling(2))
    path = cache.folder / f"{key(1)}.pt"
    content = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(content[:-100])
        case "changed":
            path.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
        case "empty":
            path.write_bytes(b"")
        case _:
            shutil.copyfile(cache.folder / f"{key(2)}.pt", path)
    assert cache.load(key(1)) is None
    assert not path.exists()
    cache.save(key(1), filling(1))
    assert cache.load(key(1)) is not None


def test_it_stays_within_its_bound_and_keeps_what_is_used(tmp_path: Path) -> None:
    bound = 100_000
    cache = Cache(tmp_path, bound)
    for number in range(60):
        cache.save(key(number), filling(number))
        assert size(cache) <= bound
        # A file system's clock may tick slowly.
        path = cache.folder / f"{key(number)}.pt"
        os.utime(path, (time.time() - 1000 + number,) * 2)
        assert cache.load(key(0)) is not None, "what was used last goes last"
    assert cache.load(key(59)) is not None
    assert cache.load(key(1)) is None


def test_several_processes_stay_within_the_bound_together(tmp_path: Path) -> None:
    bound = 200_000
    writer = (
        "import sys, torch; from pathlib import Path; from fedkd.results.cache import Cache\n"
        "cache = Cache(Path(sys.argv[1]), int(sys.argv[2]))\n"
        "for n in range(60): cache.save(f'client-{int(sys.argv[3]) * 1000 + n:064x}', {'v': torch.zeros(500)})\n"
    )
    programs = [Program("-c", writer, str(tmp_path), str(bound), str(number)) for number in range(2)]
    for program in programs:
        assert program.communicate(timeout=120)[1] == ""
    found = Cache(tmp_path, bound)
    assert 0 < size(found) <= bound
    for path in tmp_path.glob("client-*.pt"):
        assert found.load(path.stem) is not None
    assert not list(tmp_path.glob("*.partial"))


def test_work_is_claimed_by_one_process_and_is_free_when_that_dies(cache: Cache) -> None:
    with Program("-c", HOLDER, str(cache.folder), key(1)) as program:
        assert program.stdout is not None
        told = program.stdout.readline()
        with cache.claim(key(1), wait=False) as taken, cache.claim(key(2), wait=False) as other:
            before = taken, other
        os.kill(program.pid, signal.SIGKILL)
        with cache.claim(key(1), wait=True) as after:
            assert (told, before, after) == ("True\n", (False, True), True)


def test_a_folder_that_cannot_be_used_harms_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    cache = Cache(tmp_path / "file" / "cache", 10**9)
    cache.save(key(1), filling(1))
    assert cache.load(key(1)) is None
    with cache.claim(key(1), wait=True) as taken:
        assert taken
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_the_environment_says_where_it_is_and_how_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setenv(GIGABYTES, "0.5")
    assert (Cache.of_user().folder, Cache.of_user().most_bytes) == (tmp_path, 500_000_000)
    monkeypatch.setenv(GIGABYTES, "0")
    Cache.of_user().save(key(1), filling(1))
    assert not list(tmp_path.iterdir())
    monkeypatch.delenv(FOLDER)
    assert Cache.of_user().folder == Path("~/.cache/fedkd/results").expanduser()
    for wrong in ("much", "-1", "inf", "nan"):
        monkeypatch.setenv(GIGABYTES, wrong)
        with pytest.raises(
            ConfigError, match=f"FEDKD_CACHE_GB: must be a number of gigabytes from 0 on, got '{wrong}'"
        ):
            Cache.of_user()


def test_usage_and_clearing(cache: Cache) -> None:
    assert cache.usage().entries == {}
    cache.save(key(1), filling(1))
    cache.save(key(2), filling(2))
    cache.save(key(1, "control"), filling(3))
    with cache.claim(key(3), wait=True):
        assert cache.usage().entries == {"client": 2, "control": 1}
    assert cache.usage().bytes == size(cache)
    assert cache.clear().entries == {"client": 2, "control": 1}
    assert cache.usage().entries == {}
