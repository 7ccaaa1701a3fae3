"""Tables that set groups of runs side by side; a table without rows is there as None."""

from collections.abc import Iterator, Mapping, Sequence

from fedkd.results.report.comparison._attacks import audit_table
from fedkd.results.report.comparison._fronts import COSTS, front
from fedkd.results.report.comparison._groups import ABSENT, Group, Labelled, names_of, protecting, unit_of
from fedkd.results.report.comparison._measures import CONTROL, EPSILON, differences, estimate, in_order, measure
from fedkd.results.report.facts import facts
from fedkd.results.report.statistics import holm, p_of_zero_mean
from fedkd.results.report.tables import Cell, Table

NONE = ABSENT
_RELATIONS = {"add_or_remove": "one more or less", "replace_one": "one replaced"}
_ADVERSARIES = {"local": "an observer of all client reports", "central": "an observer of teacher and student"}


def all_tables(groups: Sequence[Group]) -> Iterator[Table]:
    """Every table about these groups that has rows."""
    named = names_of(groups)
    finished = {label: group for label, group in named.items() if group.runs}
    yield groups_table(named)
    for table in (
        accuracy_table,
        difference_table,
        trade_off_table,
        cost_table,
        privacy_table,
        audit_table,
        runs_table,
    ):
        if finished and (found := table(finished)) is not None:
            yield found


def groups_table(groups: Labelled) -> Table:
    """What the groups are: in which keys they differ, and their seeds."""
    keys = list(next(iter(groups.values())).values)
    rows = [
        (label, ", ".join(map(str, group.runs)) or "none finished", *group.values.values())
        for label, group in groups.items()
    ]
    return Table.of("groups", ("group", "seeds", *keys), rows)


def shared_table(groups: Labelled) -> Table | None:
    """The settings that all groups share, but for the seed."""
    first, *others = [facts(run) for group in groups.values() for run in [*group.runs.values(), *group.unfinished][:1]]
    shared = [(name, text) for name, text in first.items() if all(each.get(name) == text for each in others)]
    rows = [(name, text) for name, text in shared if name != "seed"]
    return Table.of("shared", (), rows) if rows else None


def accuracy_table(groups: Labelled) -> Table | None:
    """Student, controls, teacher, the clients' own models, and the student on validation samples."""
    found = _measures(groups)
    return _estimates(
        "accuracy",
        groups,
        [
            *(name for name in ("student",) if name in found),
            *(name for name in found if name.startswith(CONTROL)),
            *(name for name in ("teacher", "clients", "validation") if name in found),
        ],
    )


def cost_table(groups: Labelled) -> Table | None:
    """Bytes, λ, dropped reports and time."""
    found = _measures(groups)
    names = ("megabytes_up", "megabytes_down", "mean_lambda", "failures", "wall_seconds")
    return _estimates("costs", groups, [name for name in names if name in found])


def difference_table(groups: Labelled) -> Table | None:
    """Every other group against the first, seed by seed, with p-values that are corrected for their number."""
    (_, first), *others = groups.items()
    found = _measures(groups)
    tested = [name for name in ("student", "teacher") if name in found]
    pairs = {
        name: {label: values for label, group in others if (values := _differences(group, first, name))}
        for name in (*tested, "megabytes_up")
    }
    corrected = {name: _corrected(pairs[name]) for name in tested}

    def difference(label: str, name: str) -> Cell:
        mean = estimate(pairs[name].get(label, []))
        return Cell(NONE) if mean is None else mean.cell(measure(name).digits, signed=True)

    rows: list[tuple[Cell, ...]] = []
    for label, _ in others:
        count = max(len(found.get(label, [])) for found in pairs.values())
        row = [Cell(label), Cell(str(count), count)]
        for name in tested:
            row += [difference(label, name), _p_cell(corrected[name].get(label))]
        rows.append((*row, difference(label, "megabytes_up")))
    header = (
        "group",
        "seeds in common",
        *(title for name in tested for title in (f"Δ {measure(name).title}", "p (Holm)")),
        f"Δ {measure('megabytes_up').title}",
    )
    return Table.of("differences", header, rows, numbers=range(1, len(header))) if rows else None


def trade_off_table(groups: Labelled) -> Table | None:
    """Which groups are on which front of accuracy against a cost; ε is compared with ε of the same unit alone."""
    found = _measures(groups)
    costs = [name for name in COSTS if name in found]
    if "student" not in found or len(groups) < 2:
        return None
    on = {name: set(front(groups, name)) for name in costs if name != EPSILON}
    if EPSILON in costs:
        units = {unit for group in groups.values() if (unit := unit_of(group)) is not None}
        on[EPSILON] = {label for unit in units for label in front(protecting(groups, unit), EPSILON)}
    rows: list[tuple[str | Cell, ...]] = [
        (
            label,
            group.cell("student"),
            *(group.cell(name) for name in costs),
            ", ".join(COSTS[name] for name in costs if label in on[name]) or NONE,
        )
        for label, group in groups.items()
    ]
    header = ("group", "student", *(measure(name).title for name in costs), "on the front of accuracy against")
    return Table.of("trade_offs", header, rows, numbers=range(1, 2 + len(costs)))


def privacy_table(groups: Labelled) -> Table | None:
    """ε, and what it protects from whom; None where no run has a guarantee."""
    rows = list(_privacy_rows(groups))
    if not any(row[1] != Cell(NONE) for row in rows):
        return None
    header = ("group", "ε", "δ", "protects", "neighbours", "against", "mechanism")
    return Table.of("privacy", header, rows, numbers=(1, 2))


def runs_table(groups: Labelled) -> Table | None:
    """Every finished run, with the digest of its student."""
    rows: list[tuple[str | Cell, ...]] = []
    for name, group in groups.items():
        for seed, run in group.runs.items():
            summary = run.summary or {}
            student = group.by_seed("student").get(seed)
            rows.append(
                (
                    str(run.path),
                    name,
                    Cell(str(seed), seed),
                    Cell(str(summary.get("rounds")), summary.get("rounds")),
                    Cell(NONE) if student is None else Cell(f"{student:.1f}", student),
                    str(summary.get("student_sha256") or NONE)[:16],
                )
            )
    header = ("folder", "group", "seed", "rounds", "student", "SHA-256 begins")
    return Table.of("runs", header, rows, numbers=(2, 3, 4)) if rows else None


def unfinished_table(groups: Labelled) -> Table | None:
    """Runs that count for nothing because they are not finished."""
    rows = [
        (str(run.path), label, str(run.at("seed")), f"{len(run.rounds)} of {run.at('rounds')}")
        for label, group in groups.items()
        for run in group.unfinished
    ]
    return Table.of("unfinished", ("folder", "group", "seed", "rounds done"), rows) if rows else None


def _estimates(file: str, groups: Labelled, names: Sequence[str]) -> Table | None:
    rows: list[tuple[str | Cell, ...]] = [
        (label, Cell(str(len(group.runs)), len(group.runs)), *(group.cell(name) for name in names))
        for label, group in groups.items()
    ]
    header = ("group", "seeds", *(measure(name).title for name in names))
    return Table.of(file, header, rows, numbers=range(1, len(header))) if names else None


def _differences(ours: Group, theirs: Group, name: str) -> list[float]:
    return differences(ours.by_seed(name), theirs.by_seed(name))


def _corrected(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The p-value of each group whose differences from the first vary, corrected for the number of such groups."""
    raw = {label: p for label, each in values.items() if (p := p_of_zero_mean(each)) is not None}
    return dict(zip(raw, holm(list(raw.values())), strict=True))


def _p_cell(p: float | None) -> Cell:
    if p is None:
        return Cell(NONE)
    return Cell("< 0.001" if p < 0.001 else f"{p:.3f}", p)


def _privacy_rows(groups: Labelled) -> Iterator[tuple[Cell | str, ...]]:
    for label, group in groups.items():
        budgets = group.by_seed("epsilon")
        run = next((group.runs[seed] for seed in budgets), None) or next(iter(group.runs.values()), None)
        mechanism = NONE if run is None else str(run.at("privacy.mechanism.name"))
        if run is None or run.summary is None or not budgets:
            yield label, Cell(NONE), Cell(NONE), "no formal guarantee", NONE, NONE, mechanism
            continue
        guarantee: Mapping[str, str] = run.summary.get("guarantee") or {}
        yield (
            label,
            group.cell(EPSILON),
            Cell(f"{run.summary['delta']:g}", run.summary["delta"]),
            f"each {unit_of(group)}",
            _RELATIONS.get(str(guarantee.get("neighbouring")), NONE),
            _ADVERSARIES.get(str(guarantee.get("adversary")), NONE),
            mechanism,
        )


def _measures(groups: Labelled) -> list[str]:
    return in_order(name for group in groups.values() for name in group.measures)
