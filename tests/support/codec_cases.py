"""Codecs of all kinds, and logits to write down with them."""

import torch
from hypothesis import strategies as st
from torch import Tensor

from fedkd.core.codecs.float16 import Float16
from fedkd.core.codecs.float32 import Float32
from fedkd.core.codecs.one_hot import OneHot
from fedkd.core.codecs.quantise import Quantise
from fedkd.core.codecs.top_k import TopK
from fedkd.core.coding.codec import LogitCodec

CODECS: list[tuple[LogitCodec, int]] = [
    (Float32(), 5 * 32),
    (Float16(), 5 * 16),
    (OneHot(), 3),
    (Quantise(bits=1), 5),
    (Quantise(bits=3), 15),
    (Quantise(bits=8), 40),
    (Quantise(of="probabilities", bits=1), 5),
    (Quantise(of="probabilities", bits=4), 20),
    (Quantise(of="probabilities", bits=8), 40),
    (Quantise(of="logits", bits=2), 10),
    (Quantise(of="logits", bits=8, range=1e6), 40),
    (TopK(k=1, bits=1), 3 + 1),
    (TopK(k=2, bits=4), 2 * (3 + 4)),
    (TopK(k=4, bits=8, range=1e-3), 4 * (3 + 8)),
    (TopK(k=3, bits=16), 3 * (3 + 15)),
]
"""Codecs with the bits they document for a sample of five classes."""

KEEP_THE_LABEL = [(codec, bits) for codec, bits in CODECS if isinstance(codec, OneHot | TopK) or codec == Quantise()]


def with_compression(codec: LogitCodec, method: str, *, delta: bool = False) -> LogitCodec:
    options = {name: getattr(codec, name) for name in codec.__dataclass_fields__}
    return type(codec)(**{**options, "compress": method, "delta": delta})


def back(codec: LogitCodec, logits: Tensor, mask: Tensor | None = None) -> Tensor:
    samples, classes = logits.shape
    return codec.decode(codec.encode(logits, mask).data, samples=samples, classes=classes).logits


def rows(*, magnitude: float = 1e4, samples: int = 6, classes: int = 5) -> st.SearchStrategy[Tensor]:
    """Logits with extreme values, ties and zeros."""
    number = st.one_of(st.floats(-magnitude, magnitude, width=32), st.sampled_from([0.0, -0.0, magnitude, -magnitude]))
    row = st.lists(number, min_size=classes, max_size=classes)
    return st.lists(row, min_size=1, max_size=samples).map(lambda values: torch.tensor(values, dtype=torch.float32))


def reports(seed: int = 0, samples: int = 400, classes: int = 10, scale: float = 6.0) -> Tensor:
    return scale * torch.randn(samples, classes, generator=torch.Generator().manual_seed(seed))
