"""Which cells are run side by side, and in how many processes."""

from pathlib import Path
from typing import Any

import pytest

from fedkd.app.sweep import planning
from fedkd.app.sweep.planning import PlannedCell, side_by_side
from fedkd.config.load import load_config
from fedkd.config.sweep import Cell

TINY: dict[str, Any] = {"clients": {"count": 2}, "engine": {"kind": "inline"}}


def cells(*overrides: str, count: int = 4) -> list[PlannedCell]:
    return [
        PlannedCell(Cell(f"seed={seed}", {}, load_config(TINY, [f"seed={seed}", *overrides])), Path(), finished=False)
        for seed in range(count)
    ]


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "cores", lambda: 4)


@pytest.mark.parametrize(
    ("overrides", "count", "processes"),
    [
        ((), 8, 4),
        ((), 3, 3),
        (("engine.kind=ray",), 4, 4),
        (("engine.workers=2",), 8, 2),
        (("engine.kind=ray", "engine.workers=3"), 8, 3),
    ],
    ids=["as many as cores", "as many as cells", "ray", "as many as workers", "ray and workers"],
)
def test_there_are_no_more_processes_than_cores_cells_and_workers(
    overrides: tuple[str, ...], count: int, processes: int
) -> None:
    (group,) = side_by_side(cells(*overrides, count=count))
    assert len(group.cells) == count
    assert group.environments == ({"OMP_NUM_THREADS": "1"},) * processes


@pytest.mark.parametrize(
    ("overrides", "count"),
    [
        ((), 1),
        (("engine.workers=1",), 8),
        (("engine.kind=ray",), 3),
        (("engine.kind=ray", "engine.address=10.0.0.1:6379"), 8),
        (("engine.kind=ray", "privacy.audit.attacks=[rmia]"), 8),
        (("engine.server_threads=2",), 8),
        (("engine.resources={cnn: {threads: 2}}",), 8),
    ],
    ids=["one", "one worker", "ray for few", "cluster", "audit", "server threads", "client threads"],
)
def test_what_needs_more_than_a_core_has_the_machine_for_itself(overrides: tuple[str, ...], count: int) -> None:
    assert side_by_side(cells(*overrides, count=count)) == []


def test_finished_cells_need_no_process() -> None:
    planned = [PlannedCell(each.cell, each.folder, finished=index < 3) for index, each in enumerate(cells())]
    assert side_by_side(planned) == []


def test_cells_on_gpus_have_one_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedkd.config.constraints._has_gpu", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(planning, "gpu_count", lambda: 2)
    planned = cells("engine.device=cuda")
    (group,) = side_by_side(planned)
    assert group.environments == ({"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,6")
    (group,) = side_by_side(planned)
    assert [each["CUDA_VISIBLE_DEVICES"] for each in group.environments] == ["3", "5", "6"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert side_by_side(planned) == []
