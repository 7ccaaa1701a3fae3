"""The ledger: nothing is charged twice, nothing is given back."""

import json

import pytest

from fedkd.privacy.accounting import GaussianEvent, composed_epsilon, gaussian_epsilon
from fedkd.privacy.ledger import PrivacyLedger

DELTA = 1e-5
ROUND = (GaussianEvent(5.0),)


def charged(*charges: tuple[int, int]) -> PrivacyLedger:
    ledger = PrivacyLedger()
    for client, round in charges:
        ledger.charge(client, round, ROUND)
    return ledger


def test_an_empty_ledger_owes_nothing() -> None:
    assert PrivacyLedger().epsilon(DELTA) == 0.0
    assert PrivacyLedger().epsilon_of(3, DELTA) == 0.0


def test_a_client_pays_for_the_rounds_in_which_it_took_part_and_the_largest_is_reported() -> None:
    ledger = charged((0, 1), (1, 1), (0, 2), (0, 3), (1, 3))
    expected = {
        client: gaussian_epsilon(noise_multiplier=5.0, releases=rounds, delta=DELTA)
        for client, rounds in ((0, 3), (1, 2))
    }
    assert ledger.per_client(DELTA) == pytest.approx(expected)
    assert ledger.epsilon(DELTA) == pytest.approx(expected[0])
    assert [ledger.releases(client) for client in (0, 1, 2)] == [3, 2, 0]
    assert ledger.clients == (0, 1)


def test_ten_rounds_give_the_reference_value() -> None:
    assert charged(*((7, round) for round in range(10))).epsilon(DELTA) == pytest.approx(2.594, abs=5e-4)


def test_a_repeated_round_is_the_same_release_and_another_event_is_not() -> None:
    ledger = charged((0, 1), (0, 1))
    once = charged((0, 1))
    assert ledger.epsilon(DELTA) == once.epsilon(DELTA)
    ledger.charge(0, 1, (GaussianEvent(4.0),))
    assert ledger.epsilon_of(0, DELTA) == composed_epsilon((GaussianEvent(5.0), GaussianEvent(4.0)), DELTA)
    assert ledger.releases(0) == 1


def test_an_interrupted_and_resumed_run_owes_the_same_and_gets_nothing_back() -> None:
    whole = charged(*((client, round) for round in range(1, 6) for client in range(3)))
    before = charged(*((client, round) for round in range(1, 4) for client in range(3)))
    saved = json.dumps(before.state_dict())
    # Interrupted in round 4: two clients were asked already, and that was written down.
    for client in (0, 1):
        before.charge(client, 4, ROUND)
    resumed = PrivacyLedger()
    resumed.load_state_dict(json.loads(json.dumps(before.state_dict())))
    resumed.load_state_dict(json.loads(saved))
    assert [resumed.releases(client) for client in range(3)] == [4, 4, 3]
    for round in (4, 5):
        for client in range(3):
            resumed.charge(client, round, ROUND)
    assert resumed.epsilon(DELTA) == whole.epsilon(DELTA)
    assert resumed.state_dict() == whole.state_dict()


def test_the_largest_of_many_sampled_clients_is_found() -> None:
    ledger = PrivacyLedger()
    for client, examples in enumerate((40, 100, 101, 400, 1000)):
        rate = 32 / examples
        for round in (1, 2, 3):
            ledger.charge(client, round, (GaussianEvent(1.2, rate, -(-examples // 32)),))
    each = ledger.per_client(DELTA)
    assert ledger.epsilon(DELTA) == max(each.values())
    assert len(set(each.values())) == 5


def test_what_is_not_private_cannot_be_charged() -> None:
    with pytest.raises(ValueError, match="event must hold at least one release"):
        PrivacyLedger().charge(0, 1, ())
