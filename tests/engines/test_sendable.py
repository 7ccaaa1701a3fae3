"""What may leave the process in which clients did their work, and what becomes of the rest."""

from typing import Any

import numpy as np
import pytest

from fedkd.core.messages import Measurement, Reply
from fedkd.engines.sendable import sendable


def unchecked(**careless: Any) -> Reply:
    """A reply as a careless performer makes it, where nothing checks types."""
    reply = Reply(1)
    vars(reply).update(careless)
    return reply


def named(value: Any, name: Any = "x") -> Reply:
    """A reply with one array, or what is no array."""
    return unchecked(arrays={name: value})


def measuring(**careless: Any) -> Reply:
    measured = Measurement()
    for name, value in careless.items():
        object.__setattr__(measured, name, value)
    return unchecked(measured=measured)


UNSENDABLE: dict[str, tuple[Reply, str]] = {
    "objects": (named(np.array([object()])), "ValueError: array 'x' must hold numbers"),
    "a structure": (named(np.zeros(2, "i4,f4")), "ValueError: array 'x' must hold numbers"),
    "dates": (named(np.zeros(2, "M8[s]")), "ValueError: array 'x' must hold numbers"),
    "complex": (named(np.zeros(2, np.complex64)), "ValueError: array 'x' must hold numbers"),
    "longdouble": (named(np.zeros(2, np.longdouble)), "at most 64 bits"),
    "big-endian": (named(np.zeros(2, ">f4")), "this machine's byte order"),
    "masked": (named(np.ma.zeros(2)), "ValueError: array 'x' must be a NumPy array, got Masked"),
    "a list": (named([1.0, 2.0]), "ValueError: array 'x' must be a NumPy array, got list"),
    "a name": (named(np.ones(2), ("x",)), "names of arrays must be text, got tuple"),
    "too much": (named(np.zeros(2**17)), "sent 1048576 bytes, at most 1000000 were asked for"),
    "a view of more than there is": (named(np.broadcast_to(0.0, 2**40)), "at most 1000000 were asked for"),
    "a huge number": (unchecked(examples=10**5000), "ValueError: examples must be a whole number of 64 bits, got int"),
    "a real number": (unchecked(examples=2.5), "ValueError: examples must be a whole number of 64 bits, got 2.5"),
    "a NumPy number": (unchecked(round=np.int64(1)), "ValueError: round must be a whole number of 64 bits, got "),
    "a truth": (unchecked(round=True), "ValueError: round must be a whole number of 64 bits, got True"),
    "no digest": (unchecked(public_digest=object()), "ValueError: public_digest must be a short text"),
    "a long digest": (unchecked(public_digest="x" * 10**6), "ValueError: public_digest must be a short text"),
    "no measurement": (unchecked(measured={}), "ValueError: measured must be a measurement, got dict"),
    "measured objects": (measuring(test_mask=np.array([object()])), "array 'test_mask' must hold numbers"),
    "a measured object": (measuring(test_accuracy=object()), "TypeError: Object of type object is not JSON"),
    "a long accuracy": (measuring(test_accuracy="9" * 10**6), "test_accuracy must be numbers"),
    "much measured": (measuring(test_logits=np.zeros(2**17)), "sent 1048576 bytes, at most 1000000 were asked for"),
    "an error that is no text": (unchecked(error=["no"]), "ValueError: error must be text, got list"),
    "a long error": (unchecked(error="\x1b" * 10**6), "(999500 more characters)"),
}


@pytest.mark.parametrize("case", UNSENDABLE)
def test_what_cannot_be_sent_is_an_error_of_its_client(case: str) -> None:
    bad, part = UNSENDABLE[case]
    found = sendable(bad, 10**6)
    assert (found.client, found.arrays, found.measured) == (1, {}, None)
    assert part in str(found.error)
    assert len(str(found.error)) < 3_000


def test_what_can_be_sent_stays_as_it_is() -> None:
    good = Reply(
        0, {"x": np.ones(2)}, round=1, examples=3, public_digest="x", measured=Measurement(0.5, 0.25, np.ones(3))
    )
    assert sendable(good, 10**6) is good
    assert sendable(good, None) is good
