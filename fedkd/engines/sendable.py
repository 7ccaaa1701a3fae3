"""What may leave the process in which clients did their work."""

import json
from collections.abc import Iterable

from fedkd.client.performer import describe
from fedkd.core.array_specs import plain_arrays
from fedkd.core.messages import Arrays, Measurement, Reply
from fedkd.core.texts import shown, shown_value

_DIGEST_CHARACTERS, _TRACEBACK_CHARACTERS = 1_000, 10_000


def payload_bytes(arrays: Arrays) -> int:
    """Bytes of the array elements, without names and headers."""
    return sum(array.nbytes for array in arrays.values())


def reply_bytes(reply: Reply) -> int:
    """Bytes of all array elements of a reply."""
    return payload_bytes(reply.arrays) + (0 if reply.measured is None else payload_bytes(reply.measured.arrays))


def failures(clients: Iterable[int], reason: str) -> list[Reply]:
    """One failed reply per client, all for the same reason."""
    return [Reply(client, error=reason) for client in clients]


def sendable(reply: Reply, most_bytes: int | None) -> Reply:
    """A reply to a job with ``most_bytes`` as it travels, or the reason why it cannot: it would harm its cohort."""
    try:
        if reply.error is not None:
            return _failure(reply)
        _check_content(reply, most_bytes)
    except (TypeError, ValueError, RecursionError) as error:
        return Reply(reply.client, error=shown(describe(error)))
    return reply


def _failure(reply: Reply) -> Reply:
    if type(reply.error) is not str:
        raise ValueError(f"error must be text, got {type(reply.error).__name__}")
    if type(reply.traceback) is not str or len(reply.traceback) > _TRACEBACK_CHARACTERS:
        raise ValueError(f"traceback must be a text of at most {_TRACEBACK_CHARACTERS} characters")
    return Reply(reply.client, error=shown(reply.error), traceback=reply.traceback)


def _check_content(reply: Reply, most_bytes: int | None) -> None:
    for name, number in (("round", reply.round), ("examples", reply.examples)):
        if number is not None and (type(number) is not int or not -(2**63) <= number < 2**63):
            raise ValueError(f"{name} must be a whole number of 64 bits, got {shown_value(number)}")
    if reply.epsilon is not None and type(reply.epsilon) is not float:
        raise ValueError(f"epsilon must be a number, got {shown_value(reply.epsilon)}")
    digest = reply.public_digest
    if digest is not None and (type(digest) is not str or len(digest) > _DIGEST_CHARACTERS):
        raise ValueError(f"public_digest must be a short text, got {shown_value(digest)}")
    plain_arrays(reply.arrays)
    if (own := reply.measured) is not None:
        if type(own) is not Measurement:
            raise ValueError(f"measured must be a measurement, got {type(own).__name__}")
        plain_arrays(own.arrays)
        if len(json.dumps((own.validation_accuracy, own.test_accuracy))) > _DIGEST_CHARACTERS:
            raise ValueError("validation_accuracy and test_accuracy must be numbers")
    if most_bytes is not None and (size := reply_bytes(reply)) > most_bytes:
        raise ValueError(f"sent {size} bytes, at most {most_bytes} were asked for")
