"""Accuracies by round beside published figures."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedkd.results.report.style import AVERAGED, CLIENTS, GREY, STUDENT, WEIGHT, Axes, Figure, MaxNLocator, new_figure

_COLUMNS = 4
_WIDTH = 46
"""Letters of a title in a line."""
_NAMES = {
    "student": ("student", STUDENT),
    "student_lead_over_fedavg": ("FedDF − FedAvg (points)", WEIGHT),
    "fedavg": ("FedAvg", AVERAGED),
}


def draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """A panel for each result: a thin line per seed, a thick one for the mean, the published figure and its band."""
    lines = math.ceil(len(rows) / _COLUMNS)
    figure = new_figure(14, 0.6 + 2.7 * lines)
    panels = list(figure.subplots(lines, min(_COLUMNS, len(rows)), squeeze=False).flat)
    for axes, row in zip(panels, rows, strict=False):
        _panel(axes, row)
    for axes in panels[len(rows) :]:
        axes.set_axis_off()
    return figure


def _panel(axes: Axes, row: Mapping[str, Any]) -> None:
    axes.axhspan(*row["band"], color=GREY, alpha=0.2, linewidth=0)
    axes.axhline(row["published"], color=GREY, linestyle="--", linewidth=1)
    last = max(len(curve) for curves in row["curves"].values() for curve in curves)
    for measure, curves in row["curves"].items():
        name, colour = _NAMES.get(measure, ("clients", CLIENTS))
        values = np.array(curves)
        # What is measured once is so after the last round.
        rounds = np.arange(last - values.shape[1], last) + 1
        axes.plot(rounds, values.T, linewidth=0.7, alpha=0.45, color=colour)
        axes.plot(rounds, values.mean(axis=0), linewidth=2, marker="o", markersize=3, color=colour, label=name)
    axes.set_title(textwrap.fill(row["title"], _WIDTH), fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("round", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(frameon=False, fontsize=7)
