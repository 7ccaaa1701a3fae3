"""Figures that set groups of runs side by side: points and lines are means over seeds, bars and bands intervals."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedkd.results.report.comparison._fronts import cost_of, front
from fedkd.results.report.comparison._groups import Group, Labelled, protecting, unit_of
from fedkd.results.report.comparison._measures import EPSILON, estimate
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
    ink,
    legend,
    new_figure,
    new_panels,
    say,
)

MOST_NAMED = 12
"""Groups that a figure has colours and room for; the others are grey, without a name."""
_COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)
_LINES = ("-", "--")
_MARKERS = ("o", "s")
_WIDE = 10.0
"""From such a ratio of the largest to the smallest value on, an axis is logarithmic."""
_FEW_ROUNDS = 30
_ACCURACY = "student's test accuracy (%)"


def draw_accuracy(groups: Labelled) -> Figure:
    """The student's test accuracy after each round."""
    return _over_rounds(groups, "student_accuracy", 100, "Test accuracy after each round", _ACCURACY)


def draw_lambda(groups: Labelled) -> Figure:
    """The mean λ of each round."""
    figure = _over_rounds(groups, "mean_lambda", 1, "λ, the mean of each round", "λ (0: labels only, 1: teacher only)")
    figure.axes[0].set_ylim(-0.03, 1.03)
    return figure


def draw_bytes(groups: Labelled) -> Figure:
    """Accuracy after the last round against all that clients sent up, with the Pareto front."""
    return _against(groups, "megabytes_up", "megabytes sent up, all clients and rounds")


def draw_seconds(groups: Labelled) -> Figure:
    """Accuracy after the last round against wall time, with the Pareto front."""
    return _against(groups, "wall_seconds", "seconds of wall time, controls included")


def draw_privacy(groups: Labelled) -> Figure:
    """Accuracy against ε, with the Pareto front: a panel for each unit of protection; level, the groups without ε."""
    units = sorted({unit for group in groups.values() if (unit := unit_of(group)) is not None})
    figure, panels = new_panels(max(len(units), 1), 4.8 * max(len(units), 1) + 2.0, 4.4, share_y=True)
    for axes, unit in zip(panels, units, strict=False):
        dress(axes, f"Protects each {unit}", f"ε per {unit}", _ACCURACY if axes is panels[0] else "")
        _points(axes, groups, protecting(groups, unit), EPSILON)
        for label, group, colour, _, _ in _looks(groups):
            accuracy = group.estimate("student")
            if accuracy is not None and not group.by_seed(EPSILON) and colour != GREY:
                axes.axhline(accuracy.mean, color=colour, linestyle="--", linewidth=1.2, label=f"{label} (no DP)")
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
}
"""The figures of a comparison, by the name of their file."""


def _against(groups: Labelled, cost: str, x: str) -> Figure:
    figure = new_figure(height=4.4)
    axes = figure.add_subplot()
    dress(axes, f"Final test accuracy and {x.partition(',')[0]}", x, _ACCURACY)
    if not _points(axes, groups, groups, cost):
        say(axes, "None of these runs has a model on the server.")
        return figure
    legend(figure)
    return figure


def _points(axes: Axes, groups: Labelled, shown: Labelled, cost: str) -> bool:
    """Each group's accuracy at its cost, and a line along the front; whether there is anything to show."""
    places = {}
    for label, group, colour, _, marker in _looks(groups):
        accuracy, price = group.estimate("student"), cost_of(group, cost)
        if label in shown and accuracy is not None and price is not None:
            places[label] = (price, accuracy.mean)
            named = label if colour != GREY else None
            axes.errorbar(
                *places[label], accuracy.ci95, fmt=marker, color=colour, capsize=3, markersize=5.5, label=named
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
    for label, group, colour, line, _ in _looks(groups):
        curves = _by_round(group, key) * scale
        if curves.size == 0:
            continue
        seen.append(curves)
        rounds = np.arange(1, curves.shape[1] + 1)
        means = curves.mean(axis=0)
        if colour == GREY:
            axes.plot(rounds, means, color=GREY, linewidth=0.6, alpha=0.4, zorder=1)
            continue
        dot = "o" if rounds.size <= _FEW_ROUNDS else None
        axes.plot(rounds, means, line, color=colour, marker=dot, markersize=3.5, linewidth=1.8, label=label)
        if curves.shape[0] > 1:
            axes.plot(rounds, curves.T, line, color=colour, linewidth=0.7, alpha=0.4)
            half = np.array([found.ci95 or 0.0 for each in curves.T if (found := estimate(each.tolist())) is not None])
            axes.fill_between(rounds, means - half, means + half, color=colour, alpha=0.15, linewidth=0)
    if not seen:
        say(axes, "None of these runs has anything to show here.")
        return figure
    low, high = min(each.min() for each in seen), max(each.max() for each in seen)
    room = 0.15 * (high - low) + 0.5
    axes.set_ylim(low - room, high + room)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure)
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


def _looks(groups: Labelled) -> Iterator[tuple[str, Group, str, str, str]]:
    """Each group with its name for the legend, its colour, its line and its marker.

    Where there are too many, the first and those of the best validation accuracy have colours, the others are grey.
    """
    named = named_groups(groups)
    looks = [(colour, line, marker) for line, marker in zip(_LINES, _MARKERS, strict=True) for colour in _COLOURS]
    chosen = dict(zip(named, looks, strict=False))
    for label, group in groups.items():
        yield label, group, *chosen.get(label, (GREY, "-", "."))


def named_groups(groups: Labelled) -> Sequence[str]:
    """Those that a figure names."""
    if len(groups) <= MOST_NAMED:
        return list(groups)

    def validated(label: str) -> float:
        found = groups[label].estimate("validation") or groups[label].estimate("student")
        return -1.0 if found is None else found.mean

    first, *others = groups
    best = set(sorted(others, key=validated, reverse=True)[: MOST_NAMED - 1])
    return [first, *(label for label in others if label in best)]
