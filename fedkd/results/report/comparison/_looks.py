"""Which groups a figure names, and by which colour, line and marker it shows them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fedkd.results.report.comparison._groups import Group, Labelled
from fedkd.results.report.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY

MOST_NAMED = 12
"""Groups that a figure has colours and room for; the others are grey, without a name."""
_COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)
_LINES = ("-", "--")
_MARKERS = ("o", "s")


@dataclass(frozen=True)
class Look:
    """A group with its name in the legend, and what it looks like."""

    label: str
    group: Group
    colour: str
    line: str
    marker: str

    @property
    def is_named(self) -> bool:
        return self.colour != GREY


def looks(groups: Labelled) -> Iterator[Look]:
    """Every group's look.

    Where there are too many, the first and those of the best validation accuracy have colours, the others are grey.
    """
    styles = [(colour, line, marker) for line, marker in zip(_LINES, _MARKERS, strict=True) for colour in _COLOURS]
    chosen = dict(zip(named_groups(groups), styles, strict=False))
    for label, group in groups.items():
        yield Look(label, group, *chosen.get(label, (GREY, "-", ".")))


def named_groups(groups: Labelled) -> Sequence[str]:
    """Those that a figure names."""
    if len(groups) <= MOST_NAMED:
        return list(groups)

    def validated(label: str) -> float:
        found = groups[label].estimate("validation") or groups[label].estimate("student")
        return -1.0 if found is None else found.mean

    first, *others = groups
    best = set(sorted(others, key=validated, reverse=True)[: MOST_NAMED - 1])
    return [first, *(label for label in others if label in best)]
