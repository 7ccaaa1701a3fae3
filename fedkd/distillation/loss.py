"""The base class of every distillation loss."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from jaxtyping import Float, Int
from pydantic import Field
from torch import Size, Tensor, nn

from fedkd.core import plugins
from fedkd.distillation.divergence import Temperatures
from fedkd.distillation.heads import Heads


@dataclass(frozen=True)
class Answers:
    """What a network says of a batch.

    ``logits``, of an ensemble its log-probabilities, and ``features``: what modules put out, [samples, ...], by their
    names. A loss gets those of its pairs, the teacher's by the names that the student's have.
    """

    logits: Float[Tensor, "samples classes"]
    features: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """What a loss may know of the samples.

    ``temperature`` softens both answers; ``weight`` (≥ 0, None: all alike) is each sample's in the mean; ``labels`` are
    −1 where unknown. Of networks that learn several tasks a loss that does not get one task at a time gets the
    ``heads``, and labels [samples, heads].
    """

    temperature: Temperatures
    labels: Int[Tensor, "samples *heads"]
    weight: Float[Tensor, " samples"] | None = None
    heads: Heads = ()


@dataclass(kw_only=True)
class DistillationLoss(ABC):
    """How far the student is from its teacher; L_dist is the sum of ``weight`` times the value of every loss.

    A loss implements ``value``. One that compares layers says which (``pairs``), and may ask for a learned projection
    between them (``projection``). Of networks that learn several tasks it gets one task's logits at a time and is
    added up over them, or, where it compares layers or is not ``by_head``, all of them at once.
    """

    by_head: ClassVar[bool] = True
    weight: Annotated[float, Field(ge=0, le=1e9)] = 1.0

    @abstractmethod
    def value(self, student: Answers, teacher: Answers, batch: Batch) -> Float[Tensor, ""]:
        """The mean over the samples; the student's features have been projected already."""

    @property
    def needs_network(self) -> bool:
        """Whether the teacher must be one network, for its layers are looked at."""
        return False

    def pairs(self, student: nn.Module, teacher: nn.Module) -> Mapping[str, str]:
        """Names of the student's modules, each with that of the teacher's that it is compared with.

        Raises ``ValueError`` where the two networks have no such layers.
        """
        return {}

    def projection(self, student: Size, teacher: Size) -> nn.Module | None:
        """What makes the student's features like the teacher's, from their sizes for two samples (None: nothing)."""
        return None


@dataclass(kw_only=True)
class LayerLoss(DistillationLoss):
    """A loss between named layers.

    ``layers`` maps names of the student's modules, as its ``named_modules`` has them, to names of the teacher's.
    """

    layers: Annotated[dict[str, str], Field(min_length=1)]

    @property
    def needs_network(self) -> bool:
        return True

    def pairs(self, student: nn.Module, teacher: nn.Module) -> Mapping[str, str]:
        return self.layers


def build_loss(name: str, **options: Any) -> DistillationLoss:
    """The loss ``name`` (a file of ``losses/``, or ``module:Class``); raises ``PluginError`` for bad options."""
    loss: DistillationLoss = plugins.build(plugins.LOSS, name, options)
    return loss
