"""What codecs write, byte by byte."""

import math

import torch

from fedkd.core.codecs.float16 import Float16
from fedkd.core.codecs.float32 import Float32
from fedkd.core.codecs.one_hot import OneHot
from fedkd.core.codecs.quantise import Quantise
from fedkd.core.codecs.top_k import TopK
from tests.support.codec_cases import back, reports


def test_two_bit_codes_by_hand() -> None:
    # Range 6 and s = 3: cells of width 2, read as −1, −3 and −5. Codes 0 1 2 3 | 3 1 0 3 → 00011011 11010011.
    logits = torch.tensor([[9.0, 8.0, 6.5, 0.0], [-10.0, 0.0, 0.5, -5.0]])
    codec = Quantise(bits=2, range=6.0)
    encoded = codec.encode(logits)
    assert encoded.codes.tolist() == [[0, 1, 2, 3], [3, 1, 0, 3]]
    assert encoded.data == bytes([0, 0b00011011, 0b11010011])
    assert back(codec, logits).tolist() == [[0.0, -1.0, -3.0, -5.0], [-5.0, -1.0, 0.0, -5.0]]


def test_ten_samples_of_four_classes_in_two_bits_take_ten_bytes_and_the_flags() -> None:
    assert len(Quantise(bits=2).encode(reports(samples=10, classes=4)).data) == 1 + 10


def test_constrained_quantisation_by_hand() -> None:
    # s = 3: quotas 1.95, 0.75, 0.3 have floors 1, 0, 0; the two steps left go to the remainders 0.95 and 0.75.
    # Quotas 1.35, 0.42, 0.42, 0.81 would round to a sum of 2; the two left go to remainders 0.81 and the first 0.42.
    codec = Quantise(of="probabilities", bits=2)
    assert codec.encode(torch.tensor([[0.65, 0.25, 0.10]]).log()).codes.tolist() == [[2, 1, 0]]
    assert codec.encode(torch.tensor([[0.45, 0.14, 0.14, 0.27]]).log()).codes.tolist() == [[1, 1, 0, 1]]
    decoded = back(codec, torch.tensor([[0.65, 0.25, 0.10]]).log()).softmax(1)
    zero = 0.01 / 9
    expected = torch.tensor([[2 / 3, 1 / 3, zero]]) / (1 + zero)
    torch.testing.assert_close(decoded, expected, atol=1e-6, rtol=0)


def test_one_bit_of_probabilities_is_the_label() -> None:
    logits = reports()
    codes = Quantise(of="probabilities", bits=1).encode(logits).codes
    assert (codes.argmax(axis=1) == logits.argmax(1).numpy()).all()
    assert (codes.sum(axis=1) == 1).all()


def test_logits_by_hand() -> None:
    # Range 3 and s = 3: levels −3, −1, 1, 3.
    codec = Quantise(of="logits", bits=2, range=3.0)
    assert back(codec, torch.tensor([[-9.0, -1.9, 0.1, 2.5]])).tolist() == [[-3.0, -1.0, 1.0, 3.0]]


def test_labels_by_hand() -> None:
    # Three classes take two bits: 2 0 1 → 10 00 01 00.
    logits = torch.tensor([[0.0, 1.0, 2.0], [5.0, 5.0, 0.0], [0.0, 1.0, 0.5]])
    codec = OneHot(confidence=0.9)
    assert codec.encode(logits).data == bytes([0, 0b10000100])
    expected = torch.tensor([[0.05, 0.05, 0.9], [0.9, 0.05, 0.05], [0.05, 0.9, 0.05]])
    torch.testing.assert_close(back(codec, logits).softmax(1), expected)


def test_top_k_by_hand() -> None:
    # Range 8 in 3 bits: cells of width 1. Class 3 leads, class 0 is 2.5 behind: cell 2, read as 2.5.
    # The others have e⁻⁴·(1 + e⁻²)/2 on average, 4.566 behind: cell 4, read as 4.5. Indices 11 00, levels 010 100.
    logits = torch.tensor([[1.5, 0.0, -2.0, 4.0]])
    codec = TopK(k=2, bits=3)
    assert codec.encode(logits).data == bytes([0, 0b11000101, 0b00000000])
    assert back(codec, logits).tolist() == [[-2.5, -4.5, -4.5, 0.0]]


def test_top_k_gives_the_others_the_probability_that_is_left() -> None:
    logits = reports(scale=2.0)
    sent, received = logits.softmax(1), back(TopK(k=3, bits=16), logits).softmax(1)
    torch.testing.assert_close(received.topk(3).values, sent.topk(3).values, atol=1e-3, rtol=0)


def test_half_precision_by_hand() -> None:
    codec = Float16()
    # 1 is 0x3c00 and −2 is 0xc000; the high bytes of all numbers go first, then the low ones.
    assert codec.encode(torch.tensor([[1.0, -2.0]])).data == bytes([0, 0x3C, 0xC0, 0, 0])
    assert back(codec, torch.tensor([[1e6, -1e6, 0.1]])).tolist() == [[65504.0, -65504.0, 0.0999755859375]]


def test_single_precision_by_hand() -> None:
    assert Float32().encode(torch.tensor([[1.0, -2.0]])).data == bytes([0, 0x3F, 0xC0, 0x80, 0, 0, 0, 0, 0])


def test_a_mask_by_hand() -> None:
    # Flag 1, mask 1010 0000, then the labels of the first and the third sample: 01 10.
    logits = torch.tensor([[0.0, 1.0, 0.0], [math.nan, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    mask = torch.tensor([True, False, True, False])
    data = OneHot().encode(logits, mask).data
    assert data == bytes([1, 0b10100000, 0b01100000])
    decoded = OneHot().decode(data, samples=4, classes=3)
    assert decoded.mask is not None
    assert decoded.mask.tolist() == mask.tolist()
    assert decoded.logits[~mask].tolist() == [[0.0] * 3] * 2
    assert decoded.codes.tolist() == [[1], [0], [2], [0]]


def test_a_mask_that_leaves_nobody_out_costs_nothing() -> None:
    logits = reports(samples=9)
    encoded = Quantise().encode(logits, torch.ones(9, dtype=torch.bool))
    assert encoded.data == Quantise().encode(logits).data
    assert Quantise().decode(encoded.data, samples=9, classes=10).mask is None
