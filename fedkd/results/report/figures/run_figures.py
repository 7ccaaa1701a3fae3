"""What a run's distillation did, in five figures or six."""

from collections.abc import Callable
from pathlib import Path

from fedkd.results.report.figures import FIGURES, Notice, attempt_figure, figure_files
from fedkd.results.report.figures._accuracy import draw_accuracy
from fedkd.results.report.figures._classes import draw_classes
from fedkd.results.report.figures._decrease import draw_decrease_curves
from fedkd.results.report.figures._fidelity import draw_fidelity
from fedkd.results.report.figures._gradients import draw_gradients
from fedkd.results.report.figures._lambda import draw_lambda
from fedkd.results.report.run_log import RunLog
from fedkd.results.report.style import Figure, drawing, save

__all__ = [
    "draw_accuracy",
    "draw_classes",
    "draw_decrease_curves",
    "draw_fidelity",
    "draw_figure",
    "draw_gradients",
    "draw_lambda",
    "figures_of",
    "save_figures",
]

_DRAWN_BY: dict[str, Callable[[RunLog], Figure]] = dict(
    zip(
        FIGURES,
        (draw_accuracy, draw_lambda, draw_gradients, draw_decrease_curves, draw_fidelity, draw_classes),
        strict=True,
    )
)


def figures_of(log: RunLog) -> tuple[str, ...]:
    """The names of the run's figures: of classes only where they were measured."""
    paths = figure_files(log.path, by_class=bool(log.at("distillation.measure_classes_every")))
    return tuple(path.stem for path in paths)


def draw_figure(log: RunLog, name: str) -> Figure:
    """The figure of this name."""
    return _DRAWN_BY[name](log)


def save_figures(run_dir: Path, notice: Notice) -> list[Path]:
    """Draw every figure of the run in ``run_dir`` as ``run_dir/plots/NAME.png``, and return the paths of those drawn.

    Works on unfinished runs; a figure without data says so. ``notice`` is told of figures that could not be drawn.
    Raises ``RunError`` when the folder holds no run.
    """
    log = RunLog.read(run_dir)
    paths = []
    for name in figures_of(log):
        path = run_dir / "plots" / f"{name}.png"
        path.unlink(missing_ok=True)

        def draw(name: str = name, path: Path = path) -> None:
            with drawing():
                save(draw_figure(log, name), path)

        if attempt_figure(name, draw, notice):
            paths.append(path)
    return paths
