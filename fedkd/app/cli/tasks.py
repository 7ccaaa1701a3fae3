"""What a sequence of tasks is told by on the console."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console as RichConsole
from rich.table import Table

from fedkd.app.distil.continual import FORMER_SELF, LEARNERS
from fedkd.server.finished import TASKS_RESULT


def print_tasks(result: Mapping[str, Any], folder: Path) -> None:
    """A line per learner, with what it knows at the end, and where the files are."""
    console = RichConsole(highlight=False)
    for number, task in enumerate(result["tasks"]):
        names = ", ".join(task["classes"])
        console.print(f"task {number}  {task['train']:,} samples of {names}", markup=False, soft_wrap=True)
    console.print()
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    headings = ("all tasks", "new task", "forgotten", *(f"task {number}" for number in range(len(result["tasks"]))))
    for heading in headings:
        table.add_column(heading, justify="right")
    table.add_column("", overflow="fold")
    for name, found in result["learners"].items():
        shares = (found["average_accuracy"], found["accuracy_on_new_task"], found["average_forgetting"])
        cells = [_percent(share) for share in (*shares, *found["accuracy"][-1])]
        style = "bold" if name == FORMER_SELF else None
        table.add_row(name.replace("_", " "), *cells, LEARNERS[name], style=style)
    joint = result["joint"]
    cells = [_percent(share) for share in joint["accuracy"]]
    table.add_row("joint", _percent(joint["average_accuracy"]), "", "", *cells, "learns all tasks at once")
    console.print(table)
    console.print(
        "Test accuracy after the last task among all classes; of each new task just after it; and what was lost since "
        "a task was at its best.",
        soft_wrap=True,
    )
    console.print(
        f"Results in {folder}: {TASKS_RESULT}, plots/continual.png, distillation.csv, and the networks' weights",
        soft_wrap=True,
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
