"""MLflow: a run of its own in a tracking store, on this machine unless another is named."""

import csv
import fcntl
import io
import logging
import os
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedkd.config.identity import leaves, shown
from fedkd.core.files import replace_file
from fedkd.results.tracker import Point, TrackedRun, Tracker, require_extra

_RUN_FILE = "mlflow_run.txt"
"""In the run's folder: the identifier of its run in MLflow."""
_MOST_AT_ONCE, _LONGEST = 1000, 6000
"""Numbers in one call, and characters of a parameter, that MLflow takes."""


@dataclass
class MLflow(Tracker):
    """A run in the store at ``uri``, or $MLFLOW_TRACKING_URI, or in mlflow.db beside the folder; extra ``mlflow``."""

    uri: str | None = None
    experiment: str = "fedkd"
    _client: Any = field(init=False, repr=False)
    _run: str = field(init=False, repr=False)
    _known: dict[str, set[int]] = field(init=False, repr=False)

    def begin(self, run: TrackedRun) -> None:
        """Goes on with the run that the folder names, if the store has it; numbers that are there stay."""
        require_extra("mlflow", "mlflow", "sqlalchemy", "alembic")
        # Nothing is told to anyone.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        beside = run.folder.resolve().parent
        uri = self.uri or os.environ.get("MLFLOW_TRACKING_URI")
        with _quietly(), _alone(beside):
            from mlflow import MlflowClient

            self._client = MlflowClient(uri or f"sqlite:///{beside / 'mlflow.db'}")
            self._run = self._begun(run.folder) or self._created(run, None if uri else beside / "mlflow")
            self._known = defaultdict(set)
            for name in self._client.get_run(self._run).data.metrics:
                self._known[name] = {each.step for each in self._client.get_metric_history(self._run, name)}

    def curves(self, points: Sequence[Point]) -> None:
        with _quietly():
            from mlflow.entities import Metric

            now = int(1000 * time.time())
            found = []
            for point in points:
                for name, value in point.values.items():
                    if point.step not in self._known[name]:
                        self._known[name].add(point.step)
                        found.append(Metric(name, value, now, point.step))
            for first in range(0, len(found), _MOST_AT_ONCE):
                self._client.log_batch(self._run, metrics=found[first : first + _MOST_AT_ONCE])

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            text = io.StringIO()
            writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            with _quietly():
                self._client.log_text(self._run, text.getvalue(), f"tables/{name}.csv")

    def figure(self, name: str, png: Path) -> None:
        with _quietly():
            self._client.log_artifact(self._run, str(png), "figures")

    def end(self, *, finished: bool) -> None:
        with _quietly():
            self._client.set_terminated(self._run, "FINISHED" if finished else "KILLED")

    def _begun(self, folder: Path) -> str | None:
        """The run that was begun before, if it is still there."""
        from mlflow.exceptions import MlflowException

        path = folder / _RUN_FILE
        if not path.is_file():
            return None
        run = path.read_text(encoding="utf-8").strip()
        try:
            self._client.update_run(run, status="RUNNING")
        except MlflowException:
            return None
        return run

    def _created(self, run: TrackedRun, artifacts: Path | None) -> str:
        from mlflow.entities import Param

        found = self._client.get_experiment_by_name(self.experiment)
        where = None if artifacts is None else artifacts.as_uri()
        number = self._client.create_experiment(self.experiment, where) if found is None else found.experiment_id
        made: str = self._client.create_run(number, run_name=run.folder.resolve().name).info.run_id
        # Keys that stand for nothing, and texts that are longer than it takes, are in the run's folder.
        params = [Param(key, shown(value)) for key, value in leaves(run.config)]
        self._client.log_batch(made, params=[each for each in params if len(each.value) <= _LONGEST])
        replace_file(run.folder / _RUN_FILE, f"{made}\n".encode())
        return made


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time, of those whose runs lie in the folder: two would both make a store's tables."""
    place = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # on a file system without locks
            fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without MLflow's remarks on what it does inside."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
