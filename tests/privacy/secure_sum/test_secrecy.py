"""What the server gets looks random, and no more is revealed than the sum takes."""

import numpy as np
import pytest
from scipy import stats

from fedkd.privacy.secure_sum.entropy import SeededEntropy, SystemEntropy
from fedkd.privacy.secure_sum.fixed_point import Words
from fedkd.privacy.secure_sum.masks import pair_mask, self_mask
from fedkd.privacy.secure_sum.shares import LIMBS
from fedkd.privacy.secure_sum.terms import Terms
from tests.support.secure_parties import parties, session_of

SIZE = 20_000


def looks_random(words: Words) -> bool:
    """Whether the bytes, all four of every word, are uniform as far as 20,000 words can tell."""
    found = words.view(np.uint8).reshape(-1, 4)
    return all(stats.chisquare(np.bincount(found[:, byte], minlength=256)).pvalue > 1e-5 for byte in range(4))


def small(client: int) -> Words:
    """A report with very little in it."""
    return np.full(SIZE, client, dtype=np.uint32)


def test_masked_reports_look_random_one_by_one_and_in_pairs() -> None:
    made = parties(4, words=small)
    made.play()
    assert not looks_random(small(3)), "the check can fail"
    sent = {client: message["secure/masked"] for phase, client, message in made.messages if phase == "mask"}
    for client, words in sent.items():
        assert looks_random(words)
        assert looks_random(words - made.vectors[client]), "the masks"
    for one in range(4):
        for other in range(one):
            assert looks_random(sent[one] + sent[other])
            assert looks_random(sent[one] - sent[other])


def test_what_is_left_without_a_self_mask_still_looks_random() -> None:
    # The server knows the self masks of all survivors: the pair masks have to hide each report from it.
    made = parties(4, words=small)
    made.play()
    session = made.server._session
    for phase, client, message in made.messages:
        if phase == "mask":
            assert looks_random(
                message["secure/masked"] - self_mask(session, client, made.sessions[client]._secret, SIZE)
            )


def test_a_late_report_of_a_client_that_counts_as_lost_stays_hidden() -> None:
    # The server knows all its pair masks by then: the self mask has to hide the report from it.
    made = parties(4, words=small)
    made.until("mask")
    late = made.sessions[2].mask(made.server.mask_request(2), lambda: small(2))["secure/masked"]
    made.lost = {"mask": [2]}
    made.mask()
    made.confirm()
    made.unmask()
    assert np.array_equal(made.server.total(), made.plain_sum())
    session, key = made.server._session, made.sessions[2]._masking
    stripped = late.copy()
    for other in (0, 1, 3):
        stripped -= pair_mask(session, 2, key, other, made.server._roster.keys[other].masking, SIZE)
    assert looks_random(stripped)
    own = self_mask(session, 2, made.sessions[2]._secret, SIZE)
    assert np.array_equal(stripped - own, small(2)), "and nothing else hides it"


def test_of_every_client_one_kind_of_shares_is_revealed_and_nothing_of_those_who_never_shared() -> None:
    made = parties(8, lost={"advertise": [0], "share": [1], "mask": [2]})
    made.play()
    revealed = [message for phase, _, message in made.messages if phase == "unmask"]
    assert len(revealed) == 5
    for message in revealed:
        assert set(message) == {"secure/secrets", "secure/keys", "secure/signature"}
        assert message["secure/secrets"].shape == (5, LIMBS), "the self masks of 3 to 7"
        assert message["secure/keys"].shape == (1, LIMBS), "the masking key of 2"


def test_no_secret_crosses_the_wire_in_the_open() -> None:
    made = parties(4)
    made.play()
    wire = b"".join(array.tobytes() for _, _, message in made.messages for array in message.values())
    for session in made.sessions.values():
        for secret in (session._secret, session._masking, session._sealing):
            assert secret not in wire
            assert secret[:8] not in wire


def test_a_session_survives_between_its_steps_as_plain_values() -> None:
    made, kept = parties(5, lost={"mask": [1]}), parties(5, lost={"mask": [1]})
    original = kept.answers

    def fresh(*arguments: object) -> object:
        for client in kept.server.alive:
            session = session_of(kept.terms, client)
            session.restore(kept.sessions[client].state)
            kept.sessions[client] = session
        return original(*arguments)  # type: ignore[arg-type]

    kept.answers = fresh  # type: ignore[method-assign,assignment]
    assert np.array_equal(made.play(), kept.play())
    for (_, _, one), (_, _, other) in zip(made.messages, kept.messages, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_seeded_secrets_repeat_and_differ_by_everything_they_are_for() -> None:
    def draw(seed: int = 1, round: int = 1, client: int = 1, session: int = 1, purpose: str = "a") -> bytes:
        return SeededEntropy(seed, round=round, client=client, session=session).draw(purpose, 32)

    assert draw() == draw()
    others = [draw(seed=2), draw(round=2), draw(client=2), draw(session=2), draw(purpose="b")]
    assert len({draw(), *others}) == 6
    assert draw()[:16] == SeededEntropy(1, round=1, client=1, session=1).draw("a", 16)
    assert SystemEntropy().draw("a", 32) != SystemEntropy().draw("a", 32)


@pytest.mark.parametrize("change", [{"run": b"b"}, {"round": 2}])
def test_masks_are_tied_to_run_and_round_and_pair(change: dict[str, object]) -> None:
    terms = {"run": b"a", "round": 1, "clients": (0, 1, 2), "threshold": 2}
    one = Terms(**terms).session(b"roster")  # type: ignore[arg-type]
    other = Terms(**(terms | change)).session(b"roster")  # type: ignore[arg-type]
    another = Terms(**terms).session(b"other keys")  # type: ignore[arg-type]
    sessions = {client: session_of(Terms(b"a", 1, (0, 1, 2), 2), client) for client in range(3)}
    private, public = sessions[0]._masking, {client: session._keys.masking for client, session in sessions.items()}
    masks = [
        pair_mask(one, 0, private, 1, public[1], 4),
        pair_mask(other, 0, private, 1, public[1], 4),
        pair_mask(another, 0, private, 1, public[1], 4),
        pair_mask(one, 0, private, 2, public[2], 4),
    ]
    assert len({mask.tobytes() for mask in masks}) == 4
    back = pair_mask(one, 1, sessions[1]._masking, 0, public[0], 4)
    assert not (masks[0] + back).any()
