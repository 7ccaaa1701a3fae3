"""``fedkd new``: a folder with a study of one's own, ready to run."""

import shlex
import shutil
from pathlib import Path
from typing import Annotated

import typer

from fedkd.core.errors import FolderError

_TEMPLATE = Path(__file__).parent / "template"


def new(
    folder: Annotated[Path, typer.Argument(metavar="NAME", help="The folder to make.")],
) -> None:
    """Make a folder with a configuration, a strategy, its test, and a sweep that compares it; all run at once."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FolderError(f"{folder} is there already; name a folder that is not, or an empty one")
    shutil.copytree(_TEMPLATE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    typer.echo(
        f"{folder}: experiment.yaml, strategies/my_strategy.py, tests/test_my_strategy.py, sweep.sh, paper/paper.tex"
    )
    go = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    typer.echo(f"  next   {go}fedkd run experiment.yaml")
