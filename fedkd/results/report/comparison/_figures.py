"""Figures that set groups of runs side by side: points and lines are means over seeds, bars and bands intervals."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fedkd.results.report.comparison._attacks import draw_robustness, draw_roc
from fedkd.results.report.comparison._fronts import cost_of, front
from fedkd.results.report.comparison._groups import Group, Labelled, protecting, unit_of
from fedkd.results.report.comparison._looks import Look, looks
from fedkd.results.report.comparison._measures import EPSILON, estimate
from fedkd.results.report.run_log import Numbers, RunLog
from fedkd.results.report.style import (
    Axes,
    Figure,
    MaxNLocator,
    dress,
    ink,
    legend,
    new_figure,
    new_panels,
    say,
)

_WIDE = 10.0
"""From such a ratio of the largest to the smallest value on, an axis is logarithmic."""
_ALIKE = 0.001
"""Costs that differ by no more than this share of the largest are the same."""
_FEW_ROUNDS = 30
_ACCURACY = "test accuracy (%)"


def draw_accuracy(groups: Labelled) -> Figure:
    """The student's test accuracy after each round."""
    return _over_rounds(groups, "student_accuracy", 100, "Test accuracy after each round", _ACCURACY)


def draw_lambda(groups: Labelled) -> Figure:
    """The mean λ of each round."""
    figure = _over_rounds(groups, "mean_lambda", 1, "λ, the mean of each round", "λ (1: teacher alone)")
    figure.axes[0].set_ylim(-0.03, 1.03)
    return figure


def draw_bytes(groups: Labelled) -> Figure:
    """Accuracy after the last round against all that clients sent up, with the Pareto front."""
    return _against(groups, "megabytes_up", "Final test accuracy and bytes", "megabytes sent up by all clients")


def draw_seconds(groups: Labelled) -> Figure:
    """Accuracy after the last round against wall time, with the Pareto front."""
    return _against(groups, "wall_seconds", "Final test accuracy and time", "seconds, controls included")


def draw_privacy(groups: Labelled) -> Figure:
    """Accuracy against ε, with the Pareto front: a panel for each unit of protection; level, the groups without ε."""
    units = sorted({unit for group in groups.values() if (unit := unit_of(group)) is not None})
    figure, panels = new_panels(max(len(units), 1), 4.8 * max(len(units), 1) + 2.0, 4.4, share_y=True)
    for axes, unit in zip(panels, units, strict=False):
        dress(axes, f"Protects each {unit}", f"ε per {unit}", _ACCURACY if axes is panels[0] else "")
        _points(axes, groups, protecting(groups, unit), EPSILON)
        for look in looks(groups):
            accuracy = look.group.estimate("student")
            if accuracy is not None and not look.group.by_seed(EPSILON) and look.is_named:
                name = f"{look.label} (no DP)"
                axes.axhline(accuracy.mean, color=look.colour, linestyle="--", linewidth=1.2, label=name)
    if not units:
        dress(panels[0], "Accuracy and privacy", "ε", _ACCURACY)
        say(panels[0], "None of these runs has a formal privacy guarantee.")
        return figure
    legend(figure)
    return figure


@dataclass(frozen=True)
class Kind:
    """A figure of groups: what draws it, and what stands below it."""

    draw: Callable[[Labelled], Figure]
    caption: str


FIGURES: Mapping[str, Kind] = {
    "accuracy": Kind(
        draw_accuracy,
        "The student's test accuracy after each round, a thin line per seed, a thick one for the mean, and a band "
        "for its 95 % interval, which leaves the frame when seeds are few.",
    ),
    "bytes": Kind(
        draw_bytes,
        "Test accuracy after the last round, with 95 % intervals, against the megabytes that all clients sent up. No "
        "group is both cheaper and more accurate than one on the dotted line, by their means.",
    ),
    "seconds": Kind(draw_seconds, "The same against wall time, which is comparable on one idle machine alone."),
    "privacy": Kind(
        draw_privacy,
        "The same against ε. An ε per record and one per client mean different things and have panels of their own; "
        "dashed lines are groups without a formal guarantee.",
    ),
    "lambda": Kind(draw_lambda, "λ, the weight of distillation, as the mean of each round; lines and bands as above."),
    "robustness": Kind(
        draw_robustness,
        "Mean test accuracy after the last round, by how some clients attack and by all else that differs.",
    ),
    "roc": Kind(
        draw_roc,
        "What audits find: of each group, at each observation point, the attack of the largest mean AUC: its ROC and "
        "the limits of its true-positive rate are means over seeds.",
    ),
}
"""The figures of a comparison, by the name of their file."""


def _against(groups: Labelled, cost: str, title: str, x: str) -> Figure:
    figure = new_figure(height=4.4)
    axes = figure.add_subplot()
    dress(axes, title, x, _ACCURACY)
    costs = [price for group in groups.values() if (price := cost_of(group, cost)) is not None]
    if costs and len(groups) > 1 and max(costs) - min(costs) <= _ALIKE * max(costs):
        say(axes, f"All groups cost alike: {max(costs):.3g} {x}.")
        return figure
    if not _points(axes, groups, groups, cost):
        say(axes, "None of these runs has a model on the server.")
        return figure
    legend(figure)
    return figure


def _points(axes: Axes, groups: Labelled, shown: Labelled, cost: str) -> bool:
    """Each group's accuracy at its cost, and a line along the front; whether there is anything to show."""
    places = {}
    for look in looks(groups):
        accuracy, price = look.group.estimate("student"), cost_of(look.group, cost)
        if look.label in shown and accuracy is not None and price is not None:
            places[look.label] = (price, accuracy.mean)
            axes.errorbar(
                price,
                accuracy.mean,
                accuracy.ci95,
                fmt=look.marker,
                color=look.colour,
                capsize=3,
                markersize=5.5,
                label=look.label if look.is_named else None,
            )
    along = [places[label] for label in front(shown, cost) if label in places]
    if len(along) > 1:
        xs, ys = zip(*along, strict=True)
        axes.step(xs, ys, where="post", color=ink(), linewidth=1, linestyle=":", zorder=1, label="Pareto front")
    costs = [price for price, _ in places.values()]
    if costs and min(costs) > 0 and max(costs) > _WIDE * min(costs):
        axes.set_xscale("log")
    return bool(places)


def _over_rounds(groups: Labelled, key: str, scale: float, title: str, y: str) -> Figure:
    figure = new_figure(height=4.4)
    axes = figure.add_subplot()
    dress(axes, title, "round", y)
    seen: list[Numbers] = []
    for look in looks(groups):
        curves = _by_round(look.group, key) * scale
        if curves.size:
            seen.append(curves)
            _band(axes, look, curves)
    if not seen:
        say(axes, "None of these runs has anything to show here.")
        return figure
    low, high = min(each.min() for each in seen), max(each.max() for each in seen)
    room = 0.15 * (high - low) + 0.5
    axes.set_ylim(low - room, high + room)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure)
    return figure


def _band(axes: Axes, look: Look, curves: Numbers) -> None:
    """The mean of ``curves``, [seeds, rounds], with a line per seed and the interval, where the group has a name."""
    rounds, means = np.arange(1, curves.shape[1] + 1), curves.mean(axis=0)
    if not look.is_named:
        axes.plot(rounds, means, color=look.colour, linewidth=0.6, alpha=0.4, zorder=1)
        return
    dot = "o" if rounds.size <= _FEW_ROUNDS else None
    axes.plot(rounds, means, look.line, color=look.colour, marker=dot, markersize=3.5, linewidth=1.8, label=look.label)
    if curves.shape[0] > 1:
        axes.plot(rounds, curves.T, look.line, color=look.colour, linewidth=0.7, alpha=0.4)
        half = np.array([found.ci95 or 0.0 for each in curves.T if (found := estimate(each.tolist())) is not None])
        axes.fill_between(rounds, means - half, means + half, color=look.colour, alpha=0.15, linewidth=0)


def _by_round(group: Group, key: str) -> Numbers:
    """``[seeds, rounds]``; empty unless every run of the group has the key in every round."""
    rows = [_column(run, key) for run in group.runs.values()]
    if not rows or any(row is None for row in rows) or len({len(row) for row in rows if row is not None}) > 1:
        return np.empty((0, 0))
    return np.array(rows, dtype=np.float64)


def _column(run: RunLog, key: str) -> list[float] | None:
    values = [record.get(key) for record in run.rounds]
    return None if not values or None in values else [float(value) for value in values if value is not None]
