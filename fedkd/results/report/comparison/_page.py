"""The page that sets runs side by side."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fedkd.core.files import replace_file, writing
from fedkd.results.report import page
from fedkd.results.report.comparison import _tables as tables
from fedkd.results.report.comparison._figures import FIGURES, Labelled, unit_of
from fedkd.results.report.comparison._find import find_runs
from fedkd.results.report.comparison._groups import Group, group_runs
from fedkd.results.report.figures import attempt_figure
from fedkd.results.report.style import Figure, drawing, png

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
    "Each group against “{first}”, seed by seed, which removes the variation between seeds that both share. An "
    "interval without 0 is a difference at the 5 % level; with many groups some will be so by chance."
)
_PRIVACY = "ε is the largest of any client and any seed. An ε per record and an ε per client cannot be compared."


def write_comparison(folders: Sequence[Path], out: Path) -> Path:
    """Write a page, one file without outside references, about the runs in the folders; return its path.

    A folder is that of a run, of a sweep, or holds such folders. Runs that differ only in their seed form a group,
    named by the keys in which the groups differ. Raises ``RunError`` for a folder that holds no run, for damaged runs,
    and when the page cannot be written.
    """
    groups = group_runs(find_runs(folders))
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, page.encoded(comparison_page(groups)))
    return out


def comparison_page(groups: Sequence[Group]) -> str:
    """The page, as HTML."""
    named = tables.names_of(groups)
    finished = {label: group for label, group in named.items() if group.runs}
    count = sum(len(group.runs) for group in groups)
    parts = [page.paragraph(_HOW_TO_READ), *_remarks(groups), page.section("Groups", tables.groups_table(named))]
    if finished:
        parts += _results(finished)
    parts += [
        page.section("Not finished", tables.unfinished_table(named)),
        page.section("Runs", tables.runs_table(finished) if finished else ""),
    ]
    return page.document(f"Comparison of {count} {'run' if count == 1 else 'runs'}", parts)


def _results(groups: Labelled) -> Iterator[str]:
    first = next(iter(groups))
    yield page.section("Accuracy after the last round", tables.accuracy_table(groups), page.paragraph(_TEACHER))
    if differences := tables.difference_table(groups):
        yield page.section("Differences", page.paragraph(_DIFFERENCES.format(first=first)), differences)
    yield page.section("Plots", *_figures(groups))
    yield page.section("Bytes, λ and time", tables.cost_table(groups))
    privacy = tables.privacy_table(groups)
    yield page.section(
        "Privacy",
        page.paragraph(_PRIVACY if privacy else "None of these runs has a formal privacy guarantee (no DP)."),
        privacy,
    )


def _figures(groups: Labelled) -> Iterator[str]:
    for name, (draw, caption) in FIGURES.items():
        if name == "privacy" and not any(unit_of(group) for group in groups.values()):
            continue
        grounds: list[bytes] = []

        def both(draw: Callable[[Labelled], Figure] = draw, grounds: list[bytes] = grounds) -> None:
            for dark in (False, True):
                with drawing(dark=dark):
                    grounds.append(png(draw(groups)))

        missing: list[str] = []
        if attempt_figure(name, both, missing.append):
            light, dark = grounds
            yield page.figure(light, caption, dark=dark)
        yield from map(page.notice, missing)


def _remarks(groups: Sequence[Group]) -> Iterator[str]:
    """What a reader must know before the figures."""
    unfinished = sum(len(group.unfinished) for group in groups)
    if unfinished:
        yield page.notice(
            f"{unfinished} of these runs are not finished and left out of all figures; they are listed below."
        )
    for group in groups:
        for run in group.repeated:
            original = group.runs[int(run.at("seed") or 0)]
            same = (run.summary or {}).get("student_sha256") == (original.summary or {}).get("student_sha256")
            verdict = "with the same result" if same else "with another result, which equal runs should not have"
            yield page.notice(f"{run.path} repeats {original.path}, {verdict}; it is left out of all figures.")
    versions = [(run.summary or {}).get("versions", {}) for group in groups for run in group.runs.values()]
    packages = sorted({name for found in versions for name in found})
    differing = [name for name in packages if len({found.get(name) for found in versions}) > 1]
    if differing:
        yield page.notice(f"These runs were made with different versions of {', '.join(differing)}.")
