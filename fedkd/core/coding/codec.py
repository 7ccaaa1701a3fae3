"""The base class of every codec."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt
from torch import Tensor

from fedkd.core.coding.bits import bit_widths, pack, packed_size, unpack
from fedkd.core.coding.compression import Compression, compress, expand
from fedkd.core.coding.framing import Flag, Frame, fingerprint
from fedkd.core.coding.types import Codes, Decoded, Encoded, Previous


@dataclass(frozen=True, kw_only=True)
class LogitCodec(ABC):
    """Turns logits into bytes and back: logits → codes (whole numbers, lossy or not) → packed or compressed bits.

    A codec implements the three abstract methods; callers call ``encode`` and ``decode``, which check. Nothing is
    drawn at random, so equal logits give equal bytes, and encoding what was decoded gives the same bytes again
    (without ``delta``).

    ``compress`` adds entropy coding of the standard library, used where it makes the message shorter. ``delta``, which
    needs it, codes the difference, modulo the alphabet, to the codes last sent for the same public sample (after CFD,
    Sattler et al. 2021, Eq. 13, arXiv 2012.00632), again where that is shorter; the two ends keep those codes in a
    ``CodeHistory`` each.

    A message of n samples, m of them sent, takes without compression 1 + ⌈m·bits per sample/8⌉ bytes, and ⌈n/8⌉ more
    if m < n. With compression it takes no more than that.

    **No codec gives differential privacy.** Coarse codes still depend on the private data in full; they only
    post-process what a mechanism has released, which neither costs nor saves any ε.
    """

    compress: Compression = "none"
    delta: bool = False

    def __post_init__(self) -> None:
        if self.compress not in ("none", "zlib", "lzma"):
            raise ValueError(f"compress must be none, zlib or lzma, got {self.compress!r}")
        if self.delta and self.compress == "none":
            raise ValueError("delta saves bytes only with entropy coding; set compress to zlib or lzma")

    @abstractmethod
    def alphabets(self, classes: int) -> tuple[int, ...]:
        """How many different codes each column can hold, at least 2 and at most 2³².

        Raises ``ValueError`` when the codec's options do not fit that many classes.
        """

    @abstractmethod
    def codes_of(self, logits: Float[np.ndarray, "samples classes"]) -> Integer[np.ndarray, "samples columns"]:
        """The codes of finite float32 logits; there may be no samples."""

    @abstractmethod
    def logits_of(
        self, codes: Integer[np.ndarray, "samples columns"], classes: int
    ) -> Float[np.ndarray, "samples classes"]:
        """The logits that codes within their alphabets stand for.

        Raises ``ValueError`` for a combination of codes that ``codes_of`` never gives.
        """

    @final
    def encode(
        self,
        logits: Float[Tensor, "samples classes"],
        mask: Bool[Tensor, " samples"] | None = None,
        previous: Previous | None = None,
    ) -> Encoded:
        """The message for ``logits``; rows where ``mask`` is False are not sent.

        ``previous``, which only ``delta`` uses, are the codes last sent for these samples. Raises ``ValueError`` for
        logits that are not ``[samples, classes ≥ 2]`` or not finite as float32, and for a mask or previous codes that
        do not fit them.
        """
        if logits.ndim != 2:
            raise ValueError(f"logits must be [samples, classes], got shape {tuple(logits.shape)}")
        samples, classes = logits.shape
        alphabets = self._alphabets(classes)
        if mask is not None and mask.shape != (samples,):
            raise ValueError(f"mask must be one per sample, [{samples}]; got {tuple(mask.shape)}")
        sent = np.ones(samples, np.bool_) if mask is None else mask.detach().cpu().numpy()
        values = logits.detach().cpu().float().numpy()[sent]
        if not np.isfinite(values).all():
            raise ValueError("logits must be finite as float32; train with a smaller step or mask those samples")
        codes = np.zeros((samples, len(alphabets)), _dtype(alphabets))
        codes[sent] = symbols = self.codes_of(values)
        frames = self._frames(symbols, sent, alphabets, previous)
        return Encoded(min((frame.to_bytes() for frame in frames), key=len), codes)

    @final
    def recode(
        self, logits: Float[Tensor, "samples classes"], mask: Bool[Tensor, " samples"] | None = None
    ) -> Float[Tensor, "samples classes"]:
        """What is left of logits when they have been encoded and decoded; raises ``ValueError`` as ``encode`` does."""
        samples, classes = logits.shape
        return self.decode(self.encode(logits, mask).data, samples=samples, classes=classes).logits

    @final
    def decode(self, data: bytes, *, samples: int, classes: int, previous: Previous | None = None) -> Decoded:
        """The inverse of ``encode``, given the same ``previous``.

        Raises ``ValueError`` when ``data`` is nothing that ``encode`` makes: cut off, too long, damaged in a way that
        shows, holding impossible codes, or the difference to other codes than ``previous``. Memory is bounded by
        ``samples`` and ``classes``, whatever ``data`` says.
        """
        if samples < 0:
            raise ValueError(f"samples must be at least 0, got {samples}")
        alphabets = self._alphabets(classes)
        try:
            frame = Frame.from_bytes(data, samples)
            symbols = self._symbols(frame, alphabets, previous)
            values = self.logits_of(symbols, classes).astype(np.float32)
        except ValueError as error:
            raise ValueError(f"{type(self).__name__} cannot decode a message of {len(data)} bytes: {error}") from error
        if not np.isfinite(values).all():
            raise ValueError(f"{type(self).__name__} cannot decode a message with values that are not finite")
        codes = np.zeros((samples, len(alphabets)), _dtype(alphabets))
        codes[frame.sent] = symbols
        logits = np.zeros((samples, classes), np.float32)
        logits[frame.sent] = values
        mask = torch.from_numpy(frame.sent.copy()) if Flag.MASK in frame.flags else None
        return Decoded(torch.from_numpy(logits), mask, codes)

    @final
    def most_bytes(self, samples: int, classes: int) -> int:
        """The most bytes of a message about ``samples`` samples, whatever it says."""
        return 1 + packed_size(samples, bit_widths(self._alphabets(classes))) + packed_size(samples, (1,))

    def _alphabets(self, classes: int) -> tuple[int, ...]:
        if classes < 2:
            raise ValueError(f"classes must be at least 2, got {classes}")
        return self.alphabets(classes)

    def _frames(
        self,
        symbols: Integer[np.ndarray, "rows columns"],
        sent: Bool[np.ndarray, " samples"],
        alphabets: tuple[int, ...],
        previous: Previous | None,
    ) -> list[Frame]:
        """The messages that say the same, of which the shortest is sent."""
        widths = bit_widths(alphabets)
        packed = pack(symbols, widths)
        frames = [Frame(Flag(0), sent, packed)]
        if self.compress != "none" and packed:
            frames.append(Frame(Flag.COMPRESSED, sent, compress(packed, self.compress)))
            if self.delta and previous is not None:
                reference = _reference(previous, sent, alphabets)
                difference = (symbols.astype(np.int64) - reference) % np.array(alphabets)
                body = compress(pack(difference, widths), self.compress)
                frames.append(Frame(Flag.COMPRESSED | Flag.DELTA, sent, body, fingerprint(reference)))
        return frames

    def _symbols(
        self, frame: Frame, alphabets: tuple[int, ...], previous: Previous | None
    ) -> Integer[np.ndarray, "rows columns"]:
        widths = bit_widths(alphabets)
        rows = int(frame.sent.sum())
        body = frame.body
        if Flag.COMPRESSED in frame.flags:
            if self.compress == "none":
                raise ValueError("it is compressed, and compress is none here; give both ends the same options")
            body = expand(body, self.compress, packed_size(rows, widths))
        symbols = unpack(body, rows, widths)
        if bool((symbols >= np.array(alphabets)).any()):
            raise ValueError(f"it holds codes outside their alphabets of {sorted(set(alphabets))}")
        if Flag.DELTA not in frame.flags:
            return symbols
        if not self.delta:
            raise ValueError("it holds differences, and delta is false here; give both ends the same options")
        if previous is None:
            raise ValueError("it holds differences to codes that are not known here; the ends are out of step")
        reference = _reference(previous, frame.sent, alphabets)
        if fingerprint(reference) != frame.fingerprint:
            raise ValueError("it holds differences to other codes than those known here; the ends are out of step")
        restored: Integer[np.ndarray, "rows columns"] = (symbols + reference) % np.array(alphabets)
        return restored


def _dtype(alphabets: tuple[int, ...]) -> type[np.unsignedinteger]:
    largest = max(alphabets)
    return np.uint8 if largest <= 1 << 8 else np.uint16 if largest <= 1 << 16 else np.uint32


def _reference(
    previous: Previous, sent: Bool[np.ndarray, " samples"], alphabets: tuple[int, ...]
) -> UInt[np.ndarray, "rows columns"]:
    """The codes that differences are taken from: 0 where none are known."""
    shape = (sent.size, len(alphabets))
    if previous.codes.shape != shape or previous.known.shape != sent.shape:
        raise ValueError(f"previous must hold codes of shape {shape}, got {previous.codes.shape}; keep to one codec")
    if bool((previous.codes >= np.array(alphabets)).any()):
        raise ValueError(f"previous holds codes outside the alphabets of {sorted(set(alphabets))}; keep to one codec")
    known: Codes = np.where(previous.known[:, np.newaxis], previous.codes, 0).astype(_dtype(alphabets))
    chosen: UInt[np.ndarray, "rows columns"] = known[sent]
    return chosen
