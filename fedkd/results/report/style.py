"""The one place where figures are made. Each has a canvas of its own: neither pyplot nor a backend is involved."""

import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

from fedkd.core.files import replace_file

_BACKEND = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
# Matplotlib refuses to be imported where that names a backend it does not find, a notebook's in another environment.
try:
    import matplotlib
    from matplotlib import colormaps, font_manager, style
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import PathCollection
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.ticker import LogFormatterMathtext, LogFormatterSciNotation, MaxNLocator, NullLocator
finally:
    if _BACKEND is not None:
        os.environ["MPLBACKEND"] = _BACKEND
if _BACKEND is not None:
    # It is the user's choice for figures of their own.
    with suppress(ValueError):
        matplotlib.rcParams["backend"] = _BACKEND

__all__ = [
    "Axes",
    "AxesImage",
    "BoundaryNorm",
    "Figure",
    "ListedColormap",
    "MaxNLocator",
    "PathCollection",
    "ScalarMappable",
    "colormaps",
    "dress",
    "drawing",
    "finish",
    "new_figure",
    "png",
    "said",
    "save",
    "say",
    "short",
]

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
"""Colours that colour-blind readers can tell apart (Okabe & Ito 2008)."""
GREY = "#808080"
PALETTE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, "#000000", GREY)
"""For lines of equal rank."""
_DOTS_PER_INCH = 150
_DARK_GROUND, _LIGHT_INK = "#16181c", "#dcdfe4"
"""Those of a page on a dark ground."""
_DARK: Mapping[str, Any] = {
    "figure.facecolor": _DARK_GROUND,
    "axes.facecolor": _DARK_GROUND,
    "text.color": _LIGHT_INK,
    "axes.labelcolor": _LIGHT_INK,
    "axes.edgecolor": _LIGHT_INK,
    "xtick.color": _LIGHT_INK,
    "ytick.color": _LIGHT_INK,
}
_DECADES = 3
"""With more of them, only the powers of ten have ticks."""
_SAID = "said"
"""Marks the text of axes that hold nothing else."""
_LONGEST = 48
"""Characters of a name that a figure has room for."""
_FAMILIES = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei")
"""The fonts tried for a character, in turn, of those that are installed."""
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@contextmanager
def drawing(*, dark: bool = False) -> Iterator[None]:
    """Figures are made and written inside the block: the user's own settings have no say, and are put back.

    Every text is drawn as it is, whatever signs of TeX's are in it. ``dark`` is for a page with a dark ground.
    """
    own = {"text.parse_math": False, "font.family": _families(), **(_DARK if dark else {})}
    with style.context(own, after_reset=True), warnings.catch_warnings():
        # A character that no font has becomes a box, unless it is in a name.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def new_figure(width: float = 9.0, height: float = 4.5) -> Figure:
    """An empty figure, in inches, that arranges its axes by itself, and that notebooks show."""
    ground = matplotlib.rcParams["figure.facecolor"]
    figure = ShownFigure(figsize=(width, height), layout="constrained", facecolor=ground)
    FigureCanvasAgg(figure)
    return figure


def short(name: object) -> str:
    """A name on one line and of a length that a figure has room for.

    Characters that cannot be seen, or that no installed font has, are written as in Python's source.
    """
    text = "".join(sign if sign.isprintable() and _has_glyph(sign) else ascii(sign)[1:-1] for sign in str(name))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _families() -> list[str]:
    installed = font_manager.fontManager.get_font_names()
    return [name for name in _FAMILIES if name in installed]


@lru_cache(maxsize=4096)
def _has_glyph(sign: str) -> bool:
    fonts = (font_manager.get_font(font_manager.findfont(family)) for family in _families())
    return any(font.get_char_index(ord(sign)) for font in fonts)


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
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY, wrap=True, gid=_SAID)
    axes.set_xticks([])
    axes.set_yticks([])


def said(figure: Figure) -> str | None:
    """Why there is nothing to see, as ``say`` has written it in all axes; None of a figure with content."""
    texts = [text.get_text() for axes in figure.axes for text in axes.texts if text.get_gid() == _SAID]
    return texts[0] if texts and len(texts) == len(figure.axes) else None


def save(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG; folders are made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, png(figure), durable=False)


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG."""
    finish(figure)
    figure.set_dpi(_DOTS_PER_INCH)
    buffer = BytesIO()
    # Draws once, where savefig would draw once more to know the size of what it draws.
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def finish(figure: Figure) -> None:
    """Write the numbers of logarithmic axes in plain letters."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            for formatter, put in (
                (axis.get_major_formatter(), axis.set_major_formatter),
                (axis.get_minor_formatter(), axis.set_minor_formatter),
            ):
                if isinstance(formatter, LogFormatterMathtext):
                    put(_Powers.like(formatter))
            low, high = axis.get_view_interval()
            # Between the powers of many decades are ticks that nobody reads, and that take as long as all the rest.
            if axis.get_scale() == "log" and high > 10**_DECADES * low:
                axis.set_minor_locator(NullLocator())


class ShownFigure(Figure):
    """A figure that shows itself in a notebook, where nobody has imported pyplot."""

    def _repr_png_(self) -> bytes:
        with drawing():
            return png(self)


class _Powers(LogFormatterSciNotation):
    """Powers in plain letters, for nothing is parsed as a formula."""

    @classmethod
    def like(cls, other: LogFormatterMathtext) -> "_Powers":
        """With what the axis has set ``other`` to."""
        mine = cls.__new__(cls)
        mine.__dict__.update(vars(other))
        return mine

    def __call__(self, x: float, pos: int | None = None) -> str:
        text = super().__call__(x, pos).removeprefix(r"$\mathdefault{").removesuffix("}$")
        raised = re.sub(r"\^\{(.*?)\}", lambda found: found[1].translate(_RAISED), text.replace(r"\times", "×"))
        return raised.replace("-", "−")
