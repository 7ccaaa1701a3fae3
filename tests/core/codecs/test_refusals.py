"""Bytes that nobody sent, logits that nobody can send, and options that make no sense."""

import math
from typing import Any

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedkd.core import plugins
from fedkd.core.codecs.float16 import Float16
from fedkd.core.codecs.float32 import Float32
from fedkd.core.codecs.one_hot import OneHot
from fedkd.core.codecs.quantise import Quantise
from fedkd.core.codecs.top_k import TopK
from fedkd.core.coding.codec import LogitCodec
from fedkd.core.errors import PluginError
from tests.support.codec_cases import CODECS, reports, with_compression


@pytest.fixture
def as_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the run-time checks of annotated shapes, which only the tests have."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def message(codec: LogitCodec, samples: int = 40) -> bytes:
    mask = torch.arange(samples) % 3 > 0
    return codec.encode(reports(samples=samples, classes=5), mask).data


FUZZED = [
    with_compression(codec, method) if method else codec for codec, _ in CODECS for method in ("", "zlib", "lzma")
]


@pytest.mark.parametrize("codec", FUZZED, ids=repr)
def test_a_message_that_is_cut_off_or_too_long_is_refused(codec: LogitCodec) -> None:
    data = message(codec)
    for damaged in [data[:stop] for stop in range(len(data))] + [data + b"\0", data + data]:
        with pytest.raises(ValueError, match="cannot decode"):
            codec.decode(damaged, samples=40, classes=5)


@pytest.mark.parametrize("codec", FUZZED, ids=repr)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damaged_messages_are_refused_or_give_finite_logits(codec: LogitCodec, data: Any) -> None:
    damaged = bytearray(message(codec))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    for hostile in (bytes(damaged), data.draw(st.binary(max_size=80))):
        try:
            decoded = codec.decode(hostile, samples=40, classes=5)
        except ValueError as error:
            assert "cannot decode a message" in str(error)  # noqa: PT017
        else:
            assert bool(torch.isfinite(decoded.logits).all())


@pytest.mark.parametrize("method", ["zlib", "lzma"])
def test_a_stream_that_would_fill_the_memory_is_refused(method: str) -> None:
    codec = with_compression(Quantise(), method)
    bomb = codec.encode(torch.zeros(2_000_000, 5)).data
    assert len(bomb) < 10_000
    with pytest.raises(ValueError, match="more than the 25 bytes expected"):
        codec.decode(bomb, samples=10, classes=5)


@pytest.mark.parametrize(
    ("codec", "data", "says"),
    [
        (OneHot(), b"", "empty"),
        (OneHot(), b"\x08\x00", "first byte"),
        (OneHot(), b"\x00\xf0", "outside their alphabets"),
        (OneHot(), b"\x00\x01", "after the last symbol"),
        (OneHot(), b"\x01", "mask of 2 samples"),
        (OneHot(), b"\x01\xc0\x00", "leaves nobody out"),
        (OneHot(), b"\x01\x81\x00", "after the last sample"),
        (OneHot(), b"\x04\x00", "compress is none here"),
        (OneHot(), b"\x02\x00\x00\x00\x00\x00", "delta is false here"),
        (Float32(), b"\x00" + b"\x7f" * 6 + b"\x80" * 6 + b"\x00" * 12, "not finite"),
        (Float16(), b"\x00" + b"\x7c" * 6 + b"\x00" * 6, "not finite"),
        (Quantise(bits=1), b"\x00\x00", "one class with code 0"),
        (Quantise(bits=2), b"\x00\x10\x00", "one class with code 0"),
        (Quantise(of="probabilities", bits=1), b"\x00\x00", "sum to 1 steps"),
        (TopK(k=2, bits=1), b"\x00\x00\x00", "names a class twice"),
        (TopK(k=2, bits=1), b"\x00\x11\x80", "must not rise"),
    ],
)
def test_impossible_messages_say_what_is_wrong(codec: LogitCodec, data: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        codec.decode(data, samples=2, classes=3)


@pytest.mark.parametrize(
    ("logits", "mask", "says"),
    [
        (torch.zeros(3), None, "must be .samples, classes."),
        (torch.zeros(3, 1), None, "classes must be at least 2"),
        (torch.tensor([[0.0, math.nan]]), None, "finite"),
        (torch.tensor([[0.0, 1e300]], dtype=torch.float64), None, "finite as float32"),
        (torch.zeros(3, 2), torch.ones(2, dtype=torch.bool), "mask must be one per sample"),
    ],
)
def test_logits_that_cannot_be_sent_are_refused(
    as_installed: None, logits: Tensor, mask: Tensor | None, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        OneHot().encode(logits, mask)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("float32", {"compress": "gzip"}, "compress"),
        ("float32", {"delta": True}, "set compress to zlib or lzma"),
        ("quantise", {"bits": 0}, "bits must lie in"),
        ("quantise", {"bits": 9}, "bits must lie in"),
        ("quantise", {"of": "probabilities", "range": 3}, "leave it out"),
        ("quantise", {"range": math.inf}, "range: input should be a finite number"),
        ("quantise", {"range": 0}, "range must lie in"),
        ("quantise", {"of": "votes"}, "of:"),
        ("top_k", {"k": 0}, "k must be at least 1"),
        ("top_k", {"bits": 9}, "bits must lie in"),
        ("top_k", {"bits": 16, "range": 8}, "leave it out"),
        ("one_hot", {"confidence": 1.0}, "confidence must lie"),
    ],
)
def test_options_that_make_no_sense_are_refused(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(PluginError, match=says):
        plugins.build(plugins.CODEC, name, options)


def test_options_that_do_not_fit_the_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="k must be less than the 3 classes"):
        TopK(k=3).encode(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="confidence must exceed 1/2"):
        OneHot(confidence=0.5).encode(torch.zeros(1, 2))
