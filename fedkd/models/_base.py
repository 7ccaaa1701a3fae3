"""The base class of every architecture."""

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=16_384)], ...], Field(max_length=16)]
"""The type of an option with the widths of a network's layers: what lies between two takes a gigabyte at most."""


class Architecture(ABC):
    """Builds one kind of network; its dataclass fields are its options.

    ``smallest_side`` is the smallest image height and width, in pixels, that it takes.
    """

    smallest_side: ClassVar[int] = 1

    @abstractmethod
    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A network from images ``[batch, *shape]`` (channels, height, width) to logits ``[batch, classes]``.

        Its initial weights do not matter where ``build_model`` draws them anew: in convolutions and linear layers. What
        else it draws from torch's global generator, or sets to one number, is kept. Loaded weights are refused.
        """
