"""Several runs: those of a sweep, or of several."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fedkd.app.runs import frames
from fedkd.app.runs.run import Run

if TYPE_CHECKING:
    from pandas import DataFrame


class Runs:
    """Runs side by side, as ``fedkd.load_runs`` gives them: to count, to index, to go through, and as frames.

    Every frame has the columns of a single run's and, before them, what tells the runs apart: ``run``, the folder;
    ``cell``, what runs that differ in nothing but the seed have in common; a column for each configuration key in which
    the runs differ; ``seed``.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = tuple(runs)

    def __len__(self) -> int:
        return len(self._runs)

    def __getitem__(self, index: int) -> Run:
        return self._runs[index]

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def __repr__(self) -> str:
        return f"<Runs: {len(self)}, {len(set(map(str, (labels['cell'] for labels in self._labels))))} cells>"

    def _repr_html_(self) -> str:
        from fedkd.app.runs.markup import runs_table

        return runs_table(self.summary)

    @property
    def summary(self) -> "DataFrame":
        """A row per run: its result, NaN where it is not finished, with a column for each control."""
        return self._frame(_result)

    @property
    def rounds(self) -> "DataFrame":
        """A row per run and round."""
        return self._frame(lambda run: run.rounds)

    @property
    def steps(self) -> "DataFrame":
        """A row per run and distillation step."""
        return self._frame(lambda run: run.steps)

    @property
    def clients(self) -> "DataFrame":
        """A row per run, round and client."""
        return self._frame(lambda run: run.clients)

    @property
    def failures(self) -> "DataFrame":
        """A row per run, round and client that was dropped."""
        return self._frame(lambda run: run.failures)

    @property
    def controls(self) -> "DataFrame":
        """A row per run, control and round."""
        return self._frame(lambda run: run.controls)

    def _frame(self, of: Callable[[Run], "DataFrame"]) -> "DataFrame":
        return frames.joined((labels, of(run)) for labels, run in zip(self._labels, self, strict=True))

    @cached_property
    def _labels(self) -> Sequence[Mapping[str, object]]:
        """What tells each run from the others."""
        from fedkd.results.report.comparison import group_runs

        found: dict[Path, Mapping[str, object]] = {}
        for group in group_runs(run.log for run in self):
            for log in (*group.runs.values(), *group.unfinished, *group.repeated):
                values = {key: _value(log.at(key), text) for key, text in group.values.items()}
                found[log.path] = {"run": str(log.path), "cell": group.name, **values, "seed": log.at("seed")}
        return [found[run.folder] for run in self]


def _value(value: object, text: str) -> object:
    """A configured value as a cell of a frame: what is no single one as its text."""
    return value if isinstance(value, str | int | float) or value is None else text


def _result(run: Run) -> "DataFrame":
    result = {name: value for name, value in run.result.items() if name != "control_history"}
    return frames.table([frames.flat(result)])
