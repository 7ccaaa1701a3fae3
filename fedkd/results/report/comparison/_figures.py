"""Figures that set groups of runs side by side: points and lines are means over seeds, bars and bands intervals."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fedkd.results.report.comparison._groups import Group
from fedkd.results.report.comparison._measures import estimate
from fedkd.results.report.run_log import Numbers, RunLog
from fedkd.results.report.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    Axes,
    Figure,
    MaxNLocator,
    dress,
    new_figure,
    say,
)

_COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY)
_LINES = ("-", "--", ":", "-.")
_WIDE = 10.0
"""From such a ratio of the largest to the smallest value on, an axis is logarithmic."""
_FEW_ROUNDS = 30
_ACCURACY = "student's test accuracy (%)"

Labelled = Mapping[str, Group]
"""The groups that are drawn, by the name that a legend has room for."""


def draw_accuracy(groups: Labelled) -> Figure:
    """The student's test accuracy after each round."""
    figure = _over_rounds(groups, "student_accuracy", 100, "Test accuracy after each round", _ACCURACY)
    return figure


def draw_lambda(groups: Labelled) -> Figure:
    """The mean λ of each round."""
    figure = _over_rounds(groups, "mean_lambda", 1, "λ, the mean of each round", "λ (0: labels only, 1: teacher only)")
    figure.axes[0].set_ylim(-0.03, 1.03)
    return figure


def draw_bytes(groups: Labelled) -> Figure:
    """Accuracy after the last round against all that clients sent up; a thin line leads through the rounds before."""
    figure = new_figure(height=4.4)
    axes = figure.add_subplot()
    dress(axes, "Final test accuracy and megabytes sent up", "megabytes sent up, all clients and rounds", _ACCURACY)
    sent = []
    for (label, group), (colour, line) in zip(groups.items(), _looks(), strict=False):
        accuracies = _by_round(group, "student_accuracy") * 100
        if accuracies.size == 0:
            continue
        up = np.cumsum(_by_round(group, "bytes_up"), axis=1).mean(axis=0) / 1e6
        axes.plot(up, accuracies.mean(axis=0), line, color=colour, linewidth=1, alpha=0.5)
        _point(axes, group, float(up[-1]), label, colour)
        sent.append(float(up[-1]))
    return _finished(figure, axes, sent)


def draw_privacy(groups: Labelled) -> Figure:
    """Accuracy against ε: a panel for each unit of protection; dashed, the groups without a guarantee."""
    units = sorted({unit for group in groups.values() if (unit := unit_of(group)) is not None})
    figure = new_figure(width=4.8 * max(len(units), 1) + 2.0, height=4.4)
    panels = figure.subplots(1, max(len(units), 1), squeeze=False, sharey=True)[0]
    for axes, unit in zip(panels, units, strict=True):
        dress(axes, f"Protects each {unit}", f"ε per {unit}", _ACCURACY)
        budgets = []
        for (label, group), (colour, _) in zip(groups.items(), _looks(), strict=False):
            accuracy = group.estimate("student")
            if accuracy is not None and unit_of(group) == unit:
                budgets.append(max(group.by_seed("epsilon").values()))
                _point(axes, group, budgets[-1], label, colour)
            elif accuracy is not None and not group.by_seed("epsilon"):
                axes.axhline(accuracy.mean, color=colour, linestyle="--", linewidth=1.2, label=f"{label} (no DP)")
        _spread(axes, budgets)
    handles = {name: handle for axes in panels for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def unit_of(group: Group) -> str | None:
    """What the group's ε protects; None without a guarantee."""
    for run in group.runs.values():
        if run.summary is not None and run.summary.get("epsilon") is not None:
            return str((run.summary.get("guarantee") or {}).get("unit", "unit"))
    return None


FIGURES: dict[str, tuple[Callable[[Labelled], Figure], str]] = {
    "accuracy": (
        draw_accuracy,
        "The student's test accuracy after each round, a thin line per seed, a thick one for the mean, and a band "
        "for its 95 % interval, which leaves the frame when seeds are few.",
    ),
    "bytes": (
        draw_bytes,
        "Test accuracy after the last round against the megabytes that all clients sent up, with 95 % intervals; thin "
        "lines lead through the rounds before.",
    ),
    "privacy": (
        draw_privacy,
        "Test accuracy after the last round against ε, with 95 % intervals. An ε per record and one per client mean "
        "different things and have panels of their own; dashed lines are groups without a formal guarantee.",
    ),
    "lambda": (draw_lambda, "λ, the weight of distillation, as the mean of each round; lines and bands as above."),
}
"""What draws each figure, and what stands below it."""


def _over_rounds(groups: Labelled, key: str, scale: float, title: str, y: str) -> Figure:
    figure = new_figure(height=4.4)
    axes = figure.add_subplot()
    dress(axes, title, "round", y)
    seen: list[Numbers] = []
    for (label, group), (colour, line) in zip(groups.items(), _looks(), strict=False):
        curves = _by_round(group, key) * scale
        if curves.size == 0:
            continue
        seen.append(curves)
        rounds = np.arange(1, curves.shape[1] + 1)
        estimates = [found for column in curves.T if (found := estimate(column.tolist())) is not None]
        means = np.array([each.mean for each in estimates])
        dot = "o" if rounds.size <= _FEW_ROUNDS else None
        axes.plot(rounds, means, line, color=colour, marker=dot, markersize=3.5, linewidth=2, label=label)
        if curves.shape[0] > 1:
            axes.plot(rounds, curves.T, line, color=colour, linewidth=0.8, alpha=0.4)
            half = np.array([each.ci95 or 0.0 for each in estimates])
            axes.fill_between(rounds, means - half, means + half, color=colour, alpha=0.15, linewidth=0)
    if not seen:
        say(axes, "None of these runs has anything to show here.")
        return figure
    low, high = min(each.min() for each in seen), max(each.max() for each in seen)
    room = 0.15 * (high - low) + 0.5
    axes.set_ylim(low - room, high + room)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _by_round(group: Group, key: str) -> Numbers:
    """``[seeds, rounds]``; empty unless every run of the group has the key in every round."""
    rows = [_column(run, key) for run in group.runs.values()]
    if not rows or any(row is None for row in rows) or len({len(row) for row in rows if row is not None}) > 1:
        return np.empty((0, 0))
    return np.array(rows, dtype=np.float64)


def _column(run: RunLog, key: str) -> list[float] | None:
    values = [record.get(key) for record in run.rounds]
    return None if not values or None in values else [float(value) for value in values if value is not None]


def _point(axes: Axes, group: Group, x: float, label: str, colour: str) -> None:
    if (found := group.estimate("student")) is not None:
        axes.errorbar(x, found.mean, found.ci95, fmt="o", color=colour, capsize=3, markersize=6, label=label)


def _finished(figure: Figure, axes: Axes, xs: Sequence[float]) -> Figure:
    if not xs:
        say(axes, "None of these runs has a model on the server.")
        return figure
    _spread(axes, xs)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _spread(axes: Axes, xs: Sequence[float]) -> None:
    if xs and min(xs) > 0 and max(xs) > _WIDE * min(xs):
        axes.set_xscale("log")


def _looks() -> Sequence[tuple[str, str]]:
    """A colour and a line for each group; colours come again with another line."""
    return [(colour, line) for line in _LINES for colour in _COLOURS]
