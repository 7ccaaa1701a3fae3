"""``fedkd export``: the student of a finished run as a file."""

import enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console as RichConsole
from rich.table import Table


class Form(enum.StrEnum):
    """What ``fedkd export`` can write."""

    all = enum.auto()
    safetensors = enum.auto()
    torch_export = enum.auto()
    onnx = enum.auto()


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a finished run.")],
    form: Annotated[Form, typer.Option("--format", help="The kind of file.")] = Form.all,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE|DIR", help="Where it goes, a file or, without a suffix, a folder; else DIR/export."),
    ] = None,
) -> None:
    """Write the student of a finished run for use elsewhere: weights, a torch.export program, an ONNX network.

    Each file is read back, and must answer real test samples as the student does, one at a time and in batches. It
    holds class names, the shape of samples and how they are made, as JSON. Needs fedkd's extra, export.
    """
    from fedkd.app.export import export_run

    done = export_run(folder, form.value, out)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("format", "bytes", "largest difference", "file"):
        table.add_column(title, overflow="fold", justify="left" if title in {"format", "file"} else "right")
    for each in done:
        table.add_row(each.format, f"{each.bytes:,}", f"{max(each.differences.values()):.0e}", str(each.path))
    screen = RichConsole(highlight=False, markup=False)
    screen.print(table)
    batches = ", ".join(map(str, done[0].differences))
    screen.print(
        f"Read back and compared with the student on test samples, in batches of {batches}: the largest difference of "
        "a logit, as a share of the largest logit."
    )
