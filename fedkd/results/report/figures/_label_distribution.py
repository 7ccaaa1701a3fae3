"""A figure of which client holds how many samples of which class."""

from pathlib import Path

import numpy as np
import torch

from fedkd.data import ExperimentData
from fedkd.results.report.style import (
    BoundaryNorm,
    Figure,
    ListedColormap,
    ScalarMappable,
    colormaps,
    drawing,
    dress,
    new_figure,
    save,
    short,
)

_MANY_CLIENTS = 40
_LEGEND_CLASSES = 20


def save_label_distribution(data: ExperimentData, path: Path) -> None:
    """Write ``draw_label_distribution`` as a PNG."""
    with drawing():
        save(draw_label_distribution(data), path)


def draw_label_distribution(data: ExperimentData) -> Figure:
    """Each client's private samples, train and validation, stacked by class.

    Up to 40 clients stand in the order of their ids; more are sorted by size. Up to 20 classes are named in a legend;
    more are told apart by a colour scale.
    """
    counts = _counts(data)
    many = len(counts) > _MANY_CLIENTS
    if many:
        counts = counts[np.argsort(-counts.sum(axis=1), kind="stable")]
    figure = new_figure(10, 4.5)
    axes = figure.add_subplot()
    clients = f"{len(counts)} clients, largest first" if many else "client"
    dress(axes, "Private samples of each client, by class", clients, "private samples")
    colours = _colours(data.classes)

    half = 0.5 if many else 0.4
    centres = np.arange(len(counts))
    edges = np.stack([centres - half, centres + half], axis=1).flatten()
    below = np.zeros(len(edges) - 1)
    for label in range(data.classes):
        # Every second step is the gap between two bars, of no height.
        heights = np.zeros_like(below)
        heights[::2] = counts[:, label]
        axes.stairs(below + heights, edges, baseline=below, fill=True, color=colours(label), linewidth=0)
        below = below + heights

    axes.set_xlim(-0.5 - (0 if many else 0.1), len(counts) - 0.5 + (0 if many else 0.1))
    axes.set_ylim(0, None)
    if many:
        axes.set_xticks([])
    else:
        axes.set_xticks(centres)
    if data.classes <= _LEGEND_CLASSES:
        # Reversed, so that the legend reads in the order of the stack.
        handles = [axes.fill_between([], [], color=colours(label)) for label in reversed(range(data.classes))]
        figure.legend(
            handles, [short(name) for name in reversed(data.class_names)], loc="outside right upper", frameon=False
        )
    else:
        scale = ScalarMappable(BoundaryNorm(np.arange(data.classes + 1) - 0.5, data.classes), colours)
        step = max(1, data.classes // 10)
        bar = figure.colorbar(scale, ax=axes, label="class", ticks=range(0, data.classes, step), pad=0.01)
        bar.minorticks_off()
    return figure


def _counts(data: ExperimentData) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    rows = [
        torch.bincount(data.labels[torch.cat([client.train, client.validation])], minlength=data.classes).numpy()
        for client in data.clients
    ]
    return np.stack(rows).astype(np.int64)


def _colours(classes: int) -> ListedColormap:
    if classes <= 10:
        return ListedColormap([colormaps["tab10"](label) for label in range(classes)])
    if classes <= _LEGEND_CLASSES:
        return ListedColormap([colormaps["tab20"](label) for label in range(classes)])
    return ListedColormap([colormaps["turbo"](label / (classes - 1)) for label in range(classes)])
