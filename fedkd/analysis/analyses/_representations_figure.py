"""The picture of what networks make of samples and of classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedkd.analysis.answers import called
from fedkd.results.report.style import Axes, AxesImage, Figure, dress, new_figure, short

_MOST_NAMES = 12
"""Names that fit on an axis."""


def draw(figures: Mapping[str, Any]) -> Figure:
    """A heat map of CKA for each pair of networks, and one of the relations between classes for each model."""
    pairs, relations = figures["layers"], figures["relations"]
    columns = max(len(pairs), len(relations))
    rows = 2 if pairs else 1
    figure = new_figure(width=4.1 * columns, height=3.8 * rows)
    for place, pair in enumerate(pairs, start=1):
        axes = figure.add_subplot(rows, columns, place)
        dress(axes, "Layers", f"layer of {called(pair['second'])}", f"layer of {called(pair['first'])}")
        image = _heat(axes, pair["cka"], pair["second_layers"], pair["first_layers"])
        axes.invert_yaxis()
        figure.colorbar(image, ax=axes, pad=0.01, label="CKA")
    largest = max((value for table in relations.values() for row in table if row for value in row), default=1.0)
    for place, (name, table) in enumerate(relations.items(), start=columns * (rows - 1) + 1):
        axes = figure.add_subplot(rows, columns, place)
        dress(axes, "Classes", f"other class that {called(name)} thinks of", "true class")
        image = _heat(axes, table, figures["classes"], figures["classes"], most=largest)
        figure.colorbar(image, ax=axes, pad=0.01, label="share")
    return figure


def _heat(axes: Axes, table: Sequence[Any], x: Sequence[str], y: Sequence[str], *, most: float = 1.0) -> AxesImage:
    values = np.array([[np.nan] * len(x) if row is None else row for row in table], dtype=np.float64)
    image = axes.imshow(values, aspect="auto", cmap="viridis", vmin=0, vmax=most, interpolation="nearest")
    axes.grid(visible=False)
    for axis, names in ((axes.xaxis, x), (axes.yaxis, y)):
        shown = range(len(names)) if len(names) <= _MOST_NAMES else range(0, len(names), -(-len(names) // _MOST_NAMES))
        axis.set_ticks(list(shown), [short(names[place]) for place in shown], fontsize=7)
    axes.tick_params(axis="x", rotation=60)
    return image
