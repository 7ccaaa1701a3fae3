"""Secure sums over a Flower grid: the steps as messages, and what becomes of lost ones."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from flwr.app import Message

from fedkd.engines.flower.grid import GridEngine, Nodes
from fedkd.engines.resources import Workload
from fedkd.privacy.secure_sum.terms import PHASES
from tests.support.federations import federation
from tests.support.local_grid import LocalGrid

pytestmark = pytest.mark.usefixtures("task_identity")

OVERRIDES = ("clients.count=6", "privacy.secure_aggregation={}")


def kind_of(message: Message) -> str:
    return str(message.content.config_records["job"]["kind"])


class LossyGrid(LocalGrid):
    """Loses the first reply with a masked report."""

    lost = 0

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        before = len(self.sent)
        identifiers = super().push_messages(messages)
        for identifier, message in zip(identifiers, self.sent[before:], strict=False):
            if kind_of(message) == "secure/mask" and self.lost == 0:
                self.lost += 1
                del self._replies[identifier]
        return identifiers


def test_the_steps_travel_as_messages_and_end_with_the_inline_result(tmp_path: Path) -> None:
    inline, grid = federation(tmp_path / "inline", *OVERRIDES), federation(tmp_path / "grid", *OVERRIDES)
    local = LocalGrid(3)
    with GridEngine(local, Nodes(3, 1), Workload(memory=str(tmp_path / "grid")), timeout=120) as engine:
        for round in (1, 2):
            expected = inline.server.run_round(inline.server.job(round), inline.engine().run)
            assert grid.server.run_round(grid.server.job(round), engine.run).record == expected.record
    assert list(dict.fromkeys(map(kind_of, local.sent))) == [f"secure/{phase}" for phase in PHASES]


def test_a_lost_reply_is_a_dropout_of_its_step(tmp_path: Path) -> None:
    parts = federation(tmp_path, *OVERRIDES)
    workload = Workload(memory=str(tmp_path))
    with GridEngine(LossyGrid(6), Nodes(6, 1), workload, timeout=15, clients_per_node=1) as engine:
        record = parts.server.run_round(parts.server.job(1), engine.run).record
    assert record.secure is not None
    (dropout,) = record.secure.dropouts
    assert dropout.phase == "mask"
    assert "no reply within engine.timeout" in dropout.reason
    assert len(record.secure.survivors) == 5
    assert "secure sum, mask: no reply" in record.failures[0].reason
