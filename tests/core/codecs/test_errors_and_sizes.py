"""The documented errors and sizes of codecs, on any logits."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedkd.core.codecs.float16 import Float16
from fedkd.core.codecs.float32 import Float32
from fedkd.core.codecs.one_hot import OneHot
from fedkd.core.codecs.quantise import Quantise
from fedkd.core.codecs.top_k import TopK
from fedkd.core.coding.codec import LogitCodec
from tests.support.codec_cases import CODECS, KEEP_THE_LABEL, back, reports, rows, with_compression


@pytest.mark.parametrize(("codec", "bits"), CODECS, ids=repr)
@settings(max_examples=30, deadline=None)
@given(logits=rows(), data=st.data())
def test_what_is_decoded_is_finite_of_the_documented_size_and_encoded_alike(
    codec: LogitCodec, bits: int, logits: Tensor, data: Any
) -> None:
    samples, classes = logits.shape
    sent = data.draw(st.lists(st.booleans(), min_size=samples, max_size=samples))
    mask, count = torch.tensor(sent), sum(sent)
    encoded = codec.encode(logits, mask)
    decoded = codec.decode(encoded.data, samples=samples, classes=classes)
    assert len(encoded.data) == 1 + math.ceil(count * bits / 8) + (math.ceil(samples / 8) if count < samples else 0)
    assert decoded.logits.shape == logits.shape
    assert decoded.logits.dtype == torch.float32
    assert bool(torch.isfinite(decoded.logits).all())
    assert (decoded.mask is None) == all(sent)
    assert np.array_equal(decoded.codes, encoded.codes)
    assert codec.encode(decoded.logits, mask).data == encoded.data
    for method in ("zlib", "lzma"):
        compressed = with_compression(codec, method)
        shorter = compressed.encode(logits, mask).data
        assert len(shorter) <= len(encoded.data)
        assert torch.equal(compressed.decode(shorter, samples=samples, classes=classes).logits, decoded.logits)


@pytest.mark.parametrize(("codec", "bits"), KEEP_THE_LABEL, ids=repr)
@settings(max_examples=50, deadline=None)
@given(logits=rows())
def test_the_most_likely_class_stays_so(codec: LogitCodec, bits: int, logits: Tensor) -> None:
    decoded = back(codec, logits)
    label = torch.from_numpy(logits.numpy().argmax(axis=1))  # the first of several
    largest = decoded.gather(1, label[:, None])
    others = decoded.scatter(1, label[:, None], -math.inf)
    assert bool((largest[:, 0] > others.max(1).values).all())


@settings(max_examples=50, deadline=None)
@given(logits=rows())
def test_single_precision_is_exact(logits: Tensor) -> None:
    assert torch.equal(back(Float32(), logits), logits)


@settings(max_examples=50, deadline=None)
@given(logits=rows())
def test_half_precision_errs_by_half_a_unit_in_the_last_place(logits: Tensor) -> None:
    error = (back(Float16(), logits).double() - logits.double()).abs()
    assert bool((error <= torch.maximum(logits.double().abs() * 2.0**-11, torch.tensor(2.0**-25))).all())


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@settings(max_examples=50, deadline=None)
@given(logits=st.one_of(rows(magnitude=12), rows()))
def test_log_probabilities_err_by_half_a_step_after_clipping(bits: int, logits: Tensor) -> None:
    exact = logits.double()
    clipped = (exact - exact.max(1, keepdim=True).values).clamp_min(-8.0)
    error = (back(Quantise(bits=bits), logits).double() - clipped).abs().max()
    assert float(error) <= 8.0 / (2**bits - 1) / 2 + 1e-5


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@settings(max_examples=50, deadline=None)
@given(logits=st.one_of(rows(magnitude=20), rows()))
def test_logits_err_by_half_a_step_after_clipping(bits: int, logits: Tensor) -> None:
    error = (back(Quantise(of="logits", bits=bits), logits) - logits.clamp(-16.0, 16.0)).abs().max()
    assert float(error) <= 16.0 / (2**bits - 1) + 1e-5


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@settings(max_examples=50, deadline=None)
@given(logits=st.one_of(rows(magnitude=4), rows()))
def test_probabilities_err_by_about_a_step(bits: int, logits: Tensor) -> None:
    codec, steps = Quantise(of="probabilities", bits=bits), 2**bits - 1
    assert (codec.encode(logits).codes.sum(axis=1, dtype=np.int64) == steps).all()
    error = (back(codec, logits).double().softmax(1) - logits.double().softmax(1)).abs().max()
    assert float(error) < 1.01 / steps + 1e-6


@settings(max_examples=50, deadline=None)
@given(logits=st.one_of(rows(magnitude=6), rows()))
def test_the_values_of_top_k_err_by_half_a_cell_after_clipping(logits: Tensor) -> None:
    decoded, exact = back(TopK(k=2, bits=4), logits).double(), logits.double()
    second = exact.argsort(dim=1, descending=True, stable=True)[:, 1:2]
    behind = (exact.max(1, keepdim=True).values - exact.gather(1, second)).clamp_max(8.0)
    assert float((decoded.gather(1, second) + behind).abs().max()) <= 8.0 / 32 + 1e-5


def test_a_few_bits_are_enough_for_a_teacher_that_takes_softmax() -> None:
    logits = reports(samples=2000, scale=4.0)
    target = logits.log_softmax(1)
    divergence = {
        bits: float((target.exp() * (target - back(Quantise(bits=bits), logits).log_softmax(1))).sum(1).mean())
        for bits in (2, 3, 4)
    }
    assert divergence[2] < 0.12
    assert divergence[3] < 0.02
    assert divergence[4] < 0.01


def test_a_public_set_of_no_samples_is_a_message_of_flags() -> None:
    for codec, _ in CODECS:
        data = codec.encode(torch.empty(0, 5)).data
        assert data == b"\0"
        assert codec.decode(data, samples=0, classes=5).logits.shape == (0, 5)


@pytest.mark.parametrize("method", ["zlib", "lzma"])
def test_entropy_coding_shortens_skewed_reports_and_never_lengthens_others(method: str) -> None:
    skewed = reports(samples=2000) + torch.tensor([20.0] + [0.0] * 9)
    plain, small = (OneHot().encode(skewed).data, with_compression(OneHot(), method).encode(skewed).data)
    assert len(small) < len(plain) / 3
    noise = torch.rand(500, 16, generator=torch.Generator().manual_seed(0)) * 32 - 16
    codec = Quantise(of="logits", bits=8)
    assert with_compression(codec, method).encode(noise).data == codec.encode(noise).data


@pytest.mark.parametrize("method", ["none", "zlib", "lzma"])
@pytest.mark.parametrize("codec", [codec for codec, _ in CODECS], ids=repr)
def test_no_message_is_longer_than_the_most_that_is_declared(codec: LogitCodec, method: str) -> None:
    sender = with_compression(codec, method)
    for samples in (1, 7, 30):
        logits = reports(samples=samples, classes=5)
        for mask in (None, torch.arange(samples) % 3 > 0):
            assert len(sender.encode(logits, mask).data) <= sender.most_bytes(samples, 5)
