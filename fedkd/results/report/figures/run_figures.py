"""What a run's distillation did, in five figures."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from fedkd.results.report.figures._accuracy import draw_accuracy
from fedkd.results.report.figures._decrease import draw_decrease_curves
from fedkd.results.report.figures._fidelity import draw_fidelity
from fedkd.results.report.figures._gradients import draw_gradients
from fedkd.results.report.figures._lambda import draw_lambda
from fedkd.results.report.run_log import RunLog
from fedkd.results.report.style import save

__all__ = [
    "FIGURES",
    "draw_accuracy",
    "draw_decrease_curves",
    "draw_fidelity",
    "draw_gradients",
    "draw_lambda",
    "save_figures",
]

FIGURES: dict[str, Callable[[RunLog], Figure]] = {
    "accuracy": draw_accuracy,
    "lambda": draw_lambda,
    "gradients": draw_gradients,
    "decrease_curves": draw_decrease_curves,
    "taylor_fidelity": draw_fidelity,
}
"""File name, without its ending, and what draws it."""


def save_figures(run_dir: Path) -> list[Path]:
    """Draw every figure of the run in ``run_dir`` as ``run_dir/plots/NAME.png``, and return the paths.

    Works on unfinished runs; a figure without data says so. Raises ``RunError`` when the folder holds no run.
    """
    log = RunLog.read(run_dir)
    paths = []
    for name, draw in FIGURES.items():
        path = run_dir / "plots" / f"{name}.png"
        save(draw(log), path)
        paths.append(path)
    return paths
