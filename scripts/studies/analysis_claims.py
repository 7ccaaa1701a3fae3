"""What is said of distillation, each claim a difference that can be measured, and what comes of it in figures."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import Axes, Figure, new_figure

TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
USUAL = 4.0
ALONE = "without teacher"
Figures = dict[str, Any]


@dataclass(frozen=True)
class Seed:
    """What was found for one seed: ``own`` of the one network's students, and how students spread by teacher."""

    own: Figures
    network: Figures
    ensemble: Figures

    def alignment(self, place: int, method: str = "gradient", name: str = "student") -> float:
        return float(self.own["saliency"][place][method][name]["mean"])

    def curvature(self, kind: str, place: int) -> float:
        return math.log(self.own["curvature"]["parameters"][kind][place])

    def calibration(self, name: str, figure: str) -> float:
        return float(self.own["calibration"]["models"][name][figure])

    def probes(self, name: str, figure: str) -> float:
        return float(self.own["probes"]["networks"][name][figure])

    def inherited(self, name: str, part: str) -> float:
        return float(self.ensemble["uncertainty"]["inherited"][name][part] or 0.0)

    def miscalibration(self, name: str) -> float:
        """How far its calibration error is from the teacher's."""
        return abs(self.calibration(name, "ece") - self.calibration("teacher", "ece"))

    def risk_gap(self, place: int) -> float:
        return float(list(self.own["risk"].values())[place]["gap"])


CLAIMS: dict[str, tuple[str, Callable[[Seed], float]]] = {
    "entropy rises with T": (
        "the teacher's mean entropy in nats, T = 8 minus T = 1",
        lambda seed: seed.own["entropy"][-1] - seed.own["entropy"][0],
    ),
    "curvature of the bare KL falls with T": (
        "ln of the top eigenvalue in the student's parameters, T = 1 minus T = 8",
        lambda seed: seed.curvature("bare", 0) - seed.curvature("bare", -1),
    ),
    "curvature of T²·KL falls with T": (
        "the same of the default loss",
        lambda seed: seed.curvature("scaled", 0) - seed.curvature("scaled", -1),
    ),
    "a student looks where its teacher looks": (
        "mean cosine of input gradients with the teacher's, T = 4 minus without teacher",
        lambda seed: seed.alignment(2) - seed.alignment(2, name="without_teacher"),
    ),
    "saliency alignment rises with T": (
        "mean cosine of input gradients, T = 8 minus T = 1",
        lambda seed: seed.alignment(-1) - seed.alignment(0),
    ),
    "saliency alignment rises with T (integrated)": (
        "the same of integrated gradients",
        lambda seed: seed.alignment(-1, "integrated") - seed.alignment(0, "integrated"),
    ),
    "distillation regularises: smaller gap": (
        "accuracy on labelled public samples minus that on test, without teacher minus T = 4",
        lambda seed: seed.own["gap"][ALONE] - seed.own["gap"][f"T={USUAL:g}"],
    ),
    "distillation regularises: students agree": (
        "mutual information between 8 students in nats, without teacher minus taught by the network",
        lambda seed: seed.network[ALONE] - seed.network["taught"],
    ),
    "a distilled student separates earlier": (
        "relative depth at which 95 % of the last probe's accuracy is reached, without teacher minus T = 4",
        lambda seed: seed.probes("without_teacher", "separable_depth") - seed.probes("student", "separable_depth"),
    ),
    "its layers separate better": (
        "accuracy of probes, mean over depth, T = 4 minus without teacher",
        lambda seed: seed.probes("student", "area") - seed.probes("without_teacher", "area"),
    ),
    "a student inherits calibration": (
        "distance of its calibration error from the teacher's, without teacher minus T = 4",
        lambda seed: seed.miscalibration("without_teacher") - seed.miscalibration("student"),
    ),
    "a student is better calibrated": (
        "calibration error, without teacher minus T = 4",
        lambda seed: seed.calibration("without_teacher", "ece") - seed.calibration("student", "ece"),
    ),
    "a student knows ambiguity": (
        "KL from the known shares of blends, without teacher minus T = 4",
        lambda seed: (
            seed.own["uncertainty"]["blends"]["kl"]["without_teacher"]
            - seed.own["uncertainty"]["blends"]["kl"]["student"]
        ),
    ),
    "a student inherits aleatoric uncertainty": (
        "rank correlation of its entropy with the ensemble's aleatoric part, the other part held fixed, minus that of "
        "the student without teacher",
        lambda seed: (
            seed.inherited("student", "aleatoric_alone") - seed.inherited("without_teacher", "aleatoric_alone")
        ),
    ),
    "distillation shrinks epistemic uncertainty": (
        "mutual information between clients minus that between 8 students of their ensemble, in nats",
        lambda seed: seed.ensemble["clients"] - seed.ensemble["taught"],
    ),
    "the ensemble's students agree more than those without": (
        "mutual information between 8 students in nats, without teacher minus taught by the ensemble",
        lambda seed: seed.ensemble[ALONE] - seed.ensemble["taught"],
    ),
    "more public samples, smaller generalisation gap": (
        "disagreement with the teacher on test minus that on training samples, fewest minus most public samples",
        lambda seed: seed.risk_gap(0) - seed.risk_gap(-1),
    ),
}
"""What is said, what is measured, and that of a seed."""


def judged(values: Sequence[float]) -> Figures:
    """The mean over seeds, its interval, and what that says of a claim that it is above 0."""
    mean, half = mean_and_ci(list(values))
    verdict = "open"
    if math.isfinite(half) and abs(mean) > half:
        verdict = "confirmed" if mean > 0 else "refuted"
    return {"mean": mean, "low": mean - half, "high": mean + half, "verdict": verdict, "by_seed": list(values)}


def figure_of(found: Sequence[Seed], sizes: Sequence[int]) -> Figure:
    """Six panels: what changes with T, what layers tell, calibration, how networks spread, and the bound by size."""
    figure = new_figure(13, 7.5)
    panels = figure.subplots(2, 3).flat
    by_temperature(next(panels), "The teacher's entropy (nats)", {"teacher": [seed.own["entropy"] for seed in found]})
    curvature = {
        kind: [[math.exp(seed.curvature(key, place)) for place in range(len(TEMPERATURES))] for seed in found]
        for kind, key in (("bare KL", "bare"), ("T²·KL", "scaled"))
    }
    axes = next(panels)
    by_temperature(axes, "Top eigenvalue in the student's parameters", curvature)
    axes.set_yscale("log")
    alignment = {
        name: [[seed.alignment(place, name=key) for place in range(len(TEMPERATURES))] for seed in found]
        for name, key in (("student", "student"), (ALONE, "without_teacher"))
    }
    by_temperature(next(panels), "Cosine of input gradients with the teacher's", alignment)
    _bars(
        next(panels),
        "Calibration error (%)",
        {
            name: [100 * seed.calibration(name.replace(" ", "_"), "ece") for seed in found]
            for name in ("teacher", "student", ALONE)
        },
    )
    _bars(
        next(panels),
        "Mutual information between networks (nats)",
        {
            "clients": [seed.ensemble["clients"] for seed in found],
            "their students": [seed.ensemble["taught"] for seed in found],
            ALONE: [seed.ensemble[ALONE] for seed in found],
        },
    )
    axes = next(panels)
    for name, label in (("error", "the student's error"), ("teacher_error", "the teacher's error"), ("bound", "bound")):
        rows = [[100 * seed.own["risk"][str(size)][name] for size in sizes] for seed in found]
        _line(axes, sizes, rows, label)
    axes.set_xscale("log")
    axes.set_title("The bound by public samples (% of test samples)", fontsize=10)
    axes.legend(fontsize=8, frameon=False)
    return figure


def by_temperature(axes: Axes, title: str, lines: Mapping[str, Sequence[Sequence[float]]]) -> None:
    for name, rows in lines.items():
        _line(axes, TEMPERATURES, rows, name)
    axes.set_xscale("log")
    axes.set_xticks(TEMPERATURES, [f"{each:g}" for each in TEMPERATURES])
    axes.set_xticks([], minor=True)
    axes.set_title(f"{title}, by T", fontsize=10)
    axes.legend(fontsize=8, frameon=False)


def _line(axes: Axes, places: Sequence[float], rows: Sequence[Sequence[float]], label: str) -> None:
    table = np.asarray(rows)
    halves = [mean_and_ci(list(column))[1] for column in table.T]
    axes.errorbar(places, table.mean(axis=0), yerr=np.nan_to_num(halves), marker="o", capsize=3, label=label)


def _bars(axes: Axes, title: str, values: Mapping[str, Sequence[float]]) -> None:
    halves = [mean_and_ci(list(each))[1] for each in values.values()]
    axes.bar(list(values), [float(np.mean(each)) for each in values.values()], yerr=np.nan_to_num(halves), capsize=4)
    axes.set_title(title, fontsize=10)
