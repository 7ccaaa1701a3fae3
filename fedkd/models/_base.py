"""The base classes of architectures."""

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import nn

Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=16_384)], ...], Field(max_length=16)]
"""The type of an option with the widths of a network's layers: what lies between two takes a gigabyte at most."""


class Architecture(ABC):
    """Builds one kind of network; its dataclass fields are its options.

    ``takes`` are the samples that it takes: ``numbers`` of any shape, ``images`` [channels, height, width] of at least
    ``smallest_side`` pixels a side, ``tokens``, or ``sequences``: series [channels, time] and tokens [tokens].

    ``draws_itself`` says where initial weights come from: its layers draw them (true), or fedkd draws those of
    convolutions and linear layers, as ``build_model`` says.
    """

    takes: ClassVar[Literal["anything", "numbers", "images", "tokens", "sequences"]] = "anything"
    smallest_side: ClassVar[int] = 1
    draws_itself: ClassVar[bool] = True

    @abstractmethod
    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A network from samples ``[batch, *shape]`` to logits ``[batch, classes]``, with its initial weights.

        A third parameter ``vocabulary: int | None`` gets the number of tokens, where samples are tokens. Whatever it
        draws from torch's global generator follows from the seed alone; loaded weights are kept, and what requires no
        gradient stays as it is.
        """


class ImageArchitecture(Architecture):
    """A network for images, whose weights fedkd draws."""

    takes = "images"
    draws_itself = False
