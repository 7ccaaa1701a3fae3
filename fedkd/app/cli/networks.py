"""What a distillation is told by on the console."""

from rich.console import Console as RichConsole
from rich.table import Table

from fedkd.app.runs import Run
from fedkd.app.runs.frames import networks_of

_NAMES = {
    "teacher": "teacher",
    "student": "student",
    "student_without_teacher": "without teacher",
    "student_onnx": "student, ONNX",
    "student_int8": "student, 8 bits",
}
_COLUMNS = ("parameters", "MFLOPs", "MB", "ms for 1", "ms for 64", "accuracy", "agreement")


def print_networks(run: Run) -> None:
    """What the networks cost and how well they do, and where their files are."""
    console, summary = RichConsole(highlight=False), run.result["compression"]
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    for title in _COLUMNS:
        table.add_column(title, justify="right")
    for row in networks_of(run.folder):
        cells = (
            f"{row['parameters']:,}",
            f"{row['flops'] / 1e6:,.1f}",
            f"{row['bytes'] / 1e6:,.2f}",
            f"{row['latency_ms_1']:,.2f}",
            f"{row['latency_ms_64']:,.1f}",
            f"{row['accuracy']:.1%}",
            f"{row['agreement']:.1%}",
        )
        table.add_row(_NAMES[row["network"]], *cells, style="bold" if row["network"] == "student" else None)
    console.print(table)
    console.print("Accuracy and agreement with the teacher on the test samples; times on one thread of the CPU.")
    for task, shares in run.result.get("further_accuracies", {}).items():
        console.print(f"{task}: " + ", ".join(f"{_NAMES[name]} {share:.1%}" for name, share in shares.items()))
    words = [f"The student has 1/{summary['parameters_ratio']:.1f} of the teacher's parameters"]
    if (kept := summary.get("accuracy_kept")) is not None:
        words.append(f"keeps {kept:.1%} of its accuracy")
    if (gain := summary.get("gain_over_no_teacher")) is not None:
        words.append(f"and is {gain:+.1f} points from where it is without a teacher")
    console.print(", ".join(words) + ".")
    console.print(
        f"Results in {run.folder}: result.json, compression.json, distillation.csv, and the networks' weights",
        soft_wrap=True,
    )
