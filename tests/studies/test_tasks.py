"""Studies: results survive an interruption, and intervals are honest."""

import math
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from studies.tasks import Results, run_tasks, worker_pool

from fedkd.results.report.statistics import mean_and_ci
from tests.support.processes import Program


@pytest.fixture(scope="module", params=["here", "in another process"])
def pool(request: pytest.FixtureRequest) -> Iterator[ProcessPoolExecutor | None]:
    elsewhere = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    with worker_pool(1) if request.param == "here" else elsewhere as pool:
        yield pool


def test_a_mean_and_its_interval_by_hand() -> None:
    # Standard deviation 1, three values: half-width t(0.975, 2)/√3 = 4.3027/1.7321.
    assert mean_and_ci([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2.4842), rel=1e-4)
    assert mean_and_ci([5.0]) == (5.0, math.inf)


def test_finished_tasks_are_not_done_again_and_a_torn_line_is_forgiven(
    tmp_path: Path, pool: ProcessPoolExecutor | None
) -> None:
    path = tmp_path / "results.jsonl"
    assert run_tasks(divmod, [(7, 2), (9, 4)], Results(path), pool) == 2
    with path.open("a") as file:
        file.write('{"task": [8, 3], "resu')
    again = Results(path)
    assert (7, 2) in again
    assert (8, 3) not in again
    assert again[9, 4] == [2, 1]
    assert run_tasks(divmod, [(7, 2), (8, 3), (9, 4)], again, pool) == 1
    assert again[8, 3] == [2, 2]
    assert Results(path)[8, 3] == [2, 2]


def test_a_failing_task_ends_the_study_and_keeps_the_rest(tmp_path: Path, pool: ProcessPoolExecutor | None) -> None:
    results = Results(tmp_path / "results.jsonl")
    with pytest.raises(ZeroDivisionError):
        run_tasks(divmod, [(7, 2), (1, 0)], results, pool)
    assert (7, 2) in Results(tmp_path / "results.jsonl")


def test_workers_of_a_killed_study_end_in_the_middle_of_their_tasks(tmp_path: Path) -> None:
    # Started again, the study would otherwise work in the same folders as they do.
    code = """
import os, sys, time
from pathlib import Path
from studies.tasks import Results, run_tasks, worker_pool
def task(folder, name):
    Path(folder, str(os.getpid())).touch()
    time.sleep(600)
if __name__ == "__main__":
    with worker_pool(2) as pool:
        run_tasks(task, [(sys.argv[1], 0), (sys.argv[1], 1)], Results(Path(sys.argv[1], "results.jsonl")), pool)
"""
    script, begun = tmp_path / "study.py", tmp_path / "begun"
    script.write_text(code)
    begun.mkdir()
    study = Program(str(script), str(begun))
    while study.poll() is None and len(list(begun.iterdir())) < 2:
        time.sleep(0.1)
    assert len(list(begun.iterdir())) == 2
    study.kill()
    study.wait()
    study.assert_nothing_left()
    study.communicate()
