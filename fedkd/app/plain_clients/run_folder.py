"""What a run of ``LogitDistillation`` leaves on disk: what ``fedkd run`` does, so far as the server knows it."""

import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from flwr.app import ArrayRecord, MetricRecord
from torch import nn

from fedkd.app.summary import versions
from fedkd.config.identity import run_digest
from fedkd.config.load import FLOWER_APP
from fedkd.config.strict_yaml import dump_yaml
from fedkd.core.errors import RunError
from fedkd.core.files import replace_file, writing
from fedkd.core.messages import parameter_digest
from fedkd.distillation.balanced_step import StepRow
from fedkd.results.directory import RunDirectory
from fedkd.results.logs import RunLogs, round_lines
from fedkd.results.records import ClientRecord, RoundRecord, Summary
from fedkd.results.summary_file import write_summary
from fedkd.results.totals import Totals

CONFIG = "config.yaml"
WEIGHTS = "weights.pt"
"""The student's weights after the last round on disk, as ``torch.load`` and ``student.init`` read them."""

_TITLE = (
    "# What LogitDistillation was told in a Flower app. fedkd run cannot repeat it: clients and data are the app's.\n"
)

Evaluate = Callable[[int, ArrayRecord], MetricRecord | None]


@dataclass(frozen=True)
class FinishedRound:
    """A round: its record, its clients' rows and its distillation steps."""

    record: RoundRecord
    clients: tuple[ClientRecord, ...]
    steps: tuple[StepRow, ...]


class RunFolder:
    """A new folder for one run of ``student``; every finished round is on disk before the next begins.

    ``told`` is what the strategy was told. There is no going on with such a run: Flower's loop begins anew, with any
    weights. Raises ``RunError`` where ``path`` holds a run already, or cannot be written.
    """

    def __init__(self, path: Path, student: nn.Module, told: Mapping[str, Any]) -> None:
        if RunDirectory.holds_run(path):
            raise RunError(f"{path} already holds a run; choose another folder with out, or remove it")
        config = {**FLOWER_APP, **told}
        self._path, self._student, self._run = path, student, run_digest(config)
        self._logs, self._totals = RunLogs(path), Totals()
        self._clients: set[int] = set()
        self._measured = False
        self._waiting: FinishedRound | None = None
        self._begun = time.monotonic()
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
        replace_file(path / CONFIG, (_TITLE + dump_yaml(config)).encode())
        self._logs.begin()

    def measuring(self, evaluate: Evaluate) -> Evaluate:
        """The same function, after which rounds are written: its ``accuracy`` is the student's on test samples."""
        self._measured = True

        def measured(round: int, arrays: ArrayRecord) -> MetricRecord | None:
            found = evaluate(round, arrays)
            if self._waiting is not None:
                accuracy = None if found is None else found.get("accuracy")
                share = float(accuracy) if isinstance(accuracy, int | float) and 0 <= accuracy <= 1 else None
                self._write(replace(self._waiting, record=replace(self._waiting.record, student_accuracy=share)))
            return found

        return measured

    def add(self, finished: FinishedRound) -> None:
        """Keep a finished round, at once unless it is to be measured."""
        if self._measured:
            self._waiting = finished
        else:
            self._write(finished)

    def close(self) -> None:
        """Keep a round that was not measured, because something failed in between."""
        if self._waiting is not None:
            self._write(self._waiting)

    def finish(self) -> None:
        """Write ``summary.json``."""
        totals, last = self._totals, self._totals.last
        if last is None:
            return
        summary = Summary(
            student_accuracy=last.student_accuracy,
            teacher_accuracy=last.teacher_accuracy,
            controls={},
            control_history={},
            bytes_up=totals.bytes_up,
            bytes_down=totals.bytes_down,
            epsilon=None,
            delta=0.0,
            rounds=totals.rounds,
            clients=len(self._clients),
            attackers=(),
            failures=totals.failures,
            wall_seconds=round(time.monotonic() - self._begun, 3),
            student_sha256=parameter_digest(self._student.state_dict()),
            versions=versions(),
            traffic={"up": totals.sent, "down": totals.received},
            validation=last.validation,
        )
        write_summary(self._path, summary, self._logs.states, self._run)

    def _write(self, finished: FinishedRound) -> None:
        """The student's weights first, then the round's lines in the logs."""
        content = io.BytesIO()
        torch.save(self._student.state_dict(), content)
        replace_file(self._path / WEIGHTS, content.getvalue())
        seconds = time.monotonic() - self._begun
        record, clients = finished.record, finished.clients
        self._logs.add(round_lines(record, clients, finished.steps, seconds - self._totals.seconds))
        self._totals = self._totals.after(record, clients, ensemble_accuracy=None, probed=False, seconds=seconds)
        self._clients |= set(record.clients)
        self._waiting = None
