"""Tasks learned in sequence: what is left of each after each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedkd.results.report.style import PALETTE, Axes, Figure, MaxNLocator, drawing, dress, new_figure, save


def save_continual(result: Mapping[str, Any], path: Path) -> None:
    """Draw what ``continual.json`` holds into a PNG."""
    with drawing():
        save(draw_continual(result), path)


def draw_continual(result: Mapping[str, Any]) -> Figure:
    """A panel for each learner, with a line per task from when it is learned, and one for the tasks' means."""
    learners = {name: np.array(found["accuracy"]) for name, found in result["learners"].items()}
    figure = new_figure(width=3.2 * (len(learners) + 1), height=3.8)
    *panels, last = figure.subplots(1, len(learners) + 1, sharey=True, squeeze=False)[0]
    for axes, (name, accuracy) in zip(panels, learners.items(), strict=True):
        _dress(axes, name.replace("_", " "))
        for task in range(len(accuracy)):
            after = range(task, len(accuracy))
            colour = PALETTE[task % len(PALETTE)]
            axes.plot(after, 100 * accuracy[task:, task], marker="o", markersize=4, color=colour, label=f"task {task}")
    _dress(last, "mean of the tasks so far")
    for index, (name, accuracy) in enumerate(learners.items()):
        means = [100 * accuracy[task, : task + 1].mean() for task in range(len(accuracy))]
        last.plot(means, marker="o", markersize=4, color=PALETTE[index], label=name.replace("_", " "))
    last.axhline(
        100 * result["joint"]["average_accuracy"], color="0.5", linestyle=":", label="joint, all tasks at once"
    )
    panels[0].set_ylabel("test accuracy among the classes seen (%)")
    panels[0].legend(frameon=False, fontsize=7, loc="lower left")
    last.legend(frameon=False, fontsize=7, loc="lower left")
    return figure


def _dress(axes: Axes, title: str) -> None:
    dress(axes, title, "after task", "")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(-2, 102)
