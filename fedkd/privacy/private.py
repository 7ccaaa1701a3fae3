"""What every part of an experiment that adds noise declares."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from fedkd.privacy.accounting import DpEvent
from fedkd.privacy.guarantee import Guarantee, Release


class Private(ABC):
    """A logit mechanism or a teacher with a proof: what is protected, what a round costs, whether a signal is left.

    ``covers`` names what clients may send under the proof; everything else that depends on private data breaks it.
    """

    covers: ClassVar[frozenset[str]] = frozenset({"logits"})

    @abstractmethod
    def guarantee(self, release: Release) -> Guarantee:
        """What is protected in such a round, and how."""

    @abstractmethod
    def dp_event(self, release: Release) -> DpEvent:
        """What one such round takes from one client that takes part in it, however much of it arrives."""

    @abstractmethod
    def signal_to_noise(self, release: Release) -> str:
        """One sentence: how strong the expected signal is against the noise, and what that means."""

    def calibrated(self, releases: Mapping[int, tuple[Release, int]], delta: float) -> "Private":
        """The same with its noise fixed, where it was given as a target ε.

        ``releases`` holds, for each client, its round and the number of rounds it takes part in.
        """
        return self


def repeated(event: DpEvent, times: int) -> DpEvent:
    """``times`` independent rounds of ``event``."""
    if times == 0:
        return ()
    return tuple(replace(part, count=part.count * times) for part in event)
