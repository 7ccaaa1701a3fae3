"""What every part of an experiment that adds noise declares."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, TypeVar, final

from fedkd.privacy.accounting import DpEvent
from fedkd.privacy.calibration import noise_for_target
from fedkd.privacy.guarantee import Guarantee, Release

Part = TypeVar("Part", bound="Private")

EXAMPLES = "examples"
"""What ``Private.covers`` calls the number of a client's training samples."""


class Private(ABC):
    """A logit mechanism or a teacher with a proof: what is protected, what a round costs, whether a signal is left.

    ``covers`` names what clients may send under the proof; everything else that depends on private data breaks it.
    Among it is ``examples``, their number of training samples, where accounting takes that as public.
    ``noise_option`` names the option that is the noise.
    """

    covers: ClassVar[frozenset[str]] = frozenset({"logits"})
    noise_option: ClassVar[str] = "noise_multiplier"

    @abstractmethod
    def guarantee(self, release: Release) -> Guarantee:
        """What is protected in such a round, and how."""

    @abstractmethod
    def dp_event(self, release: Release) -> DpEvent:
        """What one such round takes from one client that takes part in it, however much of it arrives."""

    @abstractmethod
    def signal_to_noise(self, release: Release) -> str:
        """One sentence: how strong the expected signal is against the noise, and what that means."""

    def with_noise(self: "Part", noise: float) -> "Part":
        """The same with so much noise, in place of a target ε."""
        return replace(self, **{self.noise_option: noise, "target_epsilon": None})  # type: ignore[type-var]

    @final
    def calibrated(self: "Part", releases: Mapping[int, tuple[Release, int]], delta: float) -> "Part":
        """The same with its noise fixed, where it was given as a ``target_epsilon``.

        ``releases`` holds, for each client, its round and the number of rounds it takes part in.
        """
        target: float | None = getattr(self, "target_epsilon", None)
        if target is None:
            return self

        def event(release: Release, noise: float) -> DpEvent:
            return self.with_noise(noise).dp_event(release)

        return self.with_noise(noise_for_target(event, releases, epsilon=target, delta=delta))


def discloses(mechanism: object, what: str) -> bool:
    """Whether clients may send something of that name: anything under a mechanism without a proof."""
    return not isinstance(mechanism, Private) or what in mechanism.covers
