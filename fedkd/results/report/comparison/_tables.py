"""Tables that set groups of runs side by side."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fedkd.results.report import page
from fedkd.results.report.comparison._figures import Labelled, unit_of
from fedkd.results.report.comparison._groups import Group
from fedkd.results.report.comparison._measures import CONTROL, Estimate, in_order, measure, paired

NONE = "–"
_RELATIONS = {"add_or_remove": "one more or less", "replace_one": "one replaced"}
_ADVERSARIES = {"local": "an observer of all client reports", "central": "an observer of teacher and student"}


def groups_table(groups: Labelled) -> str:
    """What the groups are: in which keys they differ, and their seeds."""
    keys = list(next(iter(groups.values())).values)
    rows = [
        (label, ", ".join(map(str, group.runs)) or "none finished", *group.values.values())
        for label, group in groups.items()
    ]
    return page.table(("group", "seeds", *keys), rows)


def accuracy_table(groups: Labelled) -> str:
    """Student, controls, teacher, the clients' own models, and the student on validation samples."""
    found = _measures(groups)
    names = [
        *(name for name in ("student",) if name in found),
        *(name for name in found if name.startswith(CONTROL)),
        *(name for name in ("teacher", "clients", "validation") if name in found),
    ]
    return _estimates(groups, names)


def cost_table(groups: Labelled) -> str:
    """Bytes, λ, dropped reports and time."""
    found = _measures(groups)
    names = ("megabytes_up", "megabytes_down", "mean_lambda", "failures", "wall_seconds")
    return _estimates(groups, [name for name in names if name in found])


def difference_table(groups: Labelled) -> str:
    """Every other group against the first, seed by seed; empty for a single group."""
    (_, first), *others = groups.items()
    if not others:
        return ""
    names = [name for name in ("student", "teacher", "megabytes_up") if any(g.by_seed(name) for g in groups.values())]
    rows = []
    for label, group in others:
        found = {name: paired(group.by_seed(name), first.by_seed(name)) for name in names}
        count = max((each.count for each in found.values() if each is not None), default=0)
        rows.append((label, str(count), *(_shown(name, found[name], signed=True) for name in names)))
    header = ("group", "seeds in common", *(measure(name).title for name in names))
    return page.table(header, rows, numbers=range(1, len(header)))


def privacy_table(groups: Labelled) -> str:
    """ε, and what it protects from whom; empty where no run has a guarantee."""
    rows = list(_privacy_rows(groups))
    if not any(row[1] != NONE for row in rows):
        return ""
    header = ("group", "ε", "δ", "protects", "neighbours", "against", "mechanism")
    return page.table(header, rows, numbers=(1, 2))


def runs_table(groups: Labelled, label: str = "folder") -> str:
    """Every finished run, with the digest of its student."""
    rows = []
    for name, group in groups.items():
        for seed, run in group.runs.items():
            summary = run.summary or {}
            student = group.by_seed("student").get(seed)
            rows.append(
                (
                    _folder(run.path),
                    name,
                    str(seed),
                    str(summary.get("rounds")),
                    NONE if student is None else f"{student:.1f}",
                    str(summary.get("student_sha256") or NONE)[:16],
                )
            )
    return page.table((label, "group", "seed", "rounds", "student", "SHA-256 begins"), rows, numbers=(2, 3, 4))


def unfinished_table(groups: Labelled) -> str:
    """Runs that count for nothing because they are not finished; empty where there are none."""
    rows = [
        (_folder(run.path), label, str(run.at("seed")), f"{len(run.rounds)} of {run.at('rounds')}")
        for label, group in groups.items()
        for run in group.unfinished
    ]
    return page.table(("folder", "group", "seed", "rounds done"), rows, numbers=(2, 3)) if rows else ""


def _estimates(groups: Labelled, names: Sequence[str]) -> str:
    rows = [(label, str(len(group.runs)), *(group.text(name) for name in names)) for label, group in groups.items()]
    header = ("group", "seeds", *(measure(name).title for name in names))
    return page.table(header, rows, numbers=range(1, len(header))) if names else ""


def _privacy_rows(groups: Labelled) -> Iterator[Sequence[str]]:
    for label, group in groups.items():
        budgets = group.by_seed("epsilon")
        run = next((group.runs[seed] for seed in budgets), None) or next(iter(group.runs.values()), None)
        mechanism = NONE if run is None else str(run.at("privacy.mechanism.name"))
        if run is None or run.summary is None or not budgets:
            yield label, NONE, NONE, "no formal guarantee", NONE, NONE, mechanism
            continue
        guarantee: Mapping[str, str] = run.summary.get("guarantee") or {}
        yield (
            label,
            f"{max(budgets.values()):.3g}",
            f"{run.summary['delta']:g}",
            f"each {unit_of(group)}",
            _RELATIONS.get(str(guarantee.get("neighbouring")), NONE),
            _ADVERSARIES.get(str(guarantee.get("adversary")), NONE),
            mechanism,
        )


def _measures(groups: Labelled) -> list[str]:
    return in_order(name for group in groups.values() for name in group.measures)


def _shown(name: str, found: Estimate | None, *, signed: bool = False) -> str:
    return NONE if found is None else found.text(measure(name).digits, signed=signed)


def _folder(path: Path) -> str:
    return str(path)


def names_of(groups: Sequence[Group], longest: int = 48) -> dict[str, Group]:
    """The groups by name, or by number where a name is too long for a legend."""
    if all(len(group.name) <= longest for group in groups):
        return {group.name: group for group in groups}
    return {f"group {index}": group for index, group in enumerate(groups, start=1)}
