"""The privacy frontier's figures."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from fedkd.results.report.style import GREY, PALETTE, Axes, Figure, dress, new_figure, say
from studies.privacy_frontier.tables import FALSE_POSITIVES, Row

OBSERVATIONS = ("queried", "transcript", "consensus", "student")
MARKERS = ("o", "s", "D", "^")


def draw_accuracy(rows: Sequence[Row], bars: Mapping[str, Row]) -> Figure:
    """Accuracy against ε, a panel for each unit of protection and one without a formal guarantee."""
    figure = new_figure(11, 4.4)
    panels = figure.subplots(1, 3, sharey=True, width_ratios=(3, 3, 2))
    for axes, unit in zip(panels, ("record", "client", None), strict=True):
        chosen = [row for row in rows if row["protects"] == unit]
        title = "no formal guarantee (no DP)" if unit is None else f"protects each {unit}"
        x_label = "" if unit is None else "ε (log scale, not comparable between panels)"
        dress(axes, title, x_label, "student's test accuracy (%)" if unit == "record" else "")
        for name, bar in bars.items():
            axes.axhline(100 * bar["accuracy"], color=GREY, linewidth=0.9, linestyle=":")
            if unit is None:
                index = (1.02, 100 * bar["accuracy"])
                axes.annotate(name, index, xycoords=("axes fraction", "data"), va="center", fontsize=8, color=GREY)
        if not chosen:
            say(axes, "no row")
            continue
        _points(axes, chosen, unit)
    return figure


def _points(axes: Axes, rows: Sequence[Row], unit: str | None) -> None:
    mechanisms = list(dict.fromkeys(row["mechanism"] for row in rows))
    for index, mechanism in enumerate(mechanisms):
        same = sorted((row for row in rows if row["mechanism"] == mechanism), key=lambda row: row["epsilon"] or 0.0)
        x = [index if unit is None else row["epsilon"] for row in same]
        y = [100 * row["student_accuracy"] for row in same]
        half = [100 * (row["student_accuracy_ci95"] or 0.0) for row in same]
        axes.errorbar(x, y, half, marker=MARKERS[index % len(MARKERS)], color=PALETTE[index], capsize=3)
        axes.annotate(
            mechanism, (x[-1], y[-1]), xytext=(6, 6), textcoords="offset points", fontsize=9, color=PALETTE[index]
        )
    if unit is None:
        axes.set_xticks([])
        axes.set_xlim(-0.5, len(mechanisms) + 0.5)
        return
    axes.set_xscale("log")
    ticks = sorted({row["epsilon"] for row in rows})
    axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(min(ticks) / 1.5, max(ticks) * 2.5)


def draw_roc(rows: Sequence[Row], curves: Mapping[str, Row]) -> Figure:
    """Log-log ROC curves, per row the strongest attack from every observation, with the ceiling e^ε·FPR + δ."""
    columns = min(4, len(rows))
    lines = math.ceil(len(rows) / columns)
    figure = new_figure(3.1 * columns, 3.0 * lines)
    panels = np.atleast_1d(figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)).flatten()
    rates = np.array(FALSE_POSITIVES)
    for axes, row in zip(panels, rows, strict=False):
        dress(axes, row["row"], "false-positive rate", "true-positive rate")
        axes.plot(rates, rates, color=GREY, linewidth=0.9, linestyle=":")
        for observation in OBSERVATIONS:
            best = strongest(row, observation)
            if best is None:
                continue
            values = np.array(curves[row["row"]][f"{best['attack']} {observation}"])
            seen = values > 0
            label = f"{best['attack']}, {observation}"
            axes.plot(rates[seen], values[seen], color=PALETTE[OBSERVATIONS.index(observation)], label=label)
        if row["epsilon"] is not None:
            bar = np.minimum(1.0, math.exp(min(row["epsilon"], 700.0)) * rates + row["delta"])
            axes.plot(rates, bar, color="black", linestyle="--", label="e^ε·FPR + δ")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(1e-3, 1)
        axes.set_ylim(1e-3, 1.1)
        axes.legend(fontsize=6.5, loc="lower right", frameon=False)
    for axes in panels[len(rows) :]:
        axes.set_visible(False)
    return figure


def draw_leakage(rows: Sequence[Row]) -> Figure:
    """The AUC of the strongest attack from each observation point, for every row."""
    figure = new_figure(9.5, 4.2)
    axes = figure.subplots()
    dress(axes, "What attackers learn, by what they observe", "", "AUC of the strongest attack")
    # Intervals over a few seeds reach beyond what an AUC can be.
    axes.set_ylim(0.0, 1.0)
    for index, observation in enumerate(OBSERVATIONS):
        found = [(at, best) for at, row in enumerate(rows) if (best := strongest(row, observation)) is not None]
        x = [at + 0.16 * (index - 1.5) for at, _ in found]
        half = [best["auc_ci95"] or 0.0 for _, best in found]
        y = [best["auc"] for _, best in found]
        axes.errorbar(x, y, half, fmt=MARKERS[index], color=PALETTE[index], capsize=3, label=observation)
    axes.axhline(0.5, color=GREY, linewidth=0.9, linestyle=":")
    axes.set_xticks(range(len(rows)), [row["row"] for row in rows], rotation=20)
    figure.legend(loc="outside right center", frameon=False, title="observed")
    return figure


def strongest(row: Row, observation: str) -> Row | None:
    """The attack with the largest AUC from an observation; None where it was not attacked."""
    return next((attack for attack in row["attacks"] if attack["observation"] == observation), None)
