"""What accounting adds up: releases of the (subsampled) Gaussian mechanism."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, order=True)
class GaussianEvent:
    """``count`` releases, each a query of sensitivity Δ plus N(0, σ²) per coordinate.

    ``noise_multiplier`` is z = σ/Δ > 0, with Δ under the neighbouring relation that is claimed; the accountants take it
    for that of add-or-remove at sensitivity 1. ``sampling_rate`` q < 1 says that every release saw a
    fresh Poisson sample of the units it protects, kept secret; a subset that the adversary knows, or of a fixed size,
    counts as q = 1. ``concentrated`` says that not the noise but its Rényi divergences are bounded as the Gaussian's
    are, αΔ²/(2σ²) at every whole order α, as for noise in whole numbers; ε is then what follows from these.
    """

    noise_multiplier: float
    sampling_rate: float = 1.0
    count: int = 1
    concentrated: bool = False

    def __post_init__(self) -> None:
        if not (self.noise_multiplier > 0 and math.isfinite(self.noise_multiplier)):
            raise ValueError(
                f"noise_multiplier must be finite and greater than 0, got {self.noise_multiplier}; "
                "without noise nothing is proved, and there is no event"
            )
        if not 0 < self.sampling_rate <= 1:
            raise ValueError(f"sampling_rate must lie in (0, 1], got {self.sampling_rate}")
        if self.count < 1:
            raise ValueError(f"count must be at least 1, got {self.count}")
        if self.concentrated and self.sampling_rate < 1:
            raise ValueError(f"nothing is known of sampling with concentrated noise, got rate {self.sampling_rate}")

    def to_mapping(self) -> dict[str, float | int]:
        """The event as JSON holds it."""
        mapping: dict[str, float | int] = {
            "noise_multiplier": self.noise_multiplier,
            "sampling_rate": self.sampling_rate,
            "count": self.count,
        }
        return {**mapping, "concentrated": True} if self.concentrated else mapping

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "GaussianEvent":
        """The inverse of ``to_mapping``."""
        return cls(
            float(mapping["noise_multiplier"]),
            float(mapping["sampling_rate"]),
            int(mapping["count"]),
            bool(mapping.get("concentrated", False)),
        )


DpEvent = tuple[GaussianEvent, ...]
"""Everything that one round takes from one client, composed."""


def compress(events: Iterable[GaussianEvent]) -> DpEvent:
    """The same composition with one event of each kind, noise multiplier and sampling rate, sorted."""
    counts: dict[tuple[float, float, bool], int] = {}
    for event in events:
        key = (event.noise_multiplier, event.sampling_rate, event.concentrated)
        counts[key] = counts.get(key, 0) + event.count
    return tuple(
        GaussianEvent(noise, rate, count, concentrated) for (noise, rate, concentrated), count in sorted(counts.items())
    )


def repeated(event: DpEvent, times: int) -> DpEvent:
    """``times`` independent rounds of ``event``."""
    if times == 0:
        return ()
    return tuple(replace(part, count=part.count * times) for part in event)
