"""Accuracy against size: what each network of a distillation costs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedkd.results.report.style import BLUE, GREY, ORANGE, PURPLE, SKY, drawing, dress, new_figure, save

_LOOKS = {
    "teacher": ("teacher", ORANGE, "s"),
    "student": ("student", BLUE, "o"),
    "student_without_teacher": ("student without teacher", GREY, "X"),
    "student_onnx": ("student, ONNX", SKY, "D"),
    "student_int8": ("student, 8 bits", PURPLE, "^"),
}


def save_compression(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A point per row of ``compression.csv``: its bytes, on a logarithmic axis, and its test accuracy."""
    with drawing():
        figure = new_figure(width=6.5, height=3.8)
        axes = figure.add_subplot()
        dress(axes, "Accuracy against size", "bytes as stored", "test accuracy (%)")
        axes.set_xscale("log")
        for row in rows:
            name, colour, marker = _LOOKS[row["network"]]
            axes.plot(row["bytes"], 100 * row["accuracy"], marker, color=colour, markersize=9, label=name)
        axes.margins(0.15)
        figure.legend(loc="outside right center", frameon=False)
        save(figure, path)
