"""What runs are compared by, and what several seeds say of it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fedkd.results.report.run_log import RunLog
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.tables import Cell

EPSILON = "epsilon"
CONTROL = "control_"
"""Begins the name of a control's measure."""


@dataclass(frozen=True)
class Measure:
    """How a measure is shown: its heading, its unit in words, and the digits after the point."""

    title: str
    unit: str
    digits: int


MEASURES = {
    "student": Measure("student", "test accuracy of the server's model, %", 1),
    "validation": Measure("student, validation", "accuracy on the server's validation samples, %", 1),
    "teacher": Measure("teacher", "accuracy on the public samples without a label, %", 1),
    "clients": Measure("clients", "test accuracy of the clients' own models, mean, %", 1),
    "mean_lambda": Measure("λ", "mean over rounds", 3),
    "megabytes_up": Measure("MB up", "from all clients, all rounds", 2),
    "megabytes_down": Measure("MB down", "to all clients, all rounds", 2),
    "epsilon": Measure("ε", "largest of any client", 3),
    "failures": Measure("dropped", "reports of clients that were not used", 1),
    "wall_seconds": Measure("seconds", "wall time, controls included", 1),
}


@dataclass(frozen=True)
class Estimate:
    """A mean over ``count`` seeds; ``ci95`` is the half-width of its 95 % t interval, None for a single seed."""

    mean: float
    ci95: float | None
    count: int

    def text(self, digits: int, *, signed: bool = False) -> str:
        """``84.2 ± 1.7``."""
        mean = f"{self.mean:{'+' if signed else ''}.{digits}f}"
        return mean if self.ci95 is None else f"{mean} ± {self.ci95:.{digits}f}"

    def cell(self, digits: int, *, signed: bool = False) -> Cell:
        """The text with the numbers behind it."""
        return Cell(self.text(digits, signed=signed), self.mean, self.ci95)


def estimate(values: Sequence[float]) -> Estimate | None:
    """The estimate from one value per seed; None from none."""
    if not values:
        return None
    mean, half = mean_and_ci(values)
    return Estimate(mean, None if math.isinf(half) else half, len(values))


def differences(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """Ours − theirs for each of the seeds that both have."""
    return [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Estimate | None:
    """The mean of ours − theirs over the seeds that both have; None where they share none."""
    return estimate(differences(ours, theirs))


def measures_of(log: RunLog) -> dict[str, float]:
    """The final figures of a finished run, those that it has; accuracies in per cent. Empty for an unfinished one."""
    summary = log.summary
    if summary is None:
        return {}
    lambdas = [row["mean_lambda"] for row in log.rounds if row.get("mean_lambda") is not None]
    found = {
        "student": _percent(summary.get("student_accuracy")),
        "validation": _percent((summary.get("validation") or {}).get("accuracy")),
        "teacher": _percent(summary.get("teacher_accuracy")),
        "clients": _percent(summary.get("client_test_accuracy")),
        "mean_lambda": math.fsum(lambdas) / len(lambdas) if lambdas else None,
        "megabytes_up": summary["bytes_up"] / 1e6,
        "megabytes_down": summary["bytes_down"] / 1e6,
        "epsilon": summary.get("epsilon"),
        "failures": float(summary["failures"]),
        "wall_seconds": summary["wall_seconds"],
        **{f"{CONTROL}{name}": _percent(share) for name, share in summary.get("controls", {}).items()},
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def measure(name: str) -> Measure:
    """How the measure of this name is shown."""
    if name.startswith(CONTROL):
        return Measure(name.removeprefix(CONTROL), "test accuracy of this control, %", 1)
    return MEASURES[name]


def in_order(names: Iterable[str]) -> list[str]:
    """The names, those of ``MEASURES`` first and in its order."""
    found = set(names)
    return [*(name for name in MEASURES if name in found), *sorted(found - MEASURES.keys())]


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
