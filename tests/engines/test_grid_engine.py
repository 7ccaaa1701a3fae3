"""The grid engine gives every client an outcome, whatever becomes of its message."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from flwr.app import Error, Message
from flwr.serverapp import Grid
from local_grid import FIRST_NODE, LocalGrid

from fedkd.engines.grid import GridEngine
from fedkd.engines.inline import InlineEngine
from fedkd.errors import RunError
from fedkd.types import Job, Outcome


def by_client(outcomes: Iterable[Outcome]) -> dict[int, tuple[Any, ...]]:
    return {
        outcome.client: (
            {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in outcome.arrays.items()},
            dict(outcome.metrics),
            outcome.error,
        )
        for outcome in outcomes
    }


def engine(grid: Grid, nodes: int = 3, **options: Any) -> GridEngine:
    settings: dict[str, Any] = {"workers": 1, "timeout": 30.0, "performer": "engine_performers:choose", **options}
    return GridEngine(grid, nodes=nodes, **settings)


JOB = Job("work", 2, '{"seed": 1}', {"weight": np.full((3, 4), 0.5, np.float32)}, probe=True)


@pytest.mark.parametrize("clients_per_node", [None, 1, 3, 100])
def test_equals_inline_for_any_cohort_size(clients_per_node: int | None) -> None:
    clients = [9, 2, 5, 0, 7, 4, 1]
    expected = by_client(InlineEngine(performer="engine_performers:choose").run(JOB, clients))
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
    assert [message.metadata.dst_node_id - FIRST_NODE for message in grid.sent] == [0, 1, 0, 1, 0]


def test_default_is_a_few_cohorts_per_worker() -> None:
    grid = LocalGrid(8)
    with engine(grid, nodes=8, workers=2) as grid_engine:
        assert len(list(grid_engine.run(JOB, range(1000)))) == 1000
    assert len(grid.sent) == 8


def test_large_replies_are_spread_over_more_messages() -> None:
    """40 clients that may each send 12.5 MB back fit four to a message of 50 MB."""
    grid = LocalGrid(1)
    job = Job("fail_on_even", 1, "{}", {"weight": np.zeros(12_500_000, np.uint8)})
    with engine(grid, nodes=1) as grid_engine:
        assert len(list(grid_engine.run(job, range(40)))) == 40
    assert len(grid.sent) == 10


def test_lost_and_failed_messages_cost_their_own_clients() -> None:
    def tamper(index: int, message: Message) -> Message | None:
        return {0: None, 1: Message(Error(0, "node exploded"), reply_to=message)}.get(index, message)

    with engine(LocalGrid(3, tamper), clients_per_node=2, timeout=1.5) as grid_engine:
        outcomes = {outcome.client: outcome.error for outcome in grid_engine.run(JOB, range(6))}
    lost = "no reply within engine.timeout = 1.5 s"
    assert outcomes == {0: lost, 3: lost, 1: "node exploded", 4: "node exploded", 2: None, 5: None}


def test_work_that_nobody_waits_for_is_not_begun() -> None:
    with engine(LocalGrid(1), nodes=1, timeout=1e-9) as grid_engine:
        errors = {outcome.error for outcome in grid_engine.run(JOB, range(6))}
    assert None not in errors


def test_missing_nodes_are_named() -> None:
    with pytest.raises(RunError, match=r"only 2 of 3 Flower nodes appeared within 0.05 s"):
        engine(LocalGrid(2), nodes=3, start_timeout=0.05).__enter__()


def test_worker_that_cannot_import_the_work_is_named_at_start() -> None:
    with pytest.raises(RunError, match="a worker cannot start: ModuleNotFoundError: No module named 'no_such_module'"):
        engine(LocalGrid(3), performer="no_such_module:perform").__enter__()
