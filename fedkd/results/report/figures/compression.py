"""Accuracy against size: what each network of a distillation costs."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedkd.results.report.style import BLUE, GREY, ORANGE, PURPLE, SKY, Figure, drawing, dress, new_figure, save

_LOOKS = {
    "teacher": ("teacher", ORANGE, "s"),
    "student": ("student", BLUE, "o"),
    "student_without_teacher": ("student without teacher", GREY, "X"),
    "student_onnx": ("student, ONNX", SKY, "D"),
    "student_int8": ("student, 8 bits", PURPLE, "^"),
}


def save_compression(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write ``draw_compression`` as a PNG."""
    with drawing():
        save(draw_compression(rows), path)


def draw_compression(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """A point per row of ``compression.csv``: its bytes, on a logarithmic axis, and its test accuracy."""
    figure = new_figure(width=6.5, height=3.8)
    axes = figure.add_subplot()
    dress(axes, "Accuracy against size", "bytes as stored", "test accuracy (%)")
    sizes = [row["bytes"] for row in rows]
    axes.set_xscale("log")
    axes.set_xlim(10.0 ** math.floor(math.log10(min(sizes))), 10.0 ** math.ceil(math.log10(max(sizes) + 1)))
    axes.tick_params(axis="x", which="minor", labelbottom=False)
    for row in rows:
        name, colour, marker = _LOOKS[row["network"]]
        axes.plot(row["bytes"], 100 * row["accuracy"], marker, color=colour, markersize=9, label=name)
    axes.margins(y=0.15)
    figure.legend(loc="outside right center", frameon=False)
    return figure
