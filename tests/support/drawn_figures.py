"""Figures, which take several times as long as all the rest of a small run, for those tests alone that look at them."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import pytest
from PIL import Image

from fedkd.results.report import pictures, style
from fedkd.results.report.figures import SWITCH

_MODULES = (style, pictures)
_PAINTED = style.png


@contextmanager
def figures_undrawn() -> Iterator[None]:
    """Inside, runs draw no figures, in any process; in this one all other pictures are one white pixel."""
    with _figures("0", lambda figure: _WHITE):
        yield


@contextmanager
def figures_drawn() -> Iterator[None]:
    """Inside ``figures_undrawn``, all is drawn."""
    with _figures("1", _PAINTED):
        yield


@contextmanager
def _figures(wanted: str, png: object) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, wanted)
        for module in _MODULES:
            patch.setattr(module, "png", png)
        yield


def _white() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (1, 1), "white").save(buffer, "png")
    return buffer.getvalue()


_WHITE = _white()
