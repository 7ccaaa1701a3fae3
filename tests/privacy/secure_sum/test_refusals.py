"""Messages that are tampered with, replayed or forged are refused, and so are requests for more than the sum."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkd.core.messages import Arrays
from fedkd.privacy.secure_sum import ProtocolError
from fedkd.privacy.secure_sum.identities import Identity
from fedkd.privacy.secure_sum.messages import ids, signed
from fedkd.privacy.secure_sum.roster import advertise_label
from fedkd.privacy.secure_sum.terms import PHASES, Phase
from tests.support.secure_parties import Parties, parties, session_of


def flip(arrays: Arrays, name: str, index: tuple[int, ...] = (0,)) -> Arrays:
    """The message with one bit of one array changed."""
    changed = arrays[f"secure/{name}"].copy()
    changed[index] ^= 1
    return {**arrays, f"secure/{name}": changed}


def flipping(phase: Phase, client: int, name: str, index: tuple[int, ...] = (0,)) -> Callable[..., Arrays]:
    def tamper(at: Phase, sender: int, message: Arrays) -> Arrays:
        return flip(message, name, index) if (at, sender) == (phase, client) else message

    return tamper


def reasons(made: Parties) -> dict[int, tuple[str, str]]:
    return {dropout.client: (dropout.phase, dropout.reason) for dropout in made.server.dropouts}


@pytest.mark.parametrize(
    ("phase", "name", "index"),
    [
        ("advertise", "keys", (0,)),
        ("advertise", "signature", (3,)),
        ("share", "sealed", (0, 5)),
        ("share", "commitment", (0,)),
        ("mask", "masked", (2,)),
        ("confirm", "signature", (0,)),
        ("unmask", "secrets", (0, 0)),
    ],
)
def test_a_message_changed_on_its_way_is_refused(phase: Phase, name: str, index: tuple[int, ...]) -> None:
    made = parties(5, tamper=flipping(phase, 2, name, index))
    assert np.array_equal(made.play(), made.plain_sum())
    assert reasons(made) == {2: (phase, "the signature is not that of client 2 on this message, step, round and run")}
    assert [found.client for found in made.server.rejected] == [2]


FIELDS: tuple[tuple[Phase, str], ...] = (
    ("advertise", "keys"),
    ("advertise", "signature"),
    ("share", "recipients"),
    ("share", "sealed"),
    ("share", "commitment"),
    ("mask", "masked"),
    ("confirm", "survivors"),
    ("unmask", "secrets"),
    ("unmask", "keys"),
)


def nasty() -> st.SearchStrategy[Any]:
    """Values of a field that no honest client sends: no array, or one of another type, shape or byte order."""
    dtypes = st.sampled_from(
        [">u4", ">i8", "<u2", "<u8", "<f4", "<f8", "<c16", "?", "S3", "U2", "O", "M8[s]", "<i8", "<u4", "u1", "g"]
    )
    shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)
    arrays = st.builds(lambda dtype, shape: np.zeros(shape, dtype), dtypes, shapes)
    return arrays | st.sampled_from([None, "text", b"bytes", 7, [1, 2], {}, np.uint32(3), np.ma.ones(3)])


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(FIELDS), nasty())
def test_whatever_a_client_sends_costs_itself_alone(field: tuple[Phase, str], value: Any) -> None:
    """Its own signature on it does not help it."""
    phase, name = field

    def tamper(at: Phase, client: int, message: Arrays) -> Arrays:
        if (at, client) != (phase, 2):
            return message
        changed = {**message, f"secure/{name}": value}
        if name == "signature" or not isinstance(value, np.ndarray):
            return changed
        terms = made.terms
        label = advertise_label(terms, 2) if phase == "advertise" else made.server._session.label(phase, 2)
        return signed(changed, Identity.seeded(0, 2), label)

    made = parties(5, tamper=tamper)
    assert np.array_equal(made.play(), made.plain_sum())
    assert {dropout.client: dropout.phase for dropout in made.server.dropouts} == {2: phase}
    assert [found.client for found in made.server.rejected] == [2]
    assert all(len(found.reason) < 300 for found in made.server.rejected)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    "message",
    [None, [], {}, {3: np.zeros(1)}, {"secure/keys": np.zeros(64, np.uint8), "logits": np.zeros(9)}],
    ids=["nothing", "a list", "empty", "a name that is none", "more than was asked"],
)
def test_a_message_that_is_none_costs_its_client_alone(phase: Phase, message: Any) -> None:
    made = parties(5, tamper=lambda at, client, own: message if (at, client) == (phase, 2) else own)
    assert np.array_equal(made.play(), made.plain_sum())
    assert reasons(made).keys() == {2}
    assert f"a message of the step {phase} must be" in reasons(made)[2][1]


def test_a_list_longer_than_there_can_be_clients_is_refused_at_once() -> None:
    made = parties(
        5,
        tamper=lambda phase, client, message: (
            {**message, "secure/recipients": np.arange(10**7)} if (phase, client) == ("share", 2) else message
        ),
    )
    made.play()
    assert reasons(made)[2] == ("share", "the signature is not that of client 2 on this message, step, round and run")


def test_a_changed_list_of_survivors_is_refused() -> None:
    made = parties(
        5,
        tamper=lambda phase, client, message: (
            {**message, "secure/survivors": ids(range(4))} if (phase, client) == ("confirm", 1) else message
        ),
    )
    made.play()
    assert reasons(made)[1] == ("confirm", "another list of survivors was confirmed")


@pytest.mark.parametrize(("round", "run"), [(2, b"run".ljust(32)), (1, b"another run".ljust(32))])
@pytest.mark.parametrize("phase", ["advertise", "share", "mask", "confirm", "unmask"])
def test_a_message_of_another_round_or_run_is_refused(phase: Phase, round: int, run: bytes) -> None:
    other = parties(5, round=round, run=run)
    other.play()
    replay = {(at, client): message for at, client, message in other.messages}

    def tamper(at: Phase, client: int, message: Arrays) -> Arrays:
        return replay[at, client] if (at, client) == (phase, 4) else message

    made = parties(5, tamper=tamper)
    assert np.array_equal(made.play(), made.plain_sum())
    assert reasons(made).keys() == {4}
    assert "round and run" in reasons(made)[4][1]


@pytest.mark.parametrize("phase", ["advertise", "share", "mask", "confirm", "unmask"])
def test_nobody_speaks_in_anothers_name(phase: Phase) -> None:
    made = parties(5)
    made.play()
    sent = {(at, client): message for at, client, message in made.messages}
    forged = parties(5, tamper=lambda at, client, message: sent[phase, 1] if (at, client) == (phase, 3) else message)
    forged.play()
    assert reasons(forged).keys() == {3}
    # A client without the signing key of the one that it says it is.
    imposed = parties(5)
    imposed.sessions[3] = session_of(imposed.terms, 3, signer=2)
    imposed.play()
    assert reasons(imposed)[3][0] == "advertise"


@pytest.mark.parametrize("phase", ["advertise", "share", "mask", "confirm", "unmask"])
def test_a_message_sent_twice_counts_once(phase: Phase) -> None:
    made = parties(5)
    original = made.answers

    def twice(at: Phase, step: Callable[..., Arrays]) -> object:
        for client, message in original(at, step):
            yield client, message
            if at == phase and client == 2:
                yield client, message
        if at == phase:
            yield 77, message

    made.answers = twice  # type: ignore[method-assign,assignment]
    assert np.array_equal(made.play(), made.plain_sum())
    assert not made.server.dropouts
    found = [(each.client, each.reason) for each in made.server.rejected]
    assert found == [(2, "answered more than once"), (77, "answered without having been asked")]


def asked(made: Parties, phase: Phase) -> tuple[Arrays, Callable[[Arrays], Arrays]]:
    """What client 0 is asked at a step, and what answers it."""
    made.until(phase)
    session = made.sessions[0]
    match phase:
        case "share":
            return made.server.share_request(), session.share
        case "mask":
            return made.server.mask_request(0), lambda request: session.mask(request, lambda: made.vectors[0])
        case "confirm":
            return made.server.confirm_request(), session.confirm
        case _:
            return made.server.unmask_request(), session.unmask


def refused(phase: Phase, change: Callable[[Arrays, Parties], Arrays], word: str, **options: object) -> None:
    """Client 0 does not answer a changed request, and still answers the right one, once."""
    made = parties(6, **options)  # type: ignore[arg-type]
    request, answer = asked(made, phase)
    with pytest.raises(ProtocolError, match=word):
        answer(change(dict(request), made))
    answer(request)
    with pytest.raises(ProtocolError, match="answers once"):
        answer(request)


def only(message: Arrays, places: list[int], *names: str) -> Arrays:
    """The rows at ``places`` of the named arrays."""
    return {**message, **{f"secure/{name}": message[f"secure/{name}"][places] for name in names}}


def with_ids(message: Arrays, **lists: list[int]) -> Arrays:
    return {**message, **{f"secure/{name}": ids(clients) for name, clients in lists.items()}}


def keys_of_another_round(message: Arrays, made: Parties) -> Arrays:
    other = parties(6, round=9)
    other.until("share")
    changed = {name: array.copy() for name, array in message.items()}
    found = other.server.share_request()
    for name in ("secure/keys", "secure/signatures"):
        changed[name][3] = found[name][3]
    return changed


def invented(message: Arrays, made: Parties) -> Arrays:
    """A client that the server has made up."""
    rows = {name: np.concatenate([array, array[-1:]]) for name, array in message.items()}
    return {**rows, "secure/clients": ids([*range(6), 41])}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda message, made: flip(message, "keys", (2, 40)), "signature is not that of client 2"),
        (keys_of_another_round, "signature is not that of client 3"),
        (invented, "do not take part"),
        (lambda message, made: only(message, [0, 1, 2], "clients", "keys", "signatures"), "the threshold is 4"),
        (
            lambda message, made: only(message, [1, 2, 3, 4, 5], "clients", "keys", "signatures"),
            "does not have the keys",
        ),
        (lambda message, made: only(message, [0, 2, 1, 3, 4, 5], "keys", "signatures"), "not that of client 1"),
        (lambda message, made: {"secure/clients": message["secure/clients"]}, "has no keys"),
    ],
)
def test_keys_that_are_not_the_clients_are_refused(change: Callable[..., Arrays], word: str) -> None:
    refused("share", change, word)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda message, made: flip(message, "sealed", (1, 9)), "said to be client 2's are not what it sealed"),
        (lambda message, made: only(message, [1, 0, 2, 3, 4], "sealed"), "said to be client 1's"),
        # What was sealed for another client.
        (lambda message, made: made.server.mask_request(1) | {"secure/senders": ids(range(1, 6))}, "client 1's"),
        (lambda message, made: only(message, [0, 1], "senders", "sealed"), "3 clients shared .* threshold is 4"),
        (lambda message, made: with_ids(message, senders=[0, 2, 3, 4, 5]), "other clients of the roster"),
        (lambda message, made: with_ids(message, senders=[1, 2, 3, 4, 8]), "other clients of the roster"),
    ],
)
def test_shares_that_are_not_what_was_sealed_are_refused(change: Callable[..., Arrays], word: str) -> None:
    refused("mask", change, word)


def test_shares_of_another_round_are_refused() -> None:
    other = parties(6, round=9)
    other.until("mask")
    refused("mask", lambda message, made: other.server.mask_request(0), "are not what it sealed for this round")


@pytest.mark.parametrize(
    ("survivors", "word"),
    [([1, 2, 3, 4, 5], "client 0 among them"), ([0, 1, 2], "threshold is 4"), ([0, 1, 2, 3, 9], "clients that shared")],
)
def test_lists_of_survivors_that_cannot_be_are_refused(survivors: list[int], word: str) -> None:
    refused("confirm", lambda message, made: with_ids(message, survivors=survivors), word)


@pytest.mark.parametrize(
    ("lists", "word"),
    [
        ({"dropouts": [3, 5]}, "both kinds of shares are asked for of clients .3"),
        ({"survivors": [0, 1, 2, 3], "dropouts": [4, 5]}, "not those that this client confirmed"),
        ({"dropouts": []}, "must be all clients that shared"),
        ({"confirmed": [0, 1, 2, 3, 5]}, "only survivors can confirm"),
        ({"confirmed": [0, 1, 2, 3]}, "signatures must be"),
    ],
)
def test_requests_for_more_than_the_sum_are_refused(lists: dict[str, list[int]], word: str) -> None:
    refused("unmask", lambda message, made: with_ids(message, **lists), word, lost={"mask": [5]})


def test_an_unmasking_that_too_few_confirmed_is_refused() -> None:
    refused(
        "unmask",
        lambda message, made: only(message, [0, 1, 2], "confirmed", "signatures"),
        "3 clients confirmed who is left, the threshold is 4",
    )
    refused(
        "unmask",
        lambda message, made: only(message, [1, 0, 2, 3, 4, 5], "signatures"),
        "signature is not that of client 0",
    )


def test_clients_that_were_told_different_lists_do_not_unmask() -> None:
    made = parties(6)
    made.until("confirm")
    lists = {client: list(range(5)) if client < 3 else list(range(6)) for client in range(6)}
    found = {
        client: session.confirm({"secure/survivors": ids(lists[client])})["secure/signature"]
        for client, session in made.sessions.items()
        if client in lists[client]
    }
    request: Arrays = {
        "secure/survivors": ids(range(6)),
        "secure/dropouts": ids([]),
        "secure/confirmed": ids(found),
        "secure/signatures": np.stack([found[client] for client in sorted(found)]),
    }
    with pytest.raises(ProtocolError, match="signature is not that of client 0"):
        made.sessions[4].unmask(request)


def test_steps_are_taken_in_order() -> None:
    made = parties(6)
    made.until("share")
    with pytest.raises(ProtocolError, match="mask was asked before share"):
        made.sessions[0].mask({}, lambda: made.vectors[0])
    with pytest.raises(ProtocolError, match="client 0 has answered advertise already"):
        made.sessions[0].advertise()


@pytest.mark.parametrize(
    ("lost", "index", "word"),
    [
        ((), 0, "shares of client 0's self mask do not give what it committed to"),
        ((0,), 64, "shares of client 0's masking key do not give the key it advertised"),
    ],
)
def test_shares_that_a_client_falsified_spoil_the_sum_and_not_the_result(
    lost: tuple[int, ...], index: int, word: str
) -> None:
    made = parties(6, lost={"mask": lost})
    made.until("unmask")
    liar = made.sessions[1]
    held = bytearray(liar._shares[0])
    held[index] ^= 1
    liar._shares[0] = bytes(held)
    made.unmask()
    assert not made.server.dropouts or lost, "it signed what it sent"
    with pytest.raises(ProtocolError, match=word):
        made.server.total()
