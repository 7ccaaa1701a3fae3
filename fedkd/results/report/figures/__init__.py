"""A run's figures, by modules that are imported when something is drawn.

Matplotlib takes a third of a second to import, for which no client's first step should wait.
"""

from pathlib import Path

from fedkd.data import ExperimentData


def draw_label_distribution(data: ExperimentData, folder: Path) -> None:
    """``plots/label_distribution.png`` of the run in ``folder``, unless it is there."""
    path = folder / "plots" / "label_distribution.png"
    if path.is_file():
        return
    from fedkd.results.report.figures._label_distribution import save_label_distribution

    save_label_distribution(data, path)


def draw_figures(folder: Path) -> None:
    """The figures of ``run_figures``, which need a run's summary."""
    from fedkd.results.report.figures.run_figures import save_figures

    save_figures(folder)


def figure_files(folder: Path) -> list[Path]:
    """Where ``draw_figures`` puts them."""
    from fedkd.results.report.figures.run_figures import FIGURES

    return [folder / "plots" / f"{name}.png" for name in FIGURES]


def is_whole(path: Path) -> bool:
    """Whether there is a PNG from its first bytes to its last."""
    content = path.read_bytes() if path.is_file() else b""
    return content.startswith(b"\x89PNG\r\n\x1a\n") and content.endswith(b"IEND\xaeB`\x82")
