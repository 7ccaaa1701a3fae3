"""Accuracy over rounds: student and controls on the test set, and what else was measured on other samples."""

from collections.abc import Sequence

import numpy as np

from fedkd.results.report.run_log import RunLog
from fedkd.results.report.style import (
    AVERAGED,
    CLIENTS,
    GREY,
    LABELS,
    STUDENT,
    TEACHER,
    Axes,
    Figure,
    MaxNLocator,
    dress,
    ink,
    legend,
    new_panels,
    say,
)

_ELSEWHERE = {
    "teacher_accuracy": ("teacher, public samples", TEACHER),
    "validation_accuracy": ("student, validation", STUDENT),
    "client_accuracy": ("clients, own validation", CLIENTS),
}
_CONTROLS = {"public_only": LABELS, "local_only": CLIENTS, "fedavg": AVERAGED, "teacher_only": TEACHER}
"""The colours of controls, by what they are made of; ``centralised``, of everything, has that of texts."""
_FEW_ROUNDS = 30


def draw_accuracy(log: RunLog) -> Figure:
    """Accuracy after each round: on the test set, and in a second panel on other samples, which are not comparable.

    A control that has one number only is a level line.
    """
    history = {} if log.summary is None else log.summary.get("control_history", {})
    elsewhere = {key: name for key, name in _ELSEWHERE.items() if np.isfinite(_recorded(log, key)).any()}
    figure, panels = new_panels(2 if elsewhere else 1, 11.0 if elsewhere else 9.0, 3.8, share_y=True)
    dress(panels[0], "On the test set", "round", "accuracy (%)")
    if not log.rounds:
        say(panels[0], "No round is finished.")
        return figure
    _draw(panels[0], _recorded(log, "student_accuracy"), "student", STUDENT, "-", 2.4)
    for name, shares in history.items():
        colour = ink() if name == "centralised" else _CONTROLS.get(name, GREY)
        _draw(panels[0], _percentages(shares), name, colour, "--", 1.4)
    if not panels[0].lines:
        say(panels[0], "This algorithm has no model on the server; clients.csv tells how the clients' own models do.")
    for axes in panels[1:]:
        dress(axes, "On other samples, not comparable", "round", "")
        for key, (name, colour) in elsewhere.items():
            _draw(axes, _recorded(log, key), name, colour, ":", 1.8)
    for axes in panels:
        if axes.lines:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlim(0.8, len(log.rounds) + 0.2)
    legend(figure)
    return figure


def _draw(
    axes: Axes, values: np.ndarray[tuple[int], np.dtype[np.float64]], name: str, colour: str, line: str, width: float
) -> None:
    if not np.isfinite(values).any():
        return
    if len(values) == 1 and line == "--":
        axes.axhline(values[0], color=colour, linestyle=line, linewidth=width, label=name)
        return
    dot = "o" if len(values) <= _FEW_ROUNDS else None
    axes.plot(
        range(1, len(values) + 1), values, line, color=colour, marker=dot, markersize=4, linewidth=width, label=name
    )


def _recorded(log: RunLog, key: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return _percentages([record.get(key) for record in log.rounds])


def _percentages(shares: Sequence[float | None]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([np.nan if share is None else 100 * share for share in shares], dtype=np.float64)
