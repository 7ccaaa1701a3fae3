"""A figure of which client holds how many samples of which class, and the numbers behind it."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from fedkd.core.files import replace_file
from fedkd.data import ExperimentData
from fedkd.results.report.style import (
    BoundaryNorm,
    Figure,
    ListedColormap,
    ScalarMappable,
    colormaps,
    drawing,
    dress,
    is_narrow,
    legend,
    new_figure,
    save,
    short,
)

_MANY_CLIENTS = 40
_LEGEND_CLASSES = 20


@dataclass(frozen=True)
class LabelCounts:
    """``counts`` is [clients, classes]: each client's private samples, train and validation."""

    classes: Sequence[str]
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, data: ExperimentData) -> "LabelCounts":
        rows = [
            torch.bincount(data.labels[torch.cat([client.train, client.validation])], minlength=data.classes).numpy()
            for client in data.clients
        ]
        return cls(data.class_names, np.stack(rows).astype(np.int64))

    @classmethod
    def read(cls, path: Path) -> "LabelCounts":
        """What ``save_label_distribution`` wrote; raises ``ValueError`` for anything else."""
        header, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline=""))
        counts = np.array([[int(cell) for cell in row[1:]] for row in rows], dtype=np.int64)
        if counts.shape != (len(rows), len(header) - 1):
            raise ValueError(f"{path} has rows of other lengths than its heading")
        return cls(header[1:], counts)

    def csv(self) -> str:
        """A row per client, a column per class."""
        out = io.StringIO(newline="")
        csv.writer(out, lineterminator="\n").writerows(
            [["client", *self.classes], *([client, *row] for client, row in enumerate(self.counts.tolist()))]
        )
        return out.getvalue()


def save_label_distribution(data: ExperimentData, path: Path) -> None:
    """Draw each client's private samples, train and validation, stacked by class, as a PNG at ``path``.

    The numbers are beside it, as CSV.
    """
    with drawing():
        save(_figure(data), path)
    replace_file(
        path.with_suffix(".csv"), LabelCounts.of(data).csv().encode("utf-8", "backslashreplace"), durable=False
    )


def draw_label_distribution(found: LabelCounts) -> Figure:
    """Each client's samples, stacked by class.

    Up to 40 clients stand in the order of their ids; more are sorted by size. Up to 20 classes are named in a legend;
    more are told apart by a colour scale.
    """
    counts, classes = found.counts, len(found.classes)
    many = len(counts) > _MANY_CLIENTS
    if many:
        counts = counts[np.argsort(-counts.sum(axis=1), kind="stable")]
    figure = new_figure(10, 4.5)
    axes = figure.add_subplot()
    clients = f"{len(counts)} clients, largest first" if many else "client"
    dress(axes, "Private samples of each client, by class", clients, "private samples")
    colours = _colours(classes)

    half = 0.5 if many else 0.4
    centres = np.arange(len(counts))
    edges = np.stack([centres - half, centres + half], axis=1).flatten()
    below = np.zeros(len(edges) - 1)
    for label in range(classes):
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
        axes.set_xticks(centres[:: 1 + len(centres) // 20] if is_narrow() else centres)
    if classes <= _LEGEND_CLASSES:
        # Reversed, so that the legend reads in the order of the stack.
        handles = [axes.fill_between([], [], color=colours(label)) for label in reversed(range(classes))]
        legend(figure, handles, [short(name) for name in reversed(found.classes)])
    else:
        scale = ScalarMappable(BoundaryNorm(np.arange(classes + 1) - 0.5, classes), colours)
        step = max(1, classes // 10)
        bar = figure.colorbar(scale, ax=axes, label="class", ticks=range(0, classes, step), pad=0.01)
        bar.minorticks_off()
    return figure


def _figure(data: ExperimentData) -> Figure:
    return draw_label_distribution(LabelCounts.of(data))


def _colours(classes: int) -> ListedColormap:
    if classes <= 10:
        return ListedColormap([colormaps["tab10"](label) for label in range(classes)])
    if classes <= _LEGEND_CLASSES:
        return ListedColormap([colormaps["tab20"](label) for label in range(classes)])
    return ListedColormap([colormaps["turbo"](label / (classes - 1)) for label in range(classes)])
