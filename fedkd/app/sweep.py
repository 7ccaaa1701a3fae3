"""Many experiments from one configuration: every combination of some keys' values, for several seeds.

    result = run_sweep("quickstart.yaml", {"strategy.name": ["stacked", "median"]}, [0, 1, 2], "runs/teachers")

Each cell is a run directory of its own, and bit for bit what ``run_experiment`` makes of its configuration. Cells are
run one after another; those that need a Ray share one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fedkd.app.checks import check
from fedkd.app.resume import check_changes
from fedkd.app.run import directory_of, run_experiment
from fedkd.config.given import pinned
from fedkd.config.schema import ExperimentConfig
from fedkd.config.sweep import Cell, Grid, cells_of
from fedkd.core.errors import ConfigError, FedkdError
from fedkd.core.files import checked_path, writing
from fedkd.engines.building import ray_size
from fedkd.engines.ray.shared import RaySize, SharedRay
from fedkd.results.directory import RunDirectory
from fedkd.results.observer import Observer, Silent
from fedkd.results.report.sweep_tables import CellResult, SweepResult, write_sweep


class SweepObserver(Protocol):
    """Receives the events of a sweep, in order."""

    def began(self, cells: int, finished: int) -> None:
        """All configurations are sound; so many of the cells are finished already."""

    def cell_began(self, name: str) -> Observer:
        """A cell is about to run, or to go on; what is returned is told how it does."""
        ...

    def cell_ended(self, result: CellResult) -> None:
        """A cell has ended, one way or the other, or was finished before."""


class SilentSweep:
    """A sweep observer that ignores everything."""

    def began(self, cells: int, finished: int) -> None: ...

    def cell_began(self, name: str) -> Observer:
        return Silent()

    def cell_ended(self, result: CellResult) -> None: ...


@dataclass(frozen=True)
class PlannedCell:
    """A cell, its folder, and the Ray that it needs, if it is not finished and needs one."""

    cell: Cell
    folder: Path
    finished: bool
    ray: RaySize | None = None


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


def run_sweep(
    source: str | Path | Mapping[str, Any],
    grid: Grid,
    seeds: Sequence[int],
    out: str | Path,
    overrides: Sequence[str] = (),
    observer: SweepObserver | None = None,
    *,
    verbose: bool = False,
) -> SweepResult:
    """Run every cell of the grid for every seed in a folder of its own under ``out``, and write the tables there.

    Finished cells are left alone, a half-finished one goes on where it was. A cell that fails does not stop the others;
    its error is in the result, and a traceback that helps in its folder. ``out/sweep.json`` and ``sweep.csv``
    are up to date after every cell. Raises ``ConfigError`` with the faults of all cells before anything runs.
    """
    out = checked_path("out", Path(out))
    planned = plan_sweep(source, grid, seeds, out, overrides)
    observer = observer or SilentSweep()
    observer.began(len(planned), sum(each.finished for each in planned))
    results = {each.cell.name: CellResult(each.cell, each.folder, done=each.finished) for each in planned}
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    with SharedRay() as ray:
        for each in planned:
            name = each.cell.name
            if not each.finished:
                results[name] = _attempt(each, _widest(each, planned), ray, observer.cell_began(name), verbose)
                write_sweep(out, SweepResult(tuple(results.values())))
            observer.cell_ended(results[name])
    result = SweepResult(tuple(results.values()))
    write_sweep(out, result)
    return result


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


def _widest(each: PlannedCell, planned: Sequence[PlannedCell]) -> RaySize | None:
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


def _attempt(each: PlannedCell, size: RaySize | None, ray: SharedRay, observer: Observer, verbose: bool) -> CellResult:
    try:
        address = None if size is None else ray.address(size)
        run_experiment(each.cell.config, each.folder, observer, verbose=verbose, resume=True, ray_address=address)
    except FedkdError as error:
        # Whatever it was, the other cells are not to blame.
        return CellResult(each.cell, each.folder, error=str(error))
    return CellResult(each.cell, each.folder, done=True)
