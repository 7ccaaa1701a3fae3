"""Images as Pillow has them, made into pixels of one shape."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from pydantic import Field
from torch import Tensor

from fedkd.core.errors import DataError
from fedkd.data.reading.files import check_memory

if TYPE_CHECKING:
    from PIL import Image

Side = Annotated[int, Field(ge=1, le=16384)]
Size = tuple[Side, Side]
"""Height and width."""

Channels = Literal[1, 3]

_GREY = {"1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N"}


class Pictures:
    """``count`` images of one size, collected one by one into uint8 ``[count, channels, height, width]``.

    With ``size`` (height, width) they are resized, else of the size of the first. Without ``channels`` they are in
    colour as soon as one of them is. ``option`` of the data source says where they come from.
    """

    def __init__(self, option: str, count: int, size: Size | None, channels: Channels | None) -> None:
        self._option = option
        self._count = count
        self._size = size
        self._channels = channels
        self._first = ""
        self._found = np.empty((0, 1, 0, 0), dtype=np.uint8)
        self._next = 0

    def add(self, image: "Image.Image", where: str) -> None:
        """Take the next image; raises ``DataError`` when its size is not that of the others."""
        pixels = self._pixels(image, where)
        if self._next == 0:
            self._first = where
            self._found = self._room(*pixels.shape)
        shape = self._found.shape[2:]
        if pixels.shape[1:] != shape:
            raise DataError(
                f"data.dataset: all images must have one size, got {_size(shape)} in {self._first} and "
                f"{_size(pixels.shape[1:])} in {where}; set data.dataset.size=[{shape[0]},{shape[1]}] to resize them"
            )
        if len(pixels) > self._found.shape[1]:
            before = self._found
            self._found = self._room(*pixels.shape)
            self._found[: self._next] = before[: self._next]
        self._found[self._next] = pixels
        self._next += 1

    @property
    def tensor(self) -> UInt8[Tensor, "samples channels height width"]:
        """All of them."""
        return torch.from_numpy(self._found)

    def _room(self, channels: int, height: int, width: int) -> npt.NDArray[np.uint8]:
        # Twice, for they are divided into a train and a test split.
        check_memory(self._option, f"{self._count} images", 2 * self._count * channels * height * width)
        return np.empty((self._count, channels, height, width), dtype=np.uint8)

    def _pixels(self, image: "Image.Image", where: str) -> npt.NDArray[np.uint8]:
        """``[channels, height, width]``."""
        from PIL import Image

        if image.mode.startswith("I;16"):
            # Sixteen bits, of which Pillow would keep no more than the lowest eight.
            image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
        elif image.mode in {"I", "F"}:
            raise DataError(
                f"data.dataset: {where} has {image.mode} pixels of 32 bits, whose range nobody knows; save it with 8 "
                "or 16 bits, or use data.dataset=npz"
            )
        grey = self._channels == 1 or (self._channels is None and image.mode in _GREY)
        image = image.convert("L" if grey else "RGB")
        if self._size is not None and (image.height, image.width) != self._size:
            image = image.resize((self._size[1], self._size[0]), Image.Resampling.BILINEAR)
        pixels = np.asarray(image, dtype=np.uint8)
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def read_pictures(
    option: str, files: Sequence[Path], size: Size | None, channels: Channels | None
) -> UInt8[Tensor, "samples channels height width"]:
    """The images in files; raises ``DataError``, which names the file, for what is none, cut off, or too large."""
    from PIL import Image

    pictures = Pictures(option, len(files), size, channels)
    for file in files:
        with reading_image(str(file)), Image.open(file) as image:
            image.load()
            pictures.add(image, str(file))
    return pictures.tensor


@contextlib.contextmanager
def reading_image(where: str) -> Iterator[None]:
    """Turns whatever Pillow raises of a damaged, foreign or enormous image into a ``DataError``."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except DataError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"data.dataset: {where} cannot be read as an image ({reason}); replace it, or take it away"
        ) from error


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]}×{shape[1]}"
