"""``report.html``: everything about one run on one page."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from math import isfinite
from pathlib import Path

from fedkd.config.identity import run_digest
from fedkd.core.files import replace_file, writing
from fedkd.distillation.diagnosis import Verdict
from fedkd.results.report import page
from fedkd.results.report.analysis_section import analysis_parts
from fedkd.results.report.audits import Attack, read_audit
from fedkd.results.report.comparisons import COMPARISONS, not_beaten, versus_student
from fedkd.results.report.facts import facts
from fedkd.results.report.figures import Notice as Sink
from fedkd.results.report.figures import is_whole
from fedkd.results.report.figures._label_distribution import LabelCounts, draw_label_distribution
from fedkd.results.report.figures.roc import CAPTION, draw_roc
from fedkd.results.report.figures.run_figures import draw_figure, figures_of
from fedkd.results.report.in_words import geometry_in_words
from fedkd.results.report.page import Block, Notice, Paragraph, Picture, Preformatted, section
from fedkd.results.report.paper import write_figures
from fedkd.results.report.pictures import pictures
from fedkd.results.report.run_log import RunLog
from fedkd.results.report.style import Figure
from fedkd.results.report.tables import Table

_CAPTIONS = {
    "accuracy": "Accuracy after each round. Solid is the student, dashed are controls, each in the colour of what it "
    "is made of; dotted, in a panel of its own, is what was measured on other samples than the test set.",
    "lambda": "λ at each distillation step: what the balancer chose, and its running median within each round.",
    "gradients": "The cosine of the angle between the two gradients, and their norms, where they were taken.",
    "decrease_curves": "q(λ), the first-order decrease of λ·L_dist + (1−λ)·L_cls per unit of learning rate, "
    "at five steps of the first and of the last round.",
    "taylor_fidelity": "Each dot is a step whose loss was measured again, on the same batch, after the update. The "
    "prediction is of first order in that update; on the line it holds.",
    "classes": "Per class: whether the teacher's gradient agrees with the labels' (below 0 they are at odds), and how "
    "much surer of the class the student is than the teacher.",
}
_LABELS = "How many private samples of each class each client holds."
_ROUND_COLUMNS = (
    "round",
    "student",
    "validation",
    "teacher",
    "mean λ",
    "L_dist",
    "L_cls",
    "T",
    "MB up",
    "MB down",
    "clients",
    "dropped",
    "seconds",
)


def write_report(run_dir: Path) -> Path:
    """Draw the run's figures and write ``run_dir/report.html``, one file without outside references; return its path.

    An unfinished run gets what there is, and a note that says so. Raises ``RunError`` when the folder holds no run,
    one of its files is damaged, or it cannot be written to.
    """
    log = RunLog.read(run_dir)
    target = run_dir / "report.html"
    with writing(run_dir):
        (run_dir / "plots").mkdir(exist_ok=True)
        replace_file(target, page.document(f"Run {log.path.resolve().name}", _parts(log)))
    return target


def write_run_figures(run_dir: Path, folder: Path, formats: Sequence[str], notice: Sink) -> list[Path]:
    """Write the run's figures that show something into ``folder``, for one column of a paper; return their paths.

    ``notice`` is told of figures that could not be drawn. Raises ``RunError`` as ``write_report`` does.
    """
    log = RunLog.read(run_dir)
    figures: dict[str, Callable[[], Figure]] = {name: partial(draw_figure, log, name) for name in figures_of(log)}
    if (numbers := _label_counts(log)).exists():
        figures["label_distribution"] = lambda: draw_label_distribution(LabelCounts.read(numbers))
    if (audit := read_audit(log)) is not None:
        figures["audit_roc"] = partial(draw_roc, audit)
    return write_figures(figures, folder, formats, notice)


def _label_counts(log: RunLog) -> Path:
    return log.path / "plots" / "label_distribution.csv"


def _parts(log: RunLog) -> Iterator[Block | None]:
    drawn = {name: list(_drawn(log, name)) for name in figures_of(log)}
    yield _state(log)
    yield Notice(log.remark) if log.remark else None
    yield Table.of("header", (), facts(log).items())
    yield section("Result", *_result(log), *drawn.pop("accuracy"))
    yield section("Diagnosis", *_diagnosis(log))
    yield section("λ and geometry", *map(Paragraph, geometry_in_words(log)), *chain.from_iterable(drawn.values()))
    yield section("Label distribution", *_label_distribution(log))
    yield section("Attacks", *_attacks(log))
    yield section("Analysis", *analysis_parts(log.path, run_digest(log.config)))
    yield section("Rounds", _rounds(log))
    yield section("Failures", _failures(log))
    yield section("Versions", _versions(log))
    yield section("Configuration", Preformatted(log.config_text))


def _drawn(log: RunLog, name: str) -> Iterator[Block]:
    """A figure of the run, on the page and as a file; one that would be empty is neither here nor explained."""
    for block in pictures(name, partial(draw_figure, log, name), _CAPTIONS[name]):
        if isinstance(block, Picture):
            replace_file(log.path / "plots" / f"{name}.png", block.png, durable=False)
        yield block


def _label_distribution(log: RunLog) -> Iterator[Block]:
    path = log.path / "plots" / "label_distribution.png"
    if (numbers := _label_counts(log)).exists():
        yield from pictures("label_distribution", lambda: draw_label_distribution(LabelCounts.read(numbers)), _LABELS)
    elif is_whole(path):
        yield Picture(path.read_bytes(), _LABELS)
    elif path.exists():
        yield Notice(f"{path} is damaged and left out; remove it, and fedkd run --resume draws it again")


def _state(log: RunLog) -> Block | None:
    if log.summary is not None:
        return None
    planned = log.at("rounds")
    return Notice(
        f"This run is not finished: {len(log.rounds)} of {planned} rounds are recorded, and there is no summary.json. "
        "Controls, privacy and versions are recorded at the end."
    )


def _result(log: RunLog) -> Iterator[Block]:
    if log.summary is None:
        if not log.rounds:
            yield Paragraph("No round is finished.")
            return
        last = log.rounds[-1]
        yield Paragraph(
            f"After round {last['round']} the student's test accuracy is {_percent(last.get('student_accuracy'))}."
        )
        return
    summary = log.summary
    student = summary["student_accuracy"]
    results = {"student": student, **summary.get("controls", {})}
    rows = [
        (
            name,
            _percent(results[name]),
            "" if name == "student" else versus_student(student, results[name]),
            COMPARISONS.get(name, ""),
        )
        for name in [*COMPARISONS, *(results.keys() - COMPARISONS.keys())]
        if name in results
    ]
    yield Table.of("result", ("", "test accuracy", "Δ vs. student", ""), rows, numbers=(1, 2))
    if (warning := not_beaten(student, summary.get("controls", {}))) is not None:
        yield Notice(warning)
    epsilon, delta = summary.get("epsilon"), summary.get("delta")
    privacy = "no formal guarantee (no DP)" if epsilon is None else f"ε = {epsilon:.3g} at δ = {delta:g}"
    yield Paragraph(
        f"{summary['rounds']} rounds, {summary['clients']} clients, {summary['failures']} client reports dropped; "
        f"{_megabytes(summary['bytes_up'])} MB up, {_megabytes(summary['bytes_down'])} MB down; "
        f"{summary['wall_seconds']:.0f} s; privacy: {privacy}."
    )
    yield Paragraph(f"SHA-256 of the student's parameters: {summary['student_sha256']}")


def _diagnosis(log: RunLog) -> Iterator[Block]:
    """What the last round comes to, with all controls; then, where it was another, what each round came to."""
    final = (log.summary or (log.rounds[-1] if log.rounds else {})).get("diagnosis")
    if final is None:
        return
    show = Paragraph if final["verdict"] == Verdict.HEALTHY else Notice
    yield show(f"On {final['samples']} validation samples: {final['text']}")
    rows = [
        (str(record["round"]), str(found["verdict"]).replace("_", " "), str(found["samples"]), str(found["text"]))
        for record in log.rounds
        if (found := record.get("diagnosis")) is not None
    ]
    yield Table.of("diagnosis", ("round", "verdict", "samples", "in words"), rows, numbers=(2,))


def _attacks(log: RunLog) -> Iterator[Block]:
    """What an audit found, where there was one."""
    audit = read_audit(log)
    if audit is None:
        return
    columns = ("attack", "observation", "AUC", "TPR at 1 % FPR", "ε at least", "members", "non-members", "shadows")
    if audit.attacks:
        yield Table.of("attacks", columns, map(_attack_row, audit.attacks), numbers=range(2, len(columns)))
    if audit.ceiling:
        yield Notice(f"{len(audit.ceiling)} of these figures refute the claim of ε = {audit.epsilon:.3g}.")
    yield from pictures("audit_roc", partial(draw_roc, audit), CAPTION)


def _attack_row(each: Attack) -> tuple[str, ...]:
    low, high = each.auc_interval
    least, most = each.tpr_interval
    return (
        each.attack,
        each.observation,
        f"{each.auc:.3f} [{low:.3f}, {high:.3f}]",
        f"{each.tpr_at_1pct_fpr:.3f} [{least:.3f}, {most:.3f}]",
        _number(each.epsilon_lower_bound, ".2f"),
        str(each.members),
        str(each.non_members),
        str(each.shadows),
    )


def _rounds(log: RunLog) -> Table | None:
    rows = [
        (
            str(record["round"]),
            _percent(record.get("student_accuracy")),
            _percent(record.get("validation_accuracy")),
            _percent(record.get("teacher_accuracy")),
            _number(record.get("mean_lambda"), ".3f"),
            _number(record.get("loss_dist"), ".4g"),
            _number(record.get("loss_cls"), ".4g"),
            _number(record.get("temperature"), ".3g"),
            _megabytes(record.get("bytes_up")),
            _megabytes(record.get("bytes_down")),
            str(len(record.get("clients", ()))),
            str(len(record.get("failures", ()))),
            _number(log.seconds.get(int(record["round"])), ".1f"),
        )
        for record in log.rounds
    ]
    return Table.of("rounds", _ROUND_COLUMNS, rows, numbers=range(len(_ROUND_COLUMNS))) if rows else None


def _failures(log: RunLog) -> Block:
    """One row per round and reason."""
    rows: list[tuple[str, str, str]] = []
    for record in log.rounds:
        reasons: dict[str, list[str]] = {}
        for failure in record.get("failures", ()):
            reasons.setdefault(str(failure["reason"]), []).append(str(failure["client"]))
        rows.extend((str(record["round"]), ", ".join(clients), reason) for reason, clients in reasons.items())
    if not rows:
        return Paragraph("No client's report was dropped.")
    return Table.of("failures", ("round", "clients dropped", "reason"), rows)


def _versions(log: RunLog) -> Table | None:
    versions = {} if log.summary is None else log.summary.get("versions", {})
    return Table.of("versions", (), [(name, str(version)) for name, version in versions.items()]) if versions else None


def _percent(share: float | None) -> str:
    return "–" if share is None or not isfinite(share) else f"{100 * share:.1f}%"


def _megabytes(count: float | None) -> str:
    return "–" if count is None else f"{count / 1e6:.2f}"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None or not isfinite(value) else format(value, form)
