"""The cells of a sweep, what is wrong with them, and which of them can be run side by side."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedkd.app.checks import check
from fedkd.app.resume import check_changes
from fedkd.app.run import directory_of
from fedkd.config.given import pinned
from fedkd.config.schema import ExperimentConfig
from fedkd.config.sweep import Cell, Grid, cells_of
from fedkd.core.errors import ConfigError, FedkdError
from fedkd.engines.building import ray_size
from fedkd.engines.ray.shared import RaySize
from fedkd.engines.resources import ONE_CORE, cores, gpu_count
from fedkd.results.directory import RunDirectory

_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class PlannedCell:
    """A cell, its folder, and the Ray that it needs, if it is not finished and needs one."""

    cell: Cell
    folder: Path
    finished: bool
    ray: RaySize | None = None


@dataclass(frozen=True)
class SideBySide:
    """Cells of which several are run at once, each in a process: one for each of the ``environments``."""

    cells: tuple[PlannedCell, ...]
    environments: tuple[Mapping[str, str], ...]


def plan_sweep(
    source: str | Path | Mapping[str, Any],
    grid: Grid,
    seeds: Sequence[int],
    out: Path,
    overrides: Sequence[str] = (),
) -> list[PlannedCell]:
    """Every cell, checked as ``run_experiment`` would check it; writes nothing.

    Raises ``ConfigError`` with the faults of all cells: bad configurations and data, folders that hold something else
    or the run of another configuration.
    """
    cells, faults = cells_of(source, grid, seeds, overrides)
    planned = []
    for cell in cells:
        folder = out / cell.name
        try:
            finished = _taken_up(folder, cell.config)
            ray = None if finished else ray_size(check(cell.config))
        except ConfigError as error:
            faults.add(cell.name, error.problems)
        except FedkdError as error:
            faults.add(cell.name, [str(error)])
        else:
            planned.append(PlannedCell(cell, folder, finished, ray))
    faults.check()
    return planned


def side_by_side(planned: Sequence[PlannedCell]) -> list[SideBySide]:
    """What can be run several cells at once; all other cells that are not finished have the machine for themselves.

    These are cells whose clients need one core each, or a GPU where there are several: results are the same on every
    engine, and here each is a process of one thread. With fewer cells than cores those that ask for Ray keep it.
    """
    waiting = [each for each in planned if not each.finished]
    light = [each for each in waiting if _fits_a_core(each.cell.config, "cpu")]
    if len(light) < cores():
        light = [each for each in light if each.cell.config.engine.kind == "inline"]
    wanted = (each.cell.config.engine.workers for each in light)
    count = min([cores(), len(light), *(number for number in wanted if number is not None)])
    groups = [SideBySide(tuple(light), ({"OMP_NUM_THREADS": "1"},) * count)]
    on_gpus = [
        each for each in waiting if _fits_a_core(each.cell.config, "cuda") and each.cell.config.engine.kind == "inline"
    ]
    if on_gpus:
        visible = os.environ.get(_VISIBLE, ",".join(map(str, range(gpu_count())))).split(",")[: len(on_gpus)]
        groups.append(SideBySide(tuple(on_gpus), tuple({_VISIBLE: gpu} for gpu in visible)))
    return [group for group in groups if len(group.environments) > 1]


def widest_ray(each: PlannedCell, planned: Sequence[PlannedCell]) -> RaySize | None:
    """The Ray for a cell: large enough for all that ask for as many workers and for a GPU alike, so that it is one."""
    if each.ray is None:
        return None
    wanted = each.cell.config.engine
    alike = [
        other.ray
        for other in planned
        if other.ray is not None
        and (other.cell.config.engine.workers, other.cell.config.engine.device) == (wanted.workers, wanted.device)
    ]
    return RaySize(max(size.workers for size in alike), each.ray.gpus)


def _fits_a_core(config: ExperimentConfig, device: str) -> bool:
    engine = config.engine
    needs = all(need.threads == ONE_CORE.threads for need in engine.resources.values())
    # An audit at the end of a run starts the engine that the configuration asks for.
    audited = bool(config.privacy.audit.attacks) and engine.kind != "inline"
    return needs and not audited and (engine.device, engine.address, engine.server_threads) == (device, None, 1)


def _taken_up(folder: Path, config: ExperimentConfig) -> bool:
    """Whether the cell in the folder is finished; raises ``FedkdError`` when it cannot be gone on with."""
    if not RunDirectory.holds_run(folder):
        if not RunDirectory.is_free(folder):
            raise ConfigError([f"--out: {folder} holds no run and is not empty; name another folder or remove it"])
        return False
    config = pinned(config)
    directory = directory_of(folder, config)
    check_changes(folder, directory.config, config, done=directory.rounds_done)
    # What is damaged and can be made again, the run itself will say.
    return directory.result(config, lambda text: None) is not None
