"""The memory of both ends stays in step, whatever is asked, masked and saved in between."""

from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkd.core.codecs.float32 import Float32
from fedkd.core.codecs.one_hot import OneHot
from fedkd.core.codecs.quantise import Quantise
from fedkd.core.codecs.top_k import TopK
from fedkd.core.coding.codec import LogitCodec
from fedkd.core.coding.history import CodeHistory

PUBLIC, CLASSES = 30, 4

CODECS: list[LogitCodec] = [
    OneHot(compress="zlib", delta=True),
    Quantise(compress="lzma", delta=True),
    Quantise(of="probabilities", bits=2, compress="zlib", delta=True),
    TopK(k=2, bits=4, compress="zlib", delta=True),
    Float32(compress="lzma", delta=True),
]


@pytest.mark.parametrize("codec", CODECS, ids=repr)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_both_ends_stay_in_step_over_rounds_with_other_positions_and_masks(codec: LogitCodec, data: Any) -> None:
    sender, receiver = CodeHistory(PUBLIC), CodeHistory(PUBLIC)
    generator = torch.Generator().manual_seed(0)
    truth = 5 * torch.randn(PUBLIC, CLASSES, generator=generator)
    for _ in range(4):
        truth = truth + 0.3 * torch.randn(PUBLIC, CLASSES, generator=generator)
        positions = torch.tensor(
            data.draw(st.lists(st.integers(0, PUBLIC - 1), unique=True, max_size=PUBLIC)), dtype=torch.int64
        )
        count = positions.numel()
        mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), dtype=torch.bool)
        encoded = codec.encode(truth[positions], mask, sender.previous(positions))
        sender.update(positions, encoded.codes, mask)
        decoded = codec.decode(encoded.data, samples=count, classes=CLASSES, previous=receiver.previous(positions))
        receiver.update(positions, decoded.codes, decoded.mask)
        alone = codec.encode(truth[positions], mask)
        expected = codec.decode(alone.data, samples=count, classes=CLASSES)
        assert torch.equal(decoded.logits, expected.logits)
        assert len(encoded.data) <= len(alone.data)
        if data.draw(st.booleans()):
            restored = CodeHistory(PUBLIC)
            restored.load_state_dict(sender.state_dict())
            sender = restored


def test_the_last_codes_are_kept_by_position() -> None:
    history = CodeHistory(5)
    assert history.previous(torch.tensor([0, 1])) is None
    history.update(torch.tensor([4, 1]), np.array([[7], [8]], np.uint8))
    history.update(torch.tensor([1, 2]), np.array([[9], [6]], np.uint8), torch.tensor([False, True]))
    assert history.previous(torch.tensor([0, 3])) is None
    previous = history.previous(torch.tensor([0, 1, 2, 4]))
    assert previous is not None
    assert previous.codes.tolist() == [[0], [8], [6], [7]]
    assert previous.known.tolist() == [False, True, True, True]


def test_what_is_returned_does_not_change_with_later_updates() -> None:
    history, positions = CodeHistory(2), torch.tensor([0, 1])
    history.update(positions, np.array([[1], [2]], np.uint8))
    previous, state = history.previous(positions), history.state_dict()
    history.update(positions, np.array([[3], [4]], np.uint8))
    assert previous is not None
    assert previous.codes.tolist() == [[1], [2]]
    assert state["codes"].tolist() == [[1], [2]]


@pytest.mark.parametrize(("codec", "size"), [(Quantise(bits=8), 1), (TopK(k=2, bits=16), 2), (Float32(), 4)], ids=repr)
def test_the_state_is_small_and_survives_a_file(codec: LogitCodec, size: int, tmp_path: Any) -> None:
    history, positions = CodeHistory(6), torch.arange(6)
    history.update(positions, codec.encode(torch.randn(6, 4)).codes)
    torch.save(history.state_dict(), tmp_path / "state")
    state = torch.load(tmp_path / "state", weights_only=True)
    assert state["codes"].nbytes == 6 * 4 * size
    restored = CodeHistory(6)
    restored.load_state_dict(state)
    before, after = history.previous(positions), restored.previous(positions)
    assert before is not None
    assert after is not None
    assert np.array_equal(before.codes, after.codes)
    assert before.codes.dtype == after.codes.dtype


def test_an_empty_state_forgets() -> None:
    history, positions = CodeHistory(1), torch.tensor([0])
    assert history.state_dict() == {}
    history.update(positions, np.zeros((1, 1), np.uint8))
    history.load_state_dict({})
    assert history.previous(positions) is None


def test_a_message_that_only_one_end_has_taken_up_is_noticed() -> None:
    codec = OneHot(compress="zlib", delta=True)
    sender, receiver, positions = CodeHistory(200), CodeHistory(200), torch.arange(200)
    logits = torch.randn(200, 10, generator=torch.Generator().manual_seed(0))
    sender.update(positions, codec.encode(logits, None, sender.previous(positions)).codes)
    data = codec.encode(logits, None, sender.previous(positions)).data
    with pytest.raises(ValueError, match="out of step"):
        codec.decode(data, samples=200, classes=10, previous=receiver.previous(positions))


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # shapes are checked at run time in tests only
    history = CodeHistory(3)
    history.update(torch.tensor([0]), np.zeros((1, 2), np.uint8))
    with pytest.raises(ValueError, match="samples must be at least 0"):
        CodeHistory(-1)
    for positions in ([3], [-1]):
        with pytest.raises(ValueError, match="positions must lie in"):
            history.previous(torch.tensor(positions))
    with pytest.raises(ValueError, match="distinct"):
        history.previous(torch.tensor([1, 1]))
    with pytest.raises(ValueError, match="one row per position"):
        history.update(torch.tensor([0, 1]), np.zeros((1, 2), np.uint8))
    for codes in (np.zeros((1, 3), np.uint8), np.zeros((1, 2), np.uint16)):
        with pytest.raises(ValueError, match="keep to one codec"):
            history.update(torch.tensor([0]), codes)
    with pytest.raises(ValueError, match="mask must be one per position"):
        history.update(torch.tensor([0]), np.zeros((1, 2), np.uint8), torch.tensor([True, True]))
    with pytest.raises(ValueError, match="of 3 public samples, this history of 4"):
        CodeHistory(4).load_state_dict(history.state_dict())
