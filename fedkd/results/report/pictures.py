"""Figures as pages hold them: on a light and on a dark ground, for a wide screen and for a phone."""

from collections.abc import Callable

from fedkd.results.report.figures import attempt_figure
from fedkd.results.report.page import Notice, Picture
from fedkd.results.report.style import Figure, drawing, png, why_empty

NARROW, DARK = "(max-width: 40rem)", "(prefers-color-scheme: dark)"
_OTHERS = {
    f"screen and {NARROW} and {DARK}": {"narrow": True, "dark": True},
    f"screen and {NARROW}": {"narrow": True},
    f"screen and {DARK}": {"dark": True},
}
"""Which figure stands in for the usual one where, the more special first; paper is light and wide."""


def pictures(name: str, draw: Callable[[], Figure], caption: str) -> list[Picture | Notice]:
    """The figure that ``draw`` makes; nothing of one that would be empty, and why another could not be drawn."""
    found: list[Picture | Notice] = []

    def attempt() -> None:
        with drawing():
            figure = draw()
            if why_empty(figure) is not None:
                return
            usual = png(figure)
        others = []
        for media, medium in _OTHERS.items():
            with drawing(**medium):
                others.append((media, png(draw())))
        found.append(Picture(usual, caption, tuple(others)))

    attempt_figure(name, attempt, lambda notice: found.append(Notice(notice)))
    return found
