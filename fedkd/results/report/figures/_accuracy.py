"""Accuracy over rounds: student, teacher and controls."""

from collections.abc import Sequence

import numpy as np

from fedkd.results.report.run_log import RunLog
from fedkd.results.report.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    Figure,
    MaxNLocator,
    dress,
    new_figure,
    say,
)

_OWN = {
    "student_accuracy": ("student", BLUE, "-"),
    "teacher_accuracy": ("teacher, on public samples", ORANGE, "-"),
    "validation_accuracy": ("student, on validation", SKY, ":"),
    "client_accuracy": ("clients, each on its own validation", PURPLE, ":"),
}
_CONTROLS = {"public_only": GREY, "local_only": PURPLE, "fedavg": GREEN, "centralised": "black", "teacher_only": RED}
_FEW_ROUNDS = 30


def draw_accuracy(log: RunLog) -> Figure:
    """Accuracy after each round, on the test set unless the legend says otherwise.

    A control that has one number only is a level line.
    """
    figure = new_figure(height=4.2)
    axes = figure.add_subplot()
    dress(axes, "Accuracy after each round, on the test set unless stated", "round", "accuracy (%)")
    rounds = [int(record["round"]) for record in log.rounds]
    if not rounds:
        say(axes, "No round is finished.")
        return figure
    dot = "o" if len(rounds) <= _FEW_ROUNDS else None
    for key, (name, colour, line) in _OWN.items():
        values = _percentages([record.get(key) for record in log.rounds])
        if np.isfinite(values).any():
            width = 2.4 if key == "student_accuracy" else 1.6
            axes.plot(rounds, values, line, color=colour, marker=dot, markersize=4, linewidth=width, label=name)
    history = {} if log.summary is None else log.summary.get("control_history", {})
    for name, shares in history.items():
        values, colour = _percentages(shares), _CONTROLS.get(name, GREY)
        if len(values) == 1:
            axes.axhline(values[0], color=colour, linestyle="-.", linewidth=1.2, label=f"{name} (control)")
        elif len(values) > 1:
            places = range(1, len(values) + 1)
            axes.plot(places, values, "--", color=colour, marker=dot, markersize=3, label=f"{name} (control)")
    if not axes.lines:
        say(axes, "This algorithm has no model on the server; clients.csv tells how the clients' own models do.")
        return figure
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(min(rounds) - 0.2, max(rounds) + 0.2)
    figure.legend(loc="outside right center", frameon=False)
    return figure


def _percentages(shares: Sequence[float | None]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([np.nan if share is None else 100 * share for share in shares], dtype=np.float64)
