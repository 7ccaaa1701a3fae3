"""The Ray engine, with real workers: equal to the inline engine, robust, quiet, and gone afterwards.

Starting Ray takes seconds, so the tests of one configuration share one engine.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.processes import Program

pytest.importorskip("ray")

from fedkd.config.schema import EngineConfig, ResourceConfig
from fedkd.core.messages import Job, Reply
from fedkd.engines.inline import InlineEngine
from fedkd.engines.ray.engine import RayEngine
from fedkd.engines.resources import Workload

JOB = Job(
    "work",
    2,
    '{"seed": 1}',
    {"weight": np.full((3, 4), 0.5, np.float32)},
    personal={client: {"secret": np.arange(client)} for client in range(8)},
    measure=True,
    probe=True,
    state_dir="somewhere",
)
RESOURCES = {11: ResourceConfig(threads=2)}
CLIENT_FN = "tests.support.engine_performers:choose"


def comparable(replies: Iterable[Reply]) -> dict[int, Any]:
    return {
        reply.client: (
            {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in reply.arrays.items()},
            (reply.round, reply.examples, reply.public_digest, reply.error),
            None if reply.measured is None else (reply.measured.validation_accuracy, str(reply.measured.test_mask)),
        )
        for reply in replies
    }


def errors(replies: Iterable[Reply]) -> dict[int, str]:
    return {reply.client: reply.error for reply in replies if reply.error is not None}


def descendants() -> list[str]:
    """The command lines of this process's children, and of theirs."""
    parents, commands = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
    family = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return [commands[process] for process in family if process in commands]


@pytest.fixture(scope="module")
def engine() -> Iterator[RayEngine]:
    """Two workers, cohorts of two clients, and client 11 with both cores to itself."""
    config = EngineConfig(workers=2, clients_per_node=2, timeout=30)
    with RayEngine(config, Workload(12, CLIENT_FN, resources=RESOURCES)) as running:
        yield running


def test_equals_inline(engine: RayEngine) -> None:
    clients = [11, 3, 0, 7, 8, 2, 5]
    expected = comparable(InlineEngine(Workload(client_fn=CLIENT_FN, resources=RESOURCES)).run(JOB, clients))
    assert comparable(engine.run(JOB, clients)) == expected
    kind, _, content = expected[11][0]["threads"]
    assert np.frombuffer(content, kind).item() == 2


def test_failing_clients_leave_their_cohort_alone(engine: RayEngine) -> None:
    replies = list(engine.run(Job("fail_on_even", 1, "{}"), range(6)))
    assert len(replies) == 6
    found = errors(replies)
    assert sorted(found) == [0, 2, 4]
    assert all(error.startswith(f"ValueError: no data on client {client} (/") for client, error in found.items())
    # What a simulator's own workers tell comes all the way.
    tracebacks = {reply.client: reply.traceback for reply in replies if reply.traceback}
    assert sorted(tracebacks) == [0, 2, 4]
    assert all("engine_performers.py" in text for text in tracebacks.values())


def test_killed_worker_costs_its_cohort_and_is_replaced(engine: RayEngine) -> None:
    """Clients 0 to 11 in cohorts of two: client 3 shares one with client 9."""
    replies = list(engine.run(Job("die_on_client_3", 1, "{}"), range(12)))
    assert len(replies) == 12
    assert set(errors(replies)) == {3, 9}
    assert all("the worker process died" in reason for reason in errors(replies).values())
    assert errors(engine.run(Job("die_on_client_3", 2, "{}"), range(12))) == {}


def test_messages_in_flight_take_little_shared_memory(engine: RayEngine) -> None:
    """Ray's own default is 30 % of the machine's memory."""
    (raylet,) = [command for command in descendants() if "raylet/raylet" in command]
    (given,) = re.findall(r"--object_store_memory=(\d+)", raylet)
    assert 0 < int(given) <= 256 * 2**20


def test_nobody_needs_more_than_its_part(engine: RayEngine) -> None:
    """Ray stays out of the workers, and torch out of the processes that speak to Ray; Flower out of all."""
    found = [set(str(reply.public_digest).split()) for reply in engine.run(Job("modules", 1, "{}"), range(4))]
    assert all("torch" in modules for modules in found)
    assert not set().union(*found) & {"ray", "flwr", "matplotlib"}
    code = "import sys; import fedkd.engines.ray.driver; print({'torch', 'numpy', 'flwr'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_signal_handlers_are_the_users(engine: RayEngine) -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


SCRIPT = """
import sys
import numpy as np
from fedkd.config.schema import EngineConfig
from fedkd.engines.ray.engine import RayEngine
from fedkd.core.errors import RunError
from fedkd.core.messages import Job
from fedkd.engines.resources import Workload

def engine(clients, **options):
    return RayEngine(EngineConfig(**options), Workload(clients, "tests.support.engine_performers:choose"))
"""


def start(body: str) -> Program:
    return Program("-c", SCRIPT + body)


def test_one_worker_is_enough_recovers_and_is_quiet() -> None:
    """Equal to inline; a client that hangs or kills the worker spoils one round; nothing but our lines is printed."""
    process = start(
        """
from fedkd.engines.inline import InlineEngine

def answers(engine):
    job = Job("work", 1, "{}", {"weight": np.ones((3, 4), np.float32)})
    return {o.client: (o.arrays["logits"].tobytes(), o.examples) for o in engine.run(job, range(5))}

def failed(round, kind):
    return sum(not reply.ok for reply in running.run(Job(kind, round, "{}"), range(5)))

with engine(5, workers=1, timeout=10, clients_per_node=5) as running:
    print(failed(1, "hang_on_client_3"), failed(2, "hang_on_client_3"))
    print(failed(1, "die_on_client_3"), failed(2, "die_on_client_3"))
    inline = InlineEngine(Workload(client_fn="tests.support.engine_performers:choose"))
    print(failed(1, "chatter"), answers(running) == answers(inline))
"""
    )
    out, err = process.communicate(timeout=240)
    assert (out.split("\n"), err, process.returncode) == (["5 0", "5 0", "0 True", ""], "", 0)
    process.assert_nothing_left()


def test_interrupt_ends_busy_clients_within_seconds(tmp_path: Path) -> None:
    """Ctrl-C reaches the whole process group, in the middle of work; the caller sees one KeyboardInterrupt."""
    process = start(
        f"""
try:
    with engine(4, workers=2) as running:
        list(running.run(Job("mark_and_sleep", 1, {str(tmp_path)!r}), range(4)))
except KeyboardInterrupt:
    print("stopped")
"""
    )
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("*.started"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(list(tmp_path.glob("*.started"))) == 2
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=15)
    assert (out, err, process.returncode) == ("stopped\n", "", 0)
    process.assert_nothing_left()


def test_failure_to_start_is_reported_and_leaves_nothing() -> None:
    process = start(
        """
try:
    RayEngine(EngineConfig(workers=1), Workload(2, "no_such_module:perform")).__enter__()
except RunError as error:
    print(error)
"""
    )
    out, err = process.communicate(timeout=120)
    assert out == "a worker cannot start: ModuleNotFoundError: No module named 'no_such_module'\n"
    assert (err, process.returncode) == ("", 0)
    process.assert_nothing_left()


def test_a_ray_that_ends_is_an_error_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    """In the midst of a client's work, long before the round's time is over."""
    process = start(
        f"""
try:
    with engine(2, workers=1) as running:
        list(running.run(Job("mark_and_sleep", 1, {str(tmp_path)!r}), range(2)))
except RunError as error:
    print(error)
"""
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("*.started")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    (driver,) = [pid for pid, command in process.family().items() if "fedkd.engines.ray.driver" in command]
    os.kill(driver, signal.SIGKILL)
    out, err = process.communicate(timeout=30)
    assert (out.startswith("Ray ended"), err, process.returncode) == (True, "", 0)
    process.assert_nothing_left()
