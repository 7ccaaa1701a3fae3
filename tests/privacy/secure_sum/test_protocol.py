"""The secure sum is the plain one, whoever drops out and when, as long as enough are left."""

from collections.abc import Mapping
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkd.privacy.secure_sum import ProtocolError
from fedkd.privacy.secure_sum.fixed_point import FixedPoint, Words, to_words
from fedkd.privacy.secure_sum.terms import PHASES, Phase, Terms
from tests.support.secure_parties import Parties, parties, threshold_for


def lost_at(phase: Phase, count: int, share: float) -> dict[Phase, list[int]]:
    """That share of the clients falls silent at one step."""
    drop = int(share * count + 0.5)
    return {phase: np.random.default_rng(count).choice(count, drop, replace=False).tolist()}


def reports(count: int, samples: int = 6, classes: int = 4) -> dict[int, np.ndarray]:
    draw = np.random.default_rng(count)
    return {client: draw.dirichlet(np.ones(classes), samples) for client in range(count)}


def summed(values: Mapping[int, np.ndarray], lost: Mapping[Phase, list[int]]) -> tuple[Parties, np.ndarray]:
    """The parties at the end, and the decoded sum."""
    fixed_point = FixedPoint.finest(len(values))
    encoded: dict[int, Words] = {client: to_words(fixed_point.encode(each)).ravel() for client, each in values.items()}
    done = parties(len(values), lost=lost, words=lambda client: encoded[client])
    total = fixed_point.decode(done.play()).reshape(next(iter(values.values())).shape)
    true = sum(values[client] for client in done.server.survivors)
    bound = fixed_point.error_of(len(done.server.survivors))
    assert np.abs(total - true).max() <= bound, "the stated error bound"
    assert bound < 1e-5
    return done, total


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("count", [3, 5, 10])
def test_the_sum_is_the_plain_one_within_its_bound(count: int, phase: Phase, share: float) -> None:
    lost = lost_at(phase, count, share)
    done, _ = summed(reports(count), lost)
    silent = set(lost[phase])
    assert {dropout.client for dropout in done.server.dropouts} == silent
    assert all(dropout.phase == phase for dropout in done.server.dropouts)
    late = phase in ("confirm", "unmask")
    assert set(done.server.survivors) == set(range(count)) - (set() if late else silent)


def test_a_hundred_clients_of_which_some_are_lost_at_every_step_and_most_with_their_reports() -> None:
    clients = iter(range(100))
    lost: dict[Phase, list[int]] = {phase: list(islice(clients, 18 if phase == "mask" else 3)) for phase in PHASES}
    done, _ = summed(reports(100), lost)
    assert done.server.survivors == tuple(range(24, 100))
    assert len(done.server.dropouts) == 30
    assert len(done.server.alive) == 70


@settings(max_examples=60)
@given(st.data())
def test_any_dropouts_give_the_exact_sum_or_a_refusal(data: st.DataObject) -> None:
    count = data.draw(st.integers(3, 7))
    threshold = data.draw(st.integers(max(2, count // 2 + 1), count))
    when = data.draw(st.lists(st.sampled_from([*PHASES, None]), min_size=count, max_size=count))
    lost: dict[Phase, list[int]] = {phase: [k for k in range(count) if when[k] == phase] for phase in PHASES}
    words = data.draw(st.lists(st.integers(0, 2**32 - 1), min_size=count, max_size=count))
    made = parties(
        count, threshold=threshold, lost=lost, words=lambda client: np.full(3, words[client], dtype=np.uint32)
    )
    if when.count(None) < threshold:
        with pytest.raises(ProtocolError, match=f"the threshold is {threshold}"):
            made.play()
        return
    assert np.array_equal(made.play(), made.plain_sum())
    in_sum = {client for client in range(count) if when[client] not in ("advertise", "share", "mask")}
    assert set(made.server.survivors) == in_sum


@pytest.mark.parametrize("phase", PHASES)
def test_fewer_than_the_threshold_are_refused_at_every_step(phase: Phase) -> None:
    threshold = threshold_for(6)
    made = parties(6, lost={phase: range(threshold - 1, 6)})
    with pytest.raises(ProtocolError, match=f"{threshold - 1} clients are left after the step {phase}"):
        made.play()
    with pytest.raises(ProtocolError):
        made.server.total()


def test_two_rounds_of_equal_vectors_look_nothing_alike() -> None:
    sent = []
    for round in (1, 2):
        made = parties(4, 500, round=round)
        made.play()
        sent.append({client: found["secure/masked"] for phase, client, found in made.messages if phase == "mask"})
    for client in range(4):
        assert int((sent[0][client] == sent[1][client]).sum()) <= 2
        assert not np.array_equal(sent[0][client] - sent[1][client], np.zeros(500, dtype=np.uint32))


@pytest.mark.parametrize(
    ("count", "threshold", "colluders", "word"),
    [
        (2, 2, 0, "at least 3 clients, got 2"),
        (4, 2, 0, "threshold must exceed half of 4 clients"),
        (10, 6, 2, r"half of 10 clients \+ 2 colluders, got 6"),
        (5, 6, 0, "must not exceed the 5 clients"),
        (3, 3, 2, "leave at least 2 honest clients"),
    ],
)
def test_terms_that_protect_nobody_are_refused(count: int, threshold: int, colluders: int, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Terms(b"", 1, tuple(range(count)), threshold, colluders)
