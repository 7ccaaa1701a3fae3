"""Texts, made into tokens by which words the public ones have."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from fedkd.core.samples import PADDING
from fedkd.data.source import Encoder, Encoding

Unit = Literal["word", "char"]
MostTokens = Annotated[int, Field(ge=3, le=10_000_000)]
Length = Annotated[int, Field(ge=1, le=1_000_000)]

_UNKNOWN = 1
_WORD = r"(?u)\b\w+\b"


@dataclass(frozen=True)
class Texts:
    """Texts, as they are in the file."""

    texts: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, positions: Tensor | slice) -> list[str]:
        if isinstance(positions, slice):
            return self.texts[positions]
        return [self.texts[position] for position in positions.tolist()]


@dataclass(frozen=True)
class TextEncoder(Encoder):
    """The first ``length`` words or characters in lower case, as ``vocabulary`` tokens at most.

    0 fills up, 1 stands for all that is not in the public texts or not among their most frequent, and for a text with
    nothing in it.
    """

    unit: Unit
    vocabulary: int
    length: int

    def fit(self, public: list[str]) -> Encoding:
        units = _units(self.unit)
        counts = Counter(itertools.chain.from_iterable(units(text) for text in public))
        ranked = sorted(counts, key=lambda each: (-counts[each], each))[: self.vocabulary - _UNKNOWN - 1]
        tokens = {each: number for number, each in enumerate(ranked, start=_UNKNOWN + 1)}
        return _TextEncoding(self.unit, tokens, self.length)


class _TextEncoding(Encoding):
    def __init__(self, unit: Unit, tokens: Mapping[str, int], length: int) -> None:
        self.vocabulary = len(tokens) + _UNKNOWN + 1
        self._unit: Unit = unit
        self._tokens = tokens
        self._length = length

    def __call__(self, raw: list[str]) -> Tensor:
        units = _units(self._unit)
        found = torch.full((len(raw), self._length), PADDING, dtype=torch.int64)
        for row, text in enumerate(raw):
            tokens = [self._tokens.get(each, _UNKNOWN) for each in units(text)[: self._length]] or [_UNKNOWN]
            found[row, : len(tokens)] = torch.tensor(tokens)
        return found


def _units(unit: Unit) -> Callable[[str], list[str]]:
    """What divides a text into words or characters."""
    from sklearn.feature_extraction.text import CountVectorizer

    units: Callable[[str], list[str]] = CountVectorizer(analyzer=unit, token_pattern=_WORD).build_analyzer()
    return units
