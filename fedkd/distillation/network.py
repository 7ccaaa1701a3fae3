"""A teacher that is one network."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from fedkd.aggregation.types import Teacher
from fedkd.core.compute import laid_out_for, to_device
from fedkd.core.samples import Inputs, SampleSpec
from fedkd.distillation.loss import Answers
from fedkd.models import predict, tapped


@dataclass(frozen=True)
class NetworkTeacher:
    """A network in evaluation mode, of which no gradient is asked, and the samples that it takes."""

    model: nn.Module
    sample: SampleSpec

    def __post_init__(self) -> None:
        self.model.eval().requires_grad_(False)

    @torch.no_grad()
    def answers(self, inputs: Shaped[Tensor, "samples ..."], layers: Collection[str] = ()) -> Answers:
        """Its logits, and the outputs of ``layers``."""
        device = next(self.model.parameters()).device
        with tapped(self.model, layers) as features:
            logits: Tensor = self.model(laid_out_for(self.model, to_device(inputs, device)))
        return Answers(logits, features)

    def on(self, inputs: Inputs) -> Teacher:
        """Its targets on samples, all of the same weight."""
        return Teacher.from_logits(predict(self.model, inputs))
