"""A client whose labels are wrong."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from fedkd import ClientBehaviour, ClientContext
from fedkd.core.seeding import torch_generator


@dataclass(frozen=True)
class LabelNoise(ClientBehaviour):
    """Trains on flipped labels, and is honest otherwise (data poisoning: Tolpegin et al. 2020, arXiv 2007.08432).

    Each label is wrong with probability ``share``. ``kind`` says what it becomes: ``symmetric`` any of the other
    classes, all alike; ``next`` the class after it, y′ = (y + 1) mod C (pair flipping, Han et al. 2018, arXiv
    1804.06872). A sample's wrong label is the same in every round.
    """

    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    kind: Literal["symmetric", "next"] = "symmetric"

    def labels(self, context: ClientContext) -> Int[Tensor, " train"]:
        draw = torch_generator(context.experiment.config.seed, client=context.client, purpose="label noise")
        return flip(context.labels, context.experiment.data.classes, self.share, self.kind, draw)


def flip(
    labels: Int[Tensor, " train"], classes: int, share: float, kind: str, generator: torch.Generator
) -> Int[Tensor, " train"]:
    """The labels, each of them moved on by some classes with probability ``share``."""
    chosen = torch.rand(labels.shape, generator=generator) < share
    shift = torch.randint(1, max(classes, 2), labels.shape, generator=generator)
    return torch.where(chosen, (labels + (shift if kind == "symmetric" else 1)) % classes, labels)
