"""Many experiments from one configuration: every combination of some keys' values, for several seeds.

    result = run_sweep("quickstart.yaml", {"strategy.name": ["stacked", "median"]}, [0, 1, 2], "runs/teachers")

Each cell is a run directory of its own, and bit for bit what ``run_experiment`` makes of its configuration. Cells share
what they have in common (``fedkd.app.sharing``). As many as there are cores are run at once; those that need more than
a core are run one after another, and share a Ray where they need one.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from fedkd.app.run import Means, run_experiment
from fedkd.app.sweep.observing import SilentSweep, SweepObserver
from fedkd.app.sweep.planning import PlannedCell, plan_sweep, side_by_side, widest_ray
from fedkd.app.sweep.workers import Workers
from fedkd.config.sweep import Grid
from fedkd.core.errors import FedkdError
from fedkd.core.files import checked_path, writing
from fedkd.engines.ray.shared import SharedRay
from fedkd.results.cache import Cache
from fedkd.results.observer import Observer
from fedkd.results.report.sweep_tables import CellResult, SweepResult, write_sweep

__all__ = ["PlannedCell", "SilentSweep", "SweepObserver", "plan_sweep", "run_sweep"]


def run_sweep(
    source: str | Path | Mapping[str, Any],
    grid: Grid,
    seeds: Sequence[int],
    out: str | Path,
    overrides: Sequence[str] = (),
    observer: SweepObserver | None = None,
    *,
    verbose: bool = False,
    cache: bool = True,
) -> SweepResult:
    """Run every cell of the grid for every seed in a folder of its own under ``out``, and write the tables there.

    Finished cells are left alone, a half-finished one goes on where it was. A cell that fails does not stop the others;
    its error is in the result, and a traceback that helps in its folder. ``out/sweep.json`` and ``sweep.csv``
    are up to date after every cell. With ``cache`` work that cells have in common is done once, and kept for other
    sweeps where ``fedkd cache`` says; no result depends on it. Raises ``ConfigError`` with the faults of all cells
    before anything runs.
    """
    out = checked_path("out", Path(out))
    shared = Cache.of_user() if cache else None
    planned = plan_sweep(source, grid, seeds, out, overrides)
    observer = observer or SilentSweep()
    observer.began(len(planned), sum(each.finished for each in planned))
    results = {each.cell.name: CellResult(each.cell, each.folder, done=each.finished) for each in planned}
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    for result in results.values():
        if result.done:
            observer.cell_ended(result)
    with closing(_run(planned, observer.cell_began, shared, verbose=verbose)) as found:
        for result in found:
            results[result.cell.name] = result
            write_sweep(out, SweepResult(tuple(results.values())))
            observer.cell_ended(result)
    everything = SweepResult(tuple(results.values()))
    write_sweep(out, everything)
    return everything


def _run(
    planned: Sequence[PlannedCell], cell_began: Callable[[str], Observer], cache: Cache | None, *, verbose: bool
) -> Generator[CellResult]:
    """The results of the cells that are not finished, as they come."""
    groups = side_by_side(planned)
    for group in groups:
        with Workers(group, cache, verbose=verbose) as workers:
            yield from workers.run(cell_began)
    beside = {each.cell.name for group in groups for each in group.cells}
    alone = [each for each in planned if not each.finished and each.cell.name not in beside]
    with SharedRay() as ray:
        for each in alone:
            yield _attempt(each, alone, ray, cell_began(each.cell.name), cache, verbose=verbose)


def _attempt(
    each: PlannedCell,
    alone: Sequence[PlannedCell],
    ray: SharedRay,
    observer: Observer,
    cache: Cache | None,
    *,
    verbose: bool,
) -> CellResult:
    size = widest_ray(each, alone)
    try:
        means = Means(None if size is None else ray.address(size), cache=cache)
        run_experiment(each.cell.config, each.folder, observer, verbose=verbose, means=means, resume=True)
    except FedkdError as error:
        # Whatever it was, the other cells are not to blame.
        return CellResult(each.cell, each.folder, error=str(error))
    return CellResult(each.cell, each.folder, done=True)
