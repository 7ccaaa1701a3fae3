"""The one place where figures are made. Each has a canvas of its own: neither pyplot nor a backend is involved."""

import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

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
    "ink",
    "is_narrow",
    "legend",
    "new_figure",
    "new_panels",
    "png",
    "save",
    "say",
    "short",
    "small",
    "vector",
    "why_empty",
]

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
"""Colours that colour-blind readers can tell apart (Okabe & Ito 2008)."""
GREY = "#808080"
PALETTE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, "#000000", GREY)
"""For lines of equal rank."""
STUDENT, TEACHER, CLIENTS, LABELS, WEIGHT, ANGLE, AVERAGED = BLUE, ORANGE, PURPLE, GREY, RED, SKY, GREEN
"""What a colour stands for in every figure of a run: whose figures they are, λ, and the angle between gradients."""
_DOTS_PER_INCH = 150
_NARROW_DOTS_PER_INCH = 220
"""A phone has more of them."""
_COLUMN = 3.3
"""Inches of a column of a paper in two columns."""
_POINTS, _LINE = 72, 1.4
"""Points of an inch, and the height of a line as a multiple of its letters' size."""
_LOWER, _NEXT = 0.56, 0.75
"""The height of a figure in a column, as a share of that of the same figure on a page, and of what each panel adds."""
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
_WIDE: Mapping[str, Any] = {"axes.titlesize": 11, "figure.titlesize": 12, "legend.fontsize": 9}
_NARROW: Mapping[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "figure.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
}
"""Points, of a figure that is printed as large as it is made."""
_WRITTEN: Mapping[str, Any] = {
    "text.parse_math": False,
    "axes.titleweight": "bold",
    "figure.titleweight": "bold",
    # TrueType, which publishers ask for, and texts that look the same wherever an SVG is seen.
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    # The same figure is the same file.
    "svg.hashsalt": "fedkd",
}
_narrow: ContextVar[bool] = ContextVar("narrow", default=False)
_EMPTY = "empty"
"""Marks axes that say why they are empty."""
_DECADES = 3
"""With more of them, only the powers of ten have ticks."""
_BESIDE, _ACROSS = 40, 56
"""Characters of a name that leave room for the axes beside it, and of all names across a column."""
_LONGEST = 48
"""Characters of a name that a figure has room for."""
_FAMILIES = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei")
"""The fonts tried for a character, in turn, of those that are installed."""
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@contextmanager
def drawing(*, dark: bool = False, narrow: bool = False) -> Iterator[None]:
    """Figures are made and written inside the block: the user's own settings have no say, and are put back.

    Every text is drawn as it is, whatever signs of TeX's are in it. ``dark`` is for a page with a dark ground,
    ``narrow`` for a column of a paper or a phone: 3.3 inches, with texts of 7 and 8 points, and panels below each
    other.
    """
    own = {**_WRITTEN, "font.family": _families(), **(_NARROW if narrow else _WIDE), **(_DARK if dark else {})}
    token = _narrow.set(narrow)
    try:
        with style.context(own, after_reset=True), warnings.catch_warnings():
            # A character that no font has becomes a box, unless it is in a name.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            yield
    finally:
        _narrow.reset(token)


def is_narrow() -> bool:
    """Whether what is drawn is for a column of a paper or a phone."""
    return _narrow.get()


def small() -> float:
    """The size, in points, of what is written beside lines and in cells."""
    found: float = font_manager.FontProperties(size=matplotlib.rcParams["legend.fontsize"]).get_size_in_points()
    return found


def ink() -> str:
    """The colour of texts: black, or what stands for it on a dark ground."""
    return str(matplotlib.rcParams["text.color"])


def new_figure(width: float = 9.0, height: float = 4.5) -> Figure:
    """An empty figure, in inches, that arranges its axes by itself; a narrow one has a width of its own."""
    size = (_COLUMN, _LOWER * height) if is_narrow() else (width, height)
    figure = ShownFigure(figsize=size, layout="constrained", facecolor=matplotlib.rcParams["figure.facecolor"])
    FigureCanvasAgg(figure)
    return figure


def new_panels(count: int, width: float, height: float, *, share_y: bool = False) -> tuple[Figure, Sequence[Axes]]:
    """A figure with ``count`` axes side by side, or, where it is narrow, below each other."""
    rows, columns = (count, 1) if is_narrow() else (1, count)
    figure = new_figure(width, height * (1 + _NEXT * (rows - 1)))
    return figure, list(figure.subplots(rows, columns, sharey=share_y, squeeze=False).flat)


def legend(figure: Figure, handles: Iterable[Any] | None = None, labels: Iterable[str] | None = None) -> None:
    """Name what is drawn beside the axes, or, where the figure is narrow or a name is long, below them."""
    if handles is None or labels is None:
        found = [axes.get_legend_handles_labels() for axes in figure.axes]
        named = {label: handle for each in found for handle, label in zip(*each, strict=True)}
        handles, labels = list(named.values()), list(named)
    names = list(labels)
    longest = max(map(len, names), default=0)
    if is_narrow() or longest > _BESIDE:
        columns = max(1, (_ACROSS if is_narrow() else 3 * _ACROSS) // (longest + 5))
        figure.legend(list(handles), names, loc="outside lower center", ncols=columns, frameon=False)
        # Names take nothing of the room for what they name.
        rows = -(-len(names) // columns)
        figure.set_figheight(figure.get_figheight() + rows * _LINE * small() / _POINTS)
    else:
        figure.legend(list(handles), names, loc="outside right center", frameon=False)


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
    """Give the axes a title, ``gap`` points above them, and labels; take away what is not needed.

    Narrow axes that stand alone have no title: the caption is one.
    """
    alone = axes.figure is not None and len(axes.figure.axes) == 1
    if not (is_narrow() and alone):
        axes.set_title(title, loc="left", pad=gap)
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
    axes.set_gid(_EMPTY)


def why_empty(figure: Figure) -> str | None:
    """What the figure says where it shows nothing at all; None of one that shows something."""
    if not all(axes.get_gid() == _EMPTY for axes in figure.axes):
        return None
    return " ".join(dict.fromkeys(" ".join(axes.texts[-1].get_text().split()) for axes in figure.axes))


def save(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG; folders are made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, png(figure), durable=False)


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG."""
    figure.set_dpi(_NARROW_DOTS_PER_INCH if is_narrow() else _DOTS_PER_INCH)
    finish(figure)
    canvas = FigureCanvasAgg(figure)
    # Draws once, where savefig would draw once more to know the size of what it draws.
    canvas.draw()  # type: ignore[no-untyped-call]
    buffer = BytesIO()
    pixels = np.array(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
    shaded = figure.findobj(lambda each: isinstance(each, ScalarMappable) and each.get_array() is not None)
    # Shades stand for numbers.
    (Image.fromarray(pixels) if shaded else _with_palette(pixels)).save(buffer, "png")
    return buffer.getvalue()


def _with_palette(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    """The picture in 256 colours, of which lines and letters have few: a third as large, on the same ground."""
    found = Image.fromarray(pixels).quantize(256, method=Image.Quantize.FASTOCTREE)
    colours = np.array(found.getpalette(), dtype=np.uint8).reshape(-1, 3)
    colours[np.asarray(found)[0, 0]] = pixels[0, 0]
    found.putpalette(colours.tobytes())
    return found


def vector(figure: Figure, kind: Literal["pdf", "svg"]) -> bytes:
    """The figure as a PDF with its fonts, or as an SVG; the same figure gives the same bytes."""
    finish(figure)
    buffer = BytesIO()
    date = "CreationDate" if kind == "pdf" else "Date"
    figure.savefig(buffer, format=kind, metadata={date: None})
    return buffer.getvalue()


def finish(figure: Figure) -> None:
    """Make of the axes' ticks what cannot be made before everything is drawn."""
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
