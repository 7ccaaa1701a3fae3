"""The server finds out which node is which, and says at once what does not fit."""

import time
from collections.abc import Iterable
from typing import Any

import pytest
from flwr.app import Error, Message
from flwr.serverapp import Grid

from fedkd.core.errors import RunError
from fedkd.engines.flower.discovery import discover_nodes
from tests.support.local_grid import FIRST_NODE, LocalGrid

pytestmark = pytest.mark.usefixtures("task_identity")

CLIENT_FN = "tests.support.engine_performers:choose"


def held(partition: Any, partitions: Any) -> dict[str, Any]:
    return {"partition-id": partition, "num-partitions": partitions}


def federation(*nodes: dict[str, Any]) -> LocalGrid:
    return LocalGrid(len(nodes), node_configs=nodes)


def find(grid: Grid, clients: int = 8, join: float = 0.3, answer: float = 30.0) -> list[int]:
    return [node - FIRST_NODE for node in discover_nodes(grid, clients, CLIENT_FN, join=join, answer=answer)]


def test_nodes_are_ordered_by_what_their_operators_said() -> None:
    assert find(federation(held(2, 3), held(0, 3), held(1, 3))) == [1, 2, 0]
    assert find(federation(held(0, 1)), clients=1) == [0]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([held(0, 2), held(0, 2)], r"2 SuperNodes have partition-id 0.*Start N SuperNodes.*--node-config"),
        ([held(0, 2), held(1, 3)], r"SuperNodes disagree on num-partitions: 2, 3"),
        ([held(0, 2), held(2, 2)], r"with num-partitions = 2, partition-id must be below it, from 0, got 2"),
        ([held(-1, 2), held(0, 2)], r"must be below it, from 0, got -1"),
        ([{}, held(0, 2)], r"1 of 2 SuperNodes have no partition-id or no num-partitions"),
        ([{"partition-id": 0}], r"1 of 1 SuperNodes have no partition-id or no num-partitions"),
        ([held("0", 2), held(1, 2)], r"partition-id must be a whole number, got '0'; write partition-id=0"),
        ([held(index, 9) for index in range(9)], r"num-partitions is 9 and clients\.count is 8.*raise clients\.count"),
        ([held(0, 9)], r"num-partitions is 9 and clients\.count is 8"),
    ],
)
def test_what_waiting_does_not_mend_is_said_at_once(nodes: list[dict[str, Any]], message: str) -> None:
    # If it were waited for, the test would not end.
    with pytest.raises(RunError, match=message):
        find(federation(*nodes), join=1e9, answer=1e9)


def test_all_faults_are_told_together() -> None:
    with pytest.raises(RunError) as raised:
        find(federation(held(0, 3), held(0, 3), {}, held(7, 3)), join=1e9)
    for word in ("1 of 4 SuperNodes", "2 SuperNodes have partition-id 0", "got 7"):
        assert word in str(raised.value)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([], r"no SuperNode is connected after \d s; start N SuperNodes"),
        (
            [held(1, 3)],
            r"1 of num-partitions = 3 SuperNodes have answered after \d s, partition-id 0, 2 missing; start N",
        ),
    ],
)
def test_missing_nodes_are_waited_for_but_not_for_ever(nodes: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(RunError, match=message):
        find(federation(*nodes))


class Changing(LocalGrid):
    """Shows its nodes from ``since`` on, and until ``until`` (seconds); those in ``silent`` never answer."""

    def __init__(
        self,
        *nodes: dict[str, Any],
        since: dict[int, float] | None = None,
        until: dict[int, float] | None = None,
        silent: Iterable[int] = (),
    ) -> None:
        super().__init__(len(nodes), node_configs=nodes)
        self.begun = time.monotonic()
        self.since, self.until, self.silent = since or {}, until or {}, set(silent)

    def get_node_ids(self) -> list[int]:
        now = time.monotonic() - self.begun
        return [
            node
            for index, node in enumerate(self.nodes)
            if self.since.get(index, 0.0) <= now < self.until.get(index, float("inf"))
        ]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        sent = list(messages)
        identifiers = super().push_messages(sent)
        for identifier, message in zip(identifiers, sent, strict=True):
            if message.metadata.dst_node_id - FIRST_NODE in self.silent:
                del self._replies[identifier]
        return identifiers


def test_a_node_that_comes_late_is_waited_for() -> None:
    assert find(Changing(held(1, 2), held(0, 2), since={1: 0.4}), join=30.0) == [1, 0]


def test_a_silent_node_is_named_when_the_time_is_over() -> None:
    with pytest.raises(RunError, match=r"none of 1 SuperNodes has answered after 1 s"):
        find(Changing(held(0, 1), silent=[0]), answer=0.6)
    with pytest.raises(RunError, match=r"1 of num-partitions = 1 .* all of them there, and 1 others are silent; stop"):
        find(Changing(held(0, 1), held(0, 1), silent=[1]), answer=0.6)


def test_a_node_that_is_gone_is_forgotten() -> None:
    """What is left of a SuperNode that was killed does not keep its successor from its partition."""
    assert find(Changing(held(0, 1), held(0, 1), silent=[0], until={0: 0.4}), answer=30.0) == [1]


def test_a_node_that_cannot_work_is_named() -> None:
    with pytest.raises(
        RunError, match=r"the SuperNode with partition-id 0 cannot work: ModuleNotFoundError: No module named 'absent'"
    ):
        discover_nodes(federation(held(0, 1)), 2, "absent:perform")

    class Exploding(LocalGrid):
        def push_messages(self, messages: Iterable[Message]) -> list[str]:
            (message,) = messages
            (identifier,) = super().push_messages([message])
            self._replies[identifier] = Message(Error(0, "node exploded"), reply_to=message)
            return [identifier]

    with pytest.raises(RunError, match="a SuperNode cannot work: node exploded"):
        find(Exploding(1, node_configs=[held(0, 1)]))
