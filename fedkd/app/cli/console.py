"""Shows a run to a person: a header, a line per round, a bar inside long stages, and a closing table."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console as RichConsole
from rich.table import Table

from fedkd.app.cli.bars import bar_for
from fedkd.distillation.diagnosis import Verdict
from fedkd.results.records import Overview, RoundRecord, Summary
from fedkd.results.report.comparisons import COMPARISONS, not_beaten, versus_student

_COLUMNS = (
    ("round", 7),
    ("student", 9),
    ("teacher", 9),
    ("clients*", 10),
    ("mean λ", 8),
    ("MB up", 9),
    ("seconds", 9),
)


_SAID_AT_THE_END = {Verdict.HEALTHY, Verdict.TOO_FEW_SAMPLES, Verdict.NO_LABELS, Verdict.ONE_CLIENT}
"""What need not be said after every round."""

_LISTED = 20
"""Of more clients than this not every one is named in the header."""


class ConsoleObserver:
    """An observer that prints with rich.

    On a terminal a transient bar shows the stage that is running, and in a notebook an element that is empty in the
    end; elsewhere (a file, a pipe, CI) there are plain lines without control characters. A context manager: leaving it
    removes the bar, whatever happened.

    ``command`` are the words of the command that started the run, repeated in the closing advice, configuration and
    changes with them; ``rich`` is where to print.
    """

    def __init__(self, command: Sequence[str] = (), rich: RichConsole | None = None) -> None:
        self._command = command
        self._rich = rich or RichConsole(highlight=False)
        self._bar = bar_for(self._rich)
        self._rounds = 0

    def __enter__(self) -> "ConsoleObserver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the bar, if one is shown."""
        self._bar.remove()

    def started(self, overview: Overview) -> None:
        """Print what is about to run."""
        self._rounds = overview.rounds
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, text in _header(overview):
            table.add_row(name, text)
        self._rich.print(table)
        self._rich.print()
        self._rich.print(self._cells(title for title, _ in _COLUMNS), style="bold")
        self.progress("starting the engine", 0, 0)

    def noticed(self, text: str) -> None:
        """Print a sentence that a user who resumes a run should read."""
        self.close()
        self._rich.print(text, style="yellow", markup=False, soft_wrap=True)

    def progress(self, stage: str, done: int, total: int) -> None:
        """Move the bar; ``total`` 0 means that the end is not known."""
        self._bar.show(stage, done, total)

    def round_ended(self, record: RoundRecord, seconds: float) -> None:
        """Print the round's line, and one line per reason for which clients were dropped."""
        self.close()
        self._rich.print(
            self._cells(
                (
                    f"{record.round}/{self._rounds}",
                    _percent(record.student_accuracy),
                    _percent(record.teacher_accuracy),
                    _percent(record.client_accuracy),
                    "–" if record.mean_lambda is None else f"{record.mean_lambda:.3f}",
                    f"{record.bytes_up / 1e6:.2f}",
                    f"{seconds:.1f}",
                )
            ),
            markup=False,
        )
        reasons: dict[str, list[int]] = {}
        for failure in record.failures:
            reasons.setdefault(failure.reason, []).append(failure.client)
        for reason, clients in reasons.items():
            who = f"client {clients[0]}" if len(clients) == 1 else f"{len(clients)} clients"
            self._rich.print(f"  {who} dropped from round {record.round}: {reason}", style="yellow", markup=False)
        if record.temperature_choice is not None:
            self._rich.print(f"  {record.temperature_choice.text}", style="dim", markup=False)
        if record.diagnosis is not None and record.diagnosis.verdict not in _SAID_AT_THE_END:
            self._rich.print(f"  {record.diagnosis.text}", style="yellow", markup=False)

    def control_ended(self, name: str, accuracy: float) -> None:
        """Print the control's result."""
        self.close()
        self._rich.print(f"control {name}: {_percent(accuracy)}", style="dim", markup=False)

    def finished(self, summary: Summary, overview: Overview) -> None:
        """Print the comparison, what it says, and what to do next."""
        self.close()
        self._rich.print()
        self._rich.print(_comparison(summary))
        for line in _remarks(summary, overview):
            self._rich.print(line, markup=False)
        self._rich.print()
        for line in _advice(summary, overview, self._command):
            self._rich.print(line, markup=False, soft_wrap=True)

    def _cells(self, texts: Iterable[str]) -> str:
        """The texts in columns, as many from the left as the terminal is wide."""
        line = ""
        for text, (_, width) in zip(texts, _COLUMNS, strict=True):
            if len(line) + width > self._rich.width:
                break
            line += text.rjust(width)
        return line


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}%"


def _share(share: float | None) -> str:
    return "no samples" if share is None else _percent(share)


def _listed(clients: Sequence[int]) -> str:
    """The first few of them."""
    shown = ", ".join(map(str, clients[:_LISTED]))
    return shown if len(clients) <= _LISTED else f"{shown} and {len(clients) - _LISTED} more"


def _header(overview: Overview) -> Iterator[tuple[str, str]]:
    shape = "×".join(map(str, overview.shape))
    yield "data", f"{overview.dataset}, {shape}, {overview.classes} classes, {overview.test_samples:,} test samples"
    yield (
        "public",
        f"{overview.public_samples:,} samples, {overview.labelled_samples + overview.validation_samples:,} labelled, "
        f"of which {overview.validation_samples:,} for validation",
    )
    held = "private samples of their own"
    if overview.private_samples is not None:
        each = f"{overview.smallest_client:,} to {overview.largest_client:,} each"
        held = f"{overview.private_samples:,} private samples, {each}"
    yield "clients", f"{overview.clients} ({overview.clients_per_round} a round) with {held}; {overview.partition}"
    if overview.attackers:
        yield (
            "attackers",
            f"{len(overview.attackers)} of {overview.clients} clients, {overview.attack}: "
            f"{_listed(overview.attackers)}",
        )
    if overview.behaviour != "honest":
        yield "behaviour", f"{overview.behaviour}, of all other clients" if overview.attackers else overview.behaviour
    yield "student", f"{overview.student}, {overview.student_parameters:,} parameters"
    yield "teacher", f"{overview.teacher}; λ by {overview.balancer}"
    yield "engine", overview.engine
    yield "controls", ", ".join(overview.controls) or "none"
    yield "results", overview.out
    if overview.remarks:
        yield "note", "\n".join(overview.remarks)
    if overview.privacy:
        yield "privacy", "\n".join(line.removeprefix("privacy: ") for line in overview.privacy)


def _comparison(summary: Summary) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("test accuracy", justify="right", min_width=6)
    table.add_column("Δ vs. student", justify="right", min_width=6)
    table.add_column("", overflow="fold")
    results = {"student": summary.student_accuracy, **summary.controls}
    for name, text in COMPARISONS.items():
        if name in results:
            difference = "" if name == "student" else versus_student(summary.student_accuracy, results[name])
            table.add_row(name, _percent(results[name]), difference, text, style="bold" if name == "student" else None)
    return table


def _remarks(summary: Summary, overview: Overview) -> Iterator[str]:
    if (share := summary.student_accuracy) is not None:
        error = 100 * (share * (1 - share) / overview.test_samples) ** 0.5
        yield f"One standard error of the student is {error:.1f} points, on {overview.test_samples:,} test samples."
    if (warning := not_beaten(summary.student_accuracy, summary.controls)) is not None:
        yield warning
    if summary.client_accuracy is not None:
        share = summary.client_test_accuracy
        tested, first = ("", "That is") if share is None else (f"; on the test set: {_percent(share)}", "The first is")
        yield (
            "* The clients' own models, each on its own client's validation samples: "
            f"{_percent(summary.client_accuracy)}{tested}. {first} not comparable with the student's: a client's "
            "validation samples are as skewed as its training samples."
        )
    if (report := summary.validation) is not None:
        yield (
            f"Validation ({report.samples} samples): student {_percent(report.accuracy)}, teacher "
            f"{_percent(report.teacher_accuracy)}, agreement {_percent(report.agreement)} "
            f"(KL {report.divergence:.2f} nats)."
        )
        yield (
            f"  The student is right on {_share(report.accuracy_where_teacher_right)} where the teacher is right, on "
            f"{_share(report.accuracy_where_teacher_wrong)} where it is wrong; its entropy is "
            f"{report.student_entropy:.2f} nats."
        )
    if summary.diagnosis is not None:
        yield f"Diagnosis, on {summary.diagnosis.samples} validation samples: {summary.diagnosis.text}"
    if summary.epsilon is None or summary.guarantee is None:
        yield "Privacy: no formal privacy guarantee (no DP)."
    else:
        yield f"Privacy: ε = {summary.epsilon:.4g} at δ = {summary.delta:g}, protecting {summary.guarantee.scope()}."
    if summary.failures:
        yield f"{summary.failures} client reports were dropped; the reasons are in rounds.jsonl."


def _advice(summary: Summary, overview: Overview, command: Sequence[str]) -> Iterator[str]:
    out = Path(overview.out)
    yield (
        f"{summary.rounds} rounds, {summary.bytes_up / 1e6:.2f} MB up, {summary.bytes_down / 1e6:.2f} MB down, "
        f"{summary.wall_seconds:.0f} s; results in {out}"
    )
    if any((out / "plots").glob("*.png")):
        yield f"  plots  {out / 'plots'}"
        yield f"  next   {shlex.join(['fedkd', 'report', str(out)])}    (everything about this run in one page)"
    if not command:
        return
    # Where something is proved or hidden, beyond the first line, another strategy may not go with that.
    if summary.guarantee is None and not overview.privacy[1:] and summary.teacher_accuracy is not None:
        other = "stacked" if overview.teacher.startswith("mean_probabilities") else "mean_probabilities"
        again = _changed(command, "strategy", f"strategy.name={other}")
        yield f"  next   {again}    (another strategy; fedkd list strategies)"
    if overview.partition.startswith("dirichlet("):
        skew, word = ("1.0", "less") if overview.partition == "dirichlet(0.1)" else ("0.1", "more")
        again = _changed(command, "data.partition.alpha", f"data.partition.alpha={skew}")
        yield f"  next   {again}    ({word} skew; fedkd run --help shows every key)"


def _changed(command: Sequence[str], key: str, change: str) -> str:
    """The command with one more change, and without those that it takes the place of."""
    kept = [word for word in command if not f"{word.partition('=')[0]}.".startswith(f"{key}.")]
    return shlex.join([*kept, change])
