"""Samples of which a network cannot know anything, made as its own are."""

from contextlib import suppress
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from fedkd.analysis.subject import Subject
from fedkd.config.values import Plugin
from fedkd.core.errors import ConfigError
from fedkd.data.roles import strangers

_DIGITS = "digits"


@dataclass(frozen=True)
class Strangers:
    """The samples, and what they are called in a sentence."""

    inputs: Shaped[Tensor, "samples ..."]
    name: str


def strangers_of(
    subject: Subject, usual: Shaped[Tensor, "samples ..."], other: str | None, most: int, generator: torch.Generator
) -> Strangers:
    """At most so many test samples of the data set ``other``.

    Where it is None, the digits where the run's samples are 8-bit images of something else, and the ``usual`` samples
    shuffled where they are not. Raises ``ConfigError`` for a data set that is none, or not of the run's kind.
    """
    config = subject.experiment.config
    if other is not None:
        return _some(strangers(config, Plugin(other), "other"), other, most, generator)
    if subject.experiment.data.spec.is_image:
        # They may be the run's own, or its images no pixels.
        with suppress(ConfigError):
            return _some(strangers(config, Plugin(_DIGITS), "other"), _DIGITS, most, generator)
    return _some(shuffled(usual, generator), "shuffled test samples", most, generator)


def shuffled(samples: Shaped[Tensor, "samples ..."], generator: torch.Generator) -> Shaped[Tensor, "samples ..."]:
    """Every value from the same place of another sample: each place keeps its values, no sample what it is."""
    flat = samples.flatten(1)
    order = torch.rand(flat.shape, generator=generator).argsort(dim=0)
    return flat.gather(0, order).view_as(samples)


def _some(samples: Tensor, name: str, most: int, generator: torch.Generator) -> Strangers:
    rows = torch.randperm(len(samples), generator=generator)[:most].sort().values
    return Strangers(samples[rows], name)
