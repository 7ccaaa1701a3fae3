"""A run's figures, by modules that are imported when something is drawn.

Matplotlib takes a third of a second to import, and drawing as long as some rounds, so that all is drawn at the end of a
run. No figure is worth one: what cannot be drawn, for whatever reason, is left out, and the reason told.
"""

import os
from collections.abc import Callable
from pathlib import Path

from fedkd.experiment import Experiment

FIGURES = ("accuracy", "lambda", "gradients", "decrease_curves", "taylor_fidelity", "classes")
"""The figures of ``run_figures``, by the name of their file without its ending; the last where classes are measured."""

SWITCH = "FEDKD_FIGURES"
"""The environment variable with which 0 keeps runs from drawing: it takes longer than all the rest of a small one."""

Notice = Callable[[str], None]
"""Takes a sentence that the user should read."""


def are_wanted() -> bool:
    """Whether runs draw figures."""
    return os.environ.get(SWITCH) != "0"


def draw_label_distribution(experiment: Experiment, folder: Path, notice: Notice) -> None:
    """``plots/label_distribution.png`` of the experiment's run in ``folder``, unless it is there or unknown."""
    path = folder / "plots" / "label_distribution.png"

    def draw() -> None:
        from fedkd.results.report.figures._label_distribution import save_label_distribution

        save_label_distribution(experiment.data, path)

    if not (experiment.config.data.at_home or is_whole(path)):
        attempt_figure("label_distribution", draw, notice)


def draw_figures(folder: Path, notice: Notice) -> None:
    """The figures of ``run_figures``, which need a run's summary."""

    def draw() -> None:
        from fedkd.results.report.figures.run_figures import save_figures

        save_figures(folder, notice)

    attempt_figure("plots", draw, notice)


def figure_files(folder: Path, *, by_class: bool) -> list[Path]:
    """Where ``draw_figures`` puts them; ``by_class`` says whether ``distillation.measure_classes_every`` is set."""
    return [folder / "plots" / f"{name}.png" for name in FIGURES if by_class or name != "classes"]


def is_whole(path: Path) -> bool:
    """Whether there is a PNG from its first bytes to its last."""
    content = path.read_bytes() if path.is_file() else b""
    return content.startswith(b"\x89PNG\r\n\x1a\n") and content.endswith(b"IEND\xaeB`\x82")


def attempt_figure(name: str, draw: Callable[[], None], notice: Notice) -> bool:
    """Draw; whether that went well. ``notice`` is told what went wrong."""
    try:
        draw()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        notice(f"the figure {name} could not be drawn and is left out ({reason})")
        return False
    return True
