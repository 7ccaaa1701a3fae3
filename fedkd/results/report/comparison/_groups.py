"""Groups of runs that differ in nothing but the seed."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from fedkd.results.report.audits import Audit, read_audit
from fedkd.results.report.comparison._measures import EPSILON, Estimate, estimate, in_order, measure, measures_of
from fedkd.results.report.run_log import RunLog
from fedkd.results.report.tables import Cell

SEED = "seed"
ABSENT = "–"
"""Stands for a key that a group's configuration lacks, such as another plug-in's option."""


@dataclass(frozen=True)
class Group:
    """Runs of one configuration: those that are finished, by seed, and the others.

    ``values`` are its values, as text, of the keys in which the groups differ. ``repeated`` are finished runs of a seed
    that another run had before; they count for nothing, lest a seed weigh twice.
    """

    values: Mapping[str, str]
    runs: Mapping[int, RunLog]
    unfinished: Sequence[RunLog] = field(default_factory=tuple)
    repeated: Sequence[RunLog] = field(default_factory=tuple)

    @property
    def name(self) -> str:
        """``strategy.name=stacked, rounds=5``; keys that it lacks are left out, unless it lacks them all."""
        held = [f"{key}={value}" for key, value in self.values.items() if value != ABSENT]
        return ", ".join(held or [f"no {key}" for key in self.values]) or "all runs"

    @cached_property
    def measures(self) -> dict[str, dict[int, float]]:
        """For every measure, its value by seed, of the runs that have it."""
        found: dict[str, dict[int, float]] = {}
        for seed, run in self.runs.items():
            for name, value in measures_of(run).items():
                found.setdefault(name, {})[seed] = value
        return {name: found[name] for name in in_order(found)}

    @cached_property
    def audits(self) -> list[Audit]:
        """What was found of those runs that were audited."""
        return [audit for run in self.runs.values() if (audit := read_audit(run)) is not None]

    def by_seed(self, name: str) -> Mapping[int, float]:
        """A measure by seed; empty where no run has it."""
        return self.measures.get(name, {})

    def estimate(self, name: str) -> Estimate | None:
        """A measure's mean over the seeds; None where no run has it."""
        return estimate(list(self.by_seed(name).values()))

    def cell(self, name: str) -> Cell:
        """A measure as it is shown: its mean with the interval; of ε, which is a bound, the largest."""
        found = self.estimate(name)
        if found is None:
            return Cell(ABSENT)
        if name == EPSILON:
            largest = max(self.by_seed(name).values())
            return Cell(f"{largest:.3g}", largest)
        return found.cell(measure(name).digits)


Labelled = Mapping[str, Group]
"""Groups by the name that a legend and a table have room for."""


def names_of(groups: Sequence[Group], longest: int = 48) -> dict[str, Group]:
    """The groups by name: with whole keys, with their last parts, or by number, as a legend has room for."""
    for names in ([group.name for group in groups], _short_names(groups)):
        if all(len(name) <= longest for name in names) and len(set(names)) == len(names):
            return dict(zip(names, groups, strict=True))
    return {f"group {index}": group for index, group in enumerate(groups, start=1)}


def _short_names(groups: Sequence[Group]) -> list[str]:
    """``strategy=stacked, alpha=0.1``; a key stays whole where another one ends alike."""
    keys = list(dict.fromkeys(key for group in groups for key in group.values))
    ends = {key: key.removesuffix(".name").rpartition(".")[2] for key in keys}
    short = {key: end if list(ends.values()).count(end) == 1 else key for key, end in ends.items()}
    return [replace(group, values={short[key]: value for key, value in group.values.items()}).name for group in groups]


def unit_of(group: Group) -> str | None:
    """What the group's ε protects; None without a guarantee."""
    for run in group.runs.values():
        if run.summary is not None and run.summary.get("epsilon") is not None:
            return str((run.summary.get("guarantee") or {}).get("unit", "unit"))
    return None


def protecting(groups: Labelled, unit: str) -> dict[str, Group]:
    """The groups whose ε protects that."""
    return {label: group for label, group in groups.items() if unit_of(group) == unit}


def group_of(values: Mapping[str, str], logs: Iterable[RunLog]) -> Group:
    """The group that some runs make, all of the same configuration but for the seed."""
    finished: dict[int, RunLog] = {}
    unfinished, repeated = [], []
    for log in logs:
        seed = int(log.at(SEED) or 0)
        if log.summary is None:
            unfinished.append(log)
        elif seed in finished:
            repeated.append(log)
        else:
            finished[seed] = log
    return Group(values, dict(sorted(finished.items())), tuple(unfinished), tuple(repeated))


def group_runs(logs: Iterable[RunLog]) -> list[Group]:
    """The runs by their resolved configuration without the seed, in the order in which each first appears."""
    settings: dict[str, dict[str, str]] = {}
    members: dict[str, list[RunLog]] = {}
    for log in logs:
        leaves = {path: text for path, text in _leaves(log.config) if path != SEED}
        identity = json.dumps(leaves, sort_keys=True)
        settings[identity] = leaves
        members.setdefault(identity, []).append(log)
    paths = dict.fromkeys(path for leaves in settings.values() for path in leaves)
    differing = [path for path in paths if len({leaves.get(path) for leaves in settings.values()}) > 1]
    return [
        group_of({path: settings[identity].get(path, ABSENT) for path in differing}, runs)
        for identity, runs in members.items()
    ]


def _leaves(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
