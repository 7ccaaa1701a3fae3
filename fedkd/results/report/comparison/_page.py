"""The page that sets runs side by side."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from fedkd.core.files import replace_file, writing
from fedkd.results.report import page
from fedkd.results.report.comparison import _tables as tables
from fedkd.results.report.comparison._attacks import audit_table
from fedkd.results.report.comparison._figures import FIGURES
from fedkd.results.report.comparison._find import find_runs
from fedkd.results.report.comparison._groups import Group, Labelled, group_runs, names_of
from fedkd.results.report.comparison._looks import MOST_NAMED
from fedkd.results.report.page import Notice, Paragraph, section
from fedkd.results.report.pictures import pictures

_HOW_TO_READ = (
    "Every figure is that of the last round, whichever round was best. ± is the half-width of the 95 % t interval of "
    "the mean over seeds; a single seed has none, and few seeds have wide ones. Accuracies are in per cent."
)
_TEACHER = (
    "The student and the controls are measured on the test set; so are the clients' own models, of which this is the "
    "mean. The teacher is measured on the public samples of which the server knows no label. Choose by the validation "
    "samples, which are few, and report the test set."
)
_DIFFERENCES = (
    "Each group against “{first}”, seed by seed, which removes the variation between seeds that both share. Intervals "
    "are for one difference each: of many groups, some will differ by chance. p is that of a paired t test, corrected "
    "by Holm's method for the number of groups in its column: where it is below 0.05, there is a difference."
)
_TRADE_OFFS = (
    "A group is on the front where no other is as accurate and as cheap, and better in one of the two, by their means: "
    "intervals that overlap leave open who is ahead."
)
_MANY = (
    f"Figures name {MOST_NAMED} groups: the first, and those whose students are best on validation samples. The others "
    "are grey."
)
_AUDITS = (
    "What attacks on membership find in those runs that were audited, as means over their seeds; “ε at least” is the "
    "largest lower bound of any seed."
)
_PRIVACY = "ε is the largest of any client and any seed. An ε per record and an ε per client cannot be compared."


def write_comparison(folders: Sequence[Path], out: Path) -> Path:
    """Write a page, one file without outside references, about the runs in the folders; return its path.

    A folder is that of a run, of a sweep, or holds such folders. Runs that differ only in their seed form a group,
    named by the keys in which the groups differ. Raises ``RunError`` for a folder that holds no run, for damaged runs,
    and when the page cannot be written.
    """
    return write_page(group_runs(find_runs(folders)), out)


def write_page(groups: Sequence[Group], out: Path) -> Path:
    """Write the page about these groups; return its path. Raises ``RunError`` where it cannot be written."""
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    count = sum(len(group.runs) for group in groups)
    title = f"Comparison of {count} {'run' if count == 1 else 'runs'}"
    replace_file(out, page.document(title, _parts(groups)))
    return out


def _parts(groups: Sequence[Group]) -> Iterator[page.Block | None]:
    named = names_of(groups)
    finished = {label: group for label, group in named.items() if group.runs}
    yield Paragraph(_HOW_TO_READ)
    yield from _remarks(groups)
    yield section("Groups", tables.groups_table(named))
    yield section("What they have in common", tables.shared_table(named))
    if finished:
        yield from _results(finished)
    yield section("Not finished", tables.unfinished_table(named))
    yield section("Runs", tables.runs_table(finished))


def _results(groups: Labelled) -> Iterator[page.Block | None]:
    yield section("Accuracy after the last round", tables.accuracy_table(groups), Paragraph(_TEACHER))
    if (differences := tables.difference_table(groups)) is not None:
        yield section("Differences", Paragraph(_DIFFERENCES.format(first=next(iter(groups)))), differences)
    if (trade_offs := tables.trade_off_table(groups)) is not None:
        yield section("Accuracy against cost", Paragraph(_TRADE_OFFS), trade_offs)
    yield section("Plots", Paragraph(_MANY) if len(groups) > MOST_NAMED else None, *_pictures(groups))
    yield section("Bytes, λ and time", tables.cost_table(groups))
    privacy = tables.privacy_table(groups)
    yield section(
        "Privacy",
        Paragraph(_PRIVACY if privacy else "None of these runs has a formal privacy guarantee (no DP)."),
        privacy,
    )
    if (audits := audit_table(groups)) is not None:
        yield section("Audits", Paragraph(_AUDITS), audits)


def _pictures(groups: Labelled) -> Iterator[page.Block]:
    for name, kind in FIGURES.items():
        yield from pictures(name, partial(kind.draw, groups), kind.caption)


def _remarks(groups: Sequence[Group]) -> Iterator[page.Block]:
    """What a reader must know before the figures."""
    unfinished = sum(len(group.unfinished) for group in groups)
    if unfinished:
        yield Notice(f"{unfinished} of these runs are not finished and left out of all figures; they are listed below.")
    for group in groups:
        for run in group.repeated:
            original = group.runs[int(run.at("seed") or 0)]
            same = (run.summary or {}).get("student_sha256") == (original.summary or {}).get("student_sha256")
            verdict = "with the same result" if same else "with another result, which equal runs should not have"
            yield Notice(f"{run.path} repeats {original.path}, {verdict}; it is left out of all figures.")
    versions = [(run.summary or {}).get("versions", {}) for group in groups for run in group.runs.values()]
    packages = sorted({name for found in versions for name in found})
    differing = [name for name in packages if len({found.get(name) for found in versions}) > 1]
    if differing:
        yield Notice(f"These runs were made with different versions of {', '.join(differing)}.")
