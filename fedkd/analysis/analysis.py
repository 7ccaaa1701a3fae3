"""The base class of every analysis, and what one finds."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedkd.analysis.subject import NotKnown, Subject

if TYPE_CHECKING:
    from fedkd.results.report.style import Figure

__all__ = ["Analysis", "Finding", "NotKnown", "Subject"]


@dataclass(frozen=True)
class Finding:
    """What an analysis has found.

    ``figures`` are what ``analysis.json`` holds: values of JSON, by name, shares within [0, 1]. ``sentences`` say what
    came out and how to read it. ``draw`` makes a picture, and ``caption`` says how to read that.
    """

    figures: Mapping[str, Any]
    sentences: tuple[str, ...]
    draw: "Callable[[], Figure] | None" = None
    caption: str = ""


class Analysis(ABC):
    """One question to a finished run; its dataclass fields are its options."""

    @abstractmethod
    def measure(self, subject: Subject) -> Finding:
        """The answer; raises ``NotKnown`` where this run cannot be asked. Fits nothing on test samples."""
