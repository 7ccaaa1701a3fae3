"""What a distillation is told by on the console."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console as RichConsole
from rich.table import Table

_NAMES = {"teacher": "teacher", "student": "student", "student_without_teacher": "student without teacher"}


def print_networks(result: Mapping[str, Any], folder: Path) -> None:
    """The networks' accuracies, and where their files are."""
    console = RichConsole(highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("test accuracy", justify="right")
    for name, words in _NAMES.items():
        if (share := result.get(f"{name}_accuracy")) is not None:
            table.add_row(words, f"{100 * share:.1f}%", style="bold" if name == "student" else None)
    console.print(table)
    console.print(f"The student names the teacher's class on {100 * result['agreement']:.1f}% of the test samples.")
    console.print(f"Results in {folder}: result.json, distillation.csv, and the networks' weights", soft_wrap=True)
