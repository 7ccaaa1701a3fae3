"""The inline engine needs neither Flower nor Ray, and does not let one client harm another."""

import re
import subprocess
import sys

import numpy as np
import torch

from fedkd.config.schema import ResourceConfig
from fedkd.core.messages import Job
from fedkd.engines.inline import InlineEngine
from fedkd.engines.resources import Workload


def test_outcomes_come_in_order_with_what_clients_computed() -> None:
    job = Job("work", 3, "text", {"weight": np.eye(3, dtype=np.float32)}, probe=True)
    with InlineEngine(Workload(client_fn="tests.support.engine_performers:choose")) as engine:
        replies = list(engine.run(job, [4, 0, 2]))
    assert [reply.client for reply in replies] == [4, 0, 2]
    expected = np.random.default_rng((3, 0)).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(replies[1].arrays["logits"], expected)
    assert (int(replies[1].arrays["threads"]), replies[1].arrays["dir"].tobytes()) == (1, b"None")
    assert (replies[1].round, replies[1].examples, replies[1].public_digest) == (3, 1, "text")


def test_failing_clients_do_not_stop_the_others() -> None:
    with InlineEngine(Workload(client_fn="tests.support.engine_performers:fail_on_even")) as engine:
        replies = list(engine.run(Job("work", 1, "{}"), range(4)))
    assert [reply.ok for reply in replies] == [False, True, False, True]
    for reply in replies[::2]:
        message = rf"ValueError: no data on client {reply.client} \(/.*/engine_performers\.py:\d+\)"
        assert re.fullmatch(message, reply.error or "")
        assert reply.traceback.endswith(f"ValueError: no data on client {reply.client}\n")


def test_client_that_leaves_python_fails_alone() -> None:
    with InlineEngine(Workload(client_fn="tests.support.engine_performers:quit_python")) as engine:
        (reply,) = engine.run(Job("work", 1, "{}"), [0])
    assert (reply.error or "").startswith("SystemExit: enough (")


def test_answer_in_another_clients_name_is_refused() -> None:
    with InlineEngine(Workload(client_fn="tests.support.engine_performers:someone_else")) as engine:
        (reply,) = engine.run(Job("work", 1, "{}"), [0])
    assert (reply.client, reply.error) == (0, "ValueError: answered as client 1")


def test_what_is_no_reply_fails_its_own_client() -> None:
    with InlineEngine(Workload(client_fn="tests.support.engine_performers:no_reply")) as engine:
        replies = list(engine.run(Job("work", 1, "{}"), range(3)))
    assert [(reply.client, reply.error) for reply in replies] == [
        (0, "ValueError: answered with NoneType instead of a reply"),
        (1, "ValueError: answered as client (1,)"),
        (2, "ValueError: answered as client 2.0"),
    ]


def test_callers_thread_count_holds_between_clients_and_afterwards() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        job = Job("work", 1, "{}", {"weight": np.eye(3, dtype=np.float32)})
        for reply in InlineEngine(Workload(client_fn="tests.support.engine_performers:work")).run(job, range(3)):
            assert reply.arrays["threads"] == 1
            assert torch.get_num_threads() == 2
        list(InlineEngine(Workload(client_fn="tests.support.engine_performers:fail_on_even")).run(job, range(3)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_client_runs_with_its_own_threads_and_its_own_personal_arrays() -> None:
    weight = {"weight": np.eye(3, dtype=np.float32)}
    job = Job("work", 1, "{}", weight, personal={client: {"secret": np.array([client])} for client in (0, 2)})
    needs = {1: ResourceConfig(threads=2)}
    with InlineEngine(Workload(client_fn="tests.support.engine_performers:work", resources=needs)) as engine:
        replies = list(engine.run(job, range(3)))
    assert [int(reply.arrays["threads"]) for reply in replies] == [1, 2, 1]
    seen = [{name: int(array[0]) for name, array in o.arrays.items() if name.startswith("own")} for o in replies]
    assert seen == [{"own 0": 0}, {}, {"own 2": 2}]


def test_works_where_flower_and_ray_cannot_be_imported() -> None:
    code = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"flwr", "ray"}:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
from fedkd.engines.inline import InlineEngine
from fedkd.core.messages import Job, Reply
from fedkd.engines.resources import Workload
with InlineEngine(Workload(client_fn="tests.support.engine_performers:fail_on_even")) as engine:
    print([reply.ok for reply in engine.run(Job("work", 1, "{}"), [1, 2])])
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(entry for entry in sys.path if entry)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.stdout.strip(), result.returncode) == ("[True, False]", 0), result.stderr
