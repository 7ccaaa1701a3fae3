"""The grid engine gives every client a reply, whatever becomes of its message."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import Error, Message
from flwr.serverapp import Grid

from fedkd.client.performer import CLIENT_FN
from fedkd.config.schema import ResourceConfig
from fedkd.core.errors import RunError
from fedkd.core.messages import Job, Reply
from fedkd.engines.flower.grid import GridEngine, Nodes
from fedkd.engines.flower.wire import COHORT_MESSAGE, Cohort, decode_cohort
from fedkd.engines.inline import InlineEngine
from fedkd.engines.resources import Workload
from fedkd.server.server import Server
from tests.support.federations import experiment_of
from tests.support.local_grid import FIRST_NODE, LocalGrid

pytestmark = pytest.mark.usefixtures("task_identity")


def by_client(replies: Iterable[Reply]) -> dict[int, tuple[Any, ...]]:
    return {
        reply.client: (
            {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in reply.arrays.items()},
            (reply.round, reply.examples, reply.public_digest, reply.error),
        )
        for reply in replies
    }


CHOOSE = "tests.support.engine_performers:choose"


def engine(grid: Grid, nodes: int = 3, **options: Any) -> GridEngine:
    """``options`` of the nodes, of the workload and of the engine."""
    there = {name: options.pop(name) for name in ("workers", "gpus") if name in options}
    work = {name: options.pop(name) for name in ("client_fn", "resources", "answer_bytes") if name in options}
    workload = Workload(**{"client_fn": CHOOSE, **work})
    there = {"workers": 1, **there}
    return GridEngine(grid, Nodes(nodes, **there), workload, **{"timeout": 30.0, **options})


JOB = Job(
    "work",
    2,
    '{"seed": 1}',
    {"weight": np.full((3, 4), 0.5, np.float32)},
    personal={client: {"secret": np.arange(client)} for client in range(6)},
    state_dir="somewhere",
)


@pytest.mark.parametrize("clients_per_node", [None, 1, 3, 100])
def test_equals_inline_for_any_cohort_size(clients_per_node: int | None) -> None:
    clients = [9, 2, 5, 0, 7, 4, 1]
    expected = by_client(InlineEngine(Workload(client_fn=CHOOSE)).run(JOB, clients))
    with engine(LocalGrid(3), clients_per_node=clients_per_node) as grid_engine:
        assert by_client(grid_engine.run(JOB, clients)) == expected


def test_no_clients_need_no_message() -> None:
    grid = LocalGrid(1)
    with engine(grid, nodes=1) as grid_engine:
        assert list(grid_engine.run(JOB, [])) == []
    assert grid.sent == []


def test_cohorts_go_to_the_nodes_in_turn() -> None:
    grid = LocalGrid(2)
    with engine(grid, nodes=2, clients_per_node=1) as grid_engine:
        assert len(list(grid_engine.run(JOB, range(5)))) == 5
    nodes = [message.metadata.dst_node_id - FIRST_NODE for message in grid.sent]
    assert nodes in ([0, 1, 0, 1, 0], [1, 0, 1, 0, 1])


def test_default_is_a_few_cohorts_per_worker() -> None:
    grid = LocalGrid(8)
    with engine(grid, nodes=8, workers=2) as grid_engine:
        assert len(list(grid_engine.run(JOB, range(1000)))) == 1000
    assert len(grid.sent) == 8


def test_clients_of_a_cohort_are_stacked_as_they_are_in_one_process() -> None:
    experiment = experiment_of("engine.vectorise=always")
    job = replace(Server.build(experiment).job(1), measure=False)
    expected = by_client(InlineEngine().run(job, range(4)))
    with engine(LocalGrid(1), nodes=1, clients_per_node=4, client_fn=CLIENT_FN) as grid_engine:
        assert by_client(grid_engine.run(job, range(4))) == expected
    assert all(facts[-1] is None for _, facts in expected.values())


def test_large_replies_are_spread_over_more_messages() -> None:
    """40 clients that may each send 12.5 MB back fit two to a message of 25 MB."""
    grid = LocalGrid(1)
    job = Job("fail_on_even", 1, "{}", {"weight": np.zeros(12_500_000, np.uint8)})
    with engine(grid, nodes=1) as grid_engine:
        assert len(list(grid_engine.run(job, range(40)))) == 40
    assert len(grid.sent) == 20


def test_replies_that_are_expected_to_be_large_are_spread_from_the_first_round_on() -> None:
    grid = LocalGrid(1)
    with engine(grid, nodes=1, answer_bytes=5_000_000) as grid_engine:
        assert len(list(grid_engine.run(JOB, range(40)))) == 40
    assert len(grid.sent) == 8


class OneReplyAtATime(LocalGrid):
    """Keeps every cohort at work until it is the oldest that is asked for; remembers who worked at the same time."""

    def __init__(self, nodes: int) -> None:
        super().__init__(nodes)
        self.working: dict[str, Cohort] = {}
        self.together: list[list[Cohort]] = []

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        sent = list(messages)
        identifiers = super().push_messages(sent)
        for identifier, message in zip(identifiers, sent, strict=True):
            if message.metadata.message_type == COHORT_MESSAGE:
                self.working[identifier] = decode_cohort(message.content)
        self.together.append(list(self.working.values()))
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        oldest = list(message_ids)[:1]
        for identifier in oldest:
            self.working.pop(identifier, None)
        return super().pull_messages(oldest)


def test_classes_of_clients_share_cores_and_gpus() -> None:
    """On four cores and one GPU: clients 0 to 3 need three cores, 4 to 13 half a GPU, the others a core."""
    wide, gpu = ResourceConfig(threads=3), ResourceConfig(gpu=0.5)
    resources = {**dict.fromkeys(range(4), wide), **dict.fromkeys(range(4, 14), gpu)}
    expected = by_client(InlineEngine(Workload(client_fn=CHOOSE, resources=resources)).run(JOB, range(18)))
    grid = OneReplyAtATime(5)
    with engine(grid, nodes=5, workers=4, gpus=1, clients_per_node=2, resources=resources) as grid_engine:
        assert by_client(grid_engine.run(JOB, range(18))) == expected
    assert [expected[client][0]["threads"] for client in (0, 4, 14)] == [_whole(3), _whole(1), _whole(1)]
    cohorts = [decode_cohort(message.content) for message in grid.sent]
    assert all(len({resources.get(client) for client in cohort.clients}) == 1 for cohort in cohorts)
    assert all({cohort.threads} == {3 if cohort.clients[0] < 4 else 1} for cohort in cohorts)
    mixed = [group for group in grid.together if any(cohort.clients[0] < 14 for cohort in group)]
    assert max(sum(cohort.threads for cohort in group) for group in mixed) == 4
    assert max(sum(4 <= cohort.clients[0] < 14 for cohort in group) for group in mixed) == 2


def _whole(number: int) -> tuple[Any, ...]:
    array = np.array(number)
    return array.dtype.str, array.shape, array.tobytes()


def test_equal_clients_are_all_sent_at_once() -> None:
    grid = OneReplyAtATime(4)
    with engine(grid, nodes=4, workers=2, clients_per_node=1) as grid_engine:
        assert len(list(grid_engine.run(JOB, range(9)))) == 9
    assert max(map(len, grid.together)) == 9


def test_cohorts_that_never_got_their_turn_fail_with_those_that_did_not_answer() -> None:
    resources = dict.fromkeys(range(4), ResourceConfig(threads=2))
    with engine(LocalGrid(3, lambda *_: None), workers=2, clients_per_node=1, timeout=0.1, resources=resources) as grid:
        errors = {reply.client: reply.error for reply in grid.run(JOB, range(4))}
    assert errors == dict.fromkeys(range(4), "no reply within engine.timeout = 0.1 s")


def test_class_that_needs_more_than_there_is_stops_before_the_first_message() -> None:
    with pytest.raises(RunError, match=r"clients with threads = 3, gpu = 0 \(client 5 is one\) need more"):
        engine(LocalGrid(0), workers=2, resources={5: ResourceConfig(threads=3)}).__enter__()


def test_personal_arrays_travel_with_their_own_cohort_only() -> None:
    grid = LocalGrid(3)
    with engine(grid, clients_per_node=2) as grid_engine:
        list(grid_engine.run(JOB, range(8)))
    for message in grid.sent:
        cohort = decode_cohort(message.content)
        assert cohort.job.personal.keys() == {client for client in cohort.clients if client < 6}


def test_lost_and_failed_messages_cost_their_own_clients() -> None:
    def tamper(index: int, message: Message) -> Message | None:
        return {0: None, 1: Message(Error(0, "node exploded"), reply_to=message)}.get(index, message)

    with engine(LocalGrid(3, tamper), clients_per_node=2, timeout=1.5) as grid_engine:
        replies = {reply.client: reply.error for reply in grid_engine.run(JOB, range(6))}
    lost = "no reply within engine.timeout = 1.5 s"
    assert replies == {0: lost, 3: lost, 1: "node exploded", 4: "node exploded", 2: None, 5: None}


def test_work_that_nobody_waits_for_is_not_begun() -> None:
    with engine(LocalGrid(1), nodes=1, timeout=1e-9) as grid_engine:
        errors = {reply.error for reply in grid_engine.run(JOB, range(6))}
    assert None not in errors


def test_missing_nodes_are_named() -> None:
    with pytest.raises(RunError, match=r"only 2 of 3 Flower nodes appeared within 0.05 s"):
        engine(LocalGrid(2), nodes=3, start_timeout=0.05).__enter__()


def test_worker_that_cannot_import_the_work_is_named_at_start() -> None:
    with pytest.raises(RunError, match="a worker cannot start: ModuleNotFoundError: No module named 'no_such_module'"):
        engine(LocalGrid(3), client_fn="no_such_module:perform").__enter__()
