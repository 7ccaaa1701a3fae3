"""The look that every figure shares. Each figure has a canvas of its own: neither pyplot nor a backend is involved."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
"""Colours that colour-blind readers can tell apart (Okabe & Ito 2008)."""
GREY = "#808080"
PALETTE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, "#000000", GREY)
"""For lines of equal rank."""
_DOTS_PER_INCH = 150
_DARK_GROUND, _LIGHT_INK = "#16181c", "#dcdfe4"
"""Those of a page on a dark ground."""


def new_figure(width: float = 9.0, height: float = 4.5) -> Figure:
    """An empty figure, in inches, that arranges its axes by itself."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=rcParams["figure.facecolor"])
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def on_dark() -> Iterator[None]:
    """Figures that are made and written inside the block are for a page with a dark ground."""
    with rc_context(
        {
            "figure.facecolor": _DARK_GROUND,
            "axes.facecolor": _DARK_GROUND,
            "text.color": _LIGHT_INK,
            "axes.labelcolor": _LIGHT_INK,
            "axes.edgecolor": _LIGHT_INK,
            "xtick.color": _LIGHT_INK,
            "ytick.color": _LIGHT_INK,
        }
    ):
        yield


def dress(axes: Axes, title: str, x: str, y: str, *, gap: float = 6.0) -> None:
    """Give the axes a title, ``gap`` points above them, and labels; take away what is not needed."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=gap)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    # Half transparent, so that it is as faint on a dark ground.
    axes.grid(axis="y", color="0.5", alpha=0.16, linewidth=0.8)
    axes.set_axisbelow(True)


def say(axes: Axes, text: str) -> None:
    """Write in the middle of empty axes why they are empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY, wrap=True)
    axes.set_xticks([])
    axes.set_yticks([])


def save(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG; folders are made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=_DOTS_PER_INCH)


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
    return buffer.getvalue()
