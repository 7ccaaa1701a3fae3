"""An engine with a cache: the same replies, and no work done twice."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from fedkd.core.messages import Job, Reply
from fedkd.engines.cached import CachedEngine, SharedJobs
from fedkd.engines.inline import InlineEngine
from fedkd.engines.resources import Workload
from fedkd.results.cache import Cache

JOB = Job("work", 3, "text", {"weight": np.eye(3, dtype=np.float32)}, {2: {"secret": np.arange(3)}}, measure=True)


class Worker(InlineEngine):
    """The inline engine, and whom it was asked about at once."""

    def __init__(self, performer: str) -> None:
        super().__init__(Workload(client_fn=f"tests.support.engine_performers:{performer}"))
        self.asked: list[tuple[int, ...]] = []

    def run(self, job: Job, clients: Sequence[int]) -> Iterator[Reply]:
        self.asked.append(tuple(clients))
        return super().run(job, clients)


def keys(job: Job, clients: Sequence[int]) -> dict[int, str]:
    return {client: f"client-{sha256(bytes([job.round, client])).hexdigest()}" for client in clients}


def cached(worker: Worker, folder: Path, *, sound: bool = True, at_once: int | None = 1) -> CachedEngine:
    jobs = SharedJobs(lambda job: None if job.kind == "local" else replace(job, config="less"), keys, lambda: sound)
    return CachedEngine(worker, Cache(folder, 10**9), jobs, at_once)


def test_replies_come_from_the_cache_as_clients_gave_them(tmp_path: Path) -> None:
    first, again = Worker("work"), Worker("work")
    with cached(first, tmp_path) as engine:
        made = list(engine.run(JOB, (0, 1, 2, 3)))
    with cached(again, tmp_path) as engine:
        found = list(engine.run(JOB, (3, 2, 5)))
    assert first.asked == [(0,), (1,), (2,), (3,)]
    assert again.asked == [(5,)]
    assert all(reply.ok and reply.public_digest == "less" for reply in made)
    for before, after in zip((made[3], made[2]), found, strict=False):
        assert replace(before, arrays={}, measured=None) == replace(after, arrays={}, measured=None)
        assert before.measured is not None
        assert after.measured is not None
        assert before.measured.validation_accuracy == after.measured.validation_accuracy
        for old, new in ((before.arrays, after.arrays), (before.measured.arrays, after.measured.arrays)):
            assert list(old) == list(new)
            for name, array in old.items():
                assert (array.dtype, array.shape) == (new[name].dtype, new[name].shape)
                np.testing.assert_array_equal(array, new[name])


def test_all_that_are_missing_are_asked_at_once_where_clients_work_in_parallel(tmp_path: Path) -> None:
    list(cached(Worker("work"), tmp_path).run(JOB, (1, 2)))
    worker = Worker("work")
    replies = list(cached(worker, tmp_path, at_once=None).run(JOB, (0, 1, 2, 3)))
    assert worker.asked == [(0, 3)]
    assert sorted(reply.client for reply in replies) == [0, 1, 2, 3]


@pytest.mark.parametrize("why", ["failed", "not shared", "not sound"])
def test_what_must_not_be_kept_is_done_again(tmp_path: Path, why: str) -> None:
    performer = "fail_on_even" if why == "failed" else "work"
    job = replace(JOB, kind="local") if why == "not shared" else JOB
    first, again = Worker(performer), Worker(performer)
    list(cached(first, tmp_path, sound=why != "not sound").run(job, (0,)))
    list(cached(again, tmp_path).run(job, (0,)))
    assert first.asked == again.asked == [(0,)]


def test_a_client_that_another_process_is_at_work_on_comes_last(tmp_path: Path) -> None:
    worker, other = Worker("work"), Cache(tmp_path, 10**9)
    taken = keys(JOB, (0,))[0]

    class Busy(Cache):
        """As if another process had the first client's work, and let go of it when it is waited for."""

        def _lock(self, operation: int, begin: int) -> bool:
            import fcntl

            return not (begin == int(taken.rpartition("-")[2][:15], 16) and operation & fcntl.LOCK_NB)

    engine = CachedEngine(worker, Busy(tmp_path, 10**9), SharedJobs(lambda job: job, keys, lambda: True), 1)
    replies = engine.run(JOB, (0, 1))
    assert next(replies).client == 1
    list(cached(Worker("work"), tmp_path).run(JOB, (0,)))
    assert other.load(taken) is not None
    assert [reply.client for reply in replies] == [0]
    assert worker.asked == [(1,)]
