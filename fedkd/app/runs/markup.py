"""What notebooks show of runs."""

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from fedkd.results.report.comparisons import COMPARISONS

if TYPE_CHECKING:
    from pandas import DataFrame

    from fedkd.app.runs.run import Run

_SHOWN = ("cell", "seed", "student_accuracy", "teacher_accuracy", "bytes_up", "bytes_down", "epsilon", "failures")
"""The columns of several runs' results that are shown, beside the controls."""


def run_table(run: "Run") -> str:
    """A run's result as an HTML table."""
    from pandas import DataFrame

    rows = DataFrame(_distilled(run) if run.of_one_network else _federated(run))
    table: str = rows.to_html(index=False, header=False)
    return f"<p>{escape(f'{run.folder}: {run.progress}')}</p>{table}"


def runs_table(summary: "DataFrame") -> str:
    """The results of several runs as an HTML table."""
    shown = [name for name in summary.columns if name in _SHOWN or name.startswith("controls.")]
    text: str = summary[shown].to_html(index=False, na_rep="–", float_format="{:.4g}".format)
    return text


def _federated(run: "Run") -> Iterator[tuple[str, str, str]]:
    if not run.finished:
        for name in ("student", "teacher"):
            yield name, _last(run, f"{name}_accuracy"), "after the last round that is recorded"
        return
    summary = run.summary
    yield "student", _percent(summary.student_accuracy), COMPARISONS["student"]
    yield "teacher", _percent(summary.teacher_accuracy), "on the public samples without a label"
    for name, share in summary.controls.items():
        yield name, _percent(share), COMPARISONS.get(name, "")
    epsilon = summary.epsilon
    claim = "no formal privacy guarantee" if epsilon is None else f"at δ = {summary.delta:g}"
    yield "ε", "–" if epsilon is None else f"{epsilon:.3g}", claim
    yield "MB up", f"{summary.bytes_up / 1e6:.2f}", "from all clients, all rounds"
    yield "MB down", f"{summary.bytes_down / 1e6:.2f}", "to all clients, all rounds"
    if summary.failures:
        yield "dropped", str(summary.failures), "reports of clients that were not used"


def _distilled(run: "Run") -> Iterator[tuple[str, str, str]]:
    for name, value in run.result.items():
        if name.endswith("_accuracy"):
            yield name.removesuffix("_accuracy").replace("_", " "), _percent(value), "test accuracy"


def _last(run: "Run", name: str) -> str:
    return _percent(run.log.rounds[-1].get(name)) if run.log.rounds else "–"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}%"
