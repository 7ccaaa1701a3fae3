"""Messages that say only what has changed since the last one."""

import numpy as np
import pytest
import torch

from fedkd.core.codecs.one_hot import OneHot
from fedkd.core.codecs.quantise import Quantise
from fedkd.core.coding.codec import LogitCodec
from fedkd.core.coding.types import Previous
from tests.support.codec_cases import CODECS, back, reports, with_compression


@pytest.mark.parametrize("method", ["zlib", "lzma"])
@pytest.mark.parametrize(("codec", "bits"), CODECS, ids=repr)
def test_differences_shorten_reports_that_change_little(codec: LogitCodec, bits: int, method: str) -> None:
    before, after = reports(classes=5), reports(classes=5)
    after[::20] = reports(1, classes=5)[::20]
    plain, delta = with_compression(codec, method), with_compression(codec, method, delta=True)
    previous = Previous(delta.encode(before).codes, np.ones(400, np.bool_))
    data = delta.encode(after, None, previous).data
    assert len(data) < 0.6 * len(plain.encode(after).data)
    decoded = delta.decode(data, samples=400, classes=5, previous=previous)
    assert torch.equal(decoded.logits, back(plain, after))


def test_differences_are_not_sent_where_they_are_longer() -> None:
    codec = Quantise(of="probabilities", bits=1, compress="zlib", delta=True)
    constant = torch.tensor([[1.0, 0.0]]).repeat(400, 1)
    previous = Previous(codec.encode(reports(classes=2)).codes, np.ones(400, np.bool_))
    assert codec.encode(constant, None, previous).data == codec.encode(constant).data


def test_differences_to_other_codes_are_refused() -> None:
    codec = OneHot(compress="zlib", delta=True)
    logits = reports()
    previous = Previous(codec.encode(logits).codes, np.ones(400, np.bool_))
    data = codec.encode(logits, None, previous).data
    other = Previous(codec.encode(reports(1)).codes, previous.known)
    for wrong in (None, other, Previous(previous.codes, np.zeros(400, np.bool_))):
        with pytest.raises(ValueError, match="out of step"):
            codec.decode(data, samples=400, classes=10, previous=wrong)


@pytest.mark.parametrize(
    "previous",
    [
        Previous(np.zeros((3, 1), np.uint8), np.ones(3, np.bool_)),
        Previous(np.zeros((4, 2), np.uint8), np.ones(4, np.bool_)),
        Previous(np.full((4, 1), 10, np.uint8), np.ones(4, np.bool_)),
    ],
    ids=["samples", "columns", "alphabet"],
)
def test_previous_codes_that_do_not_fit_are_refused(previous: Previous) -> None:
    with pytest.raises(ValueError, match="keep to one codec"):
        OneHot(compress="zlib", delta=True).encode(reports(samples=4), None, previous)
