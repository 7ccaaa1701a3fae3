"""Replies of one dishonest client, changed on their way: as Flower's records, or as the bytes that travel."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as Proto

from fedkd.core.messages import Reply
from fedkd.engines.flower.wire import decode_replies, encode_replies
from fuzzing.outcome import Case, shortened
from fuzzing.replies import LIAR, Told, attempt, settings
from fuzzing.values import LOOKS_LIKE_OTHERS, TEXTS

_LAYOUTS = ("[]", "null", "{}", "[[]]", '[["logits",null,null]]', '[["logits",[0,0],null]]', '[["logits",[9],null]]')
_MORE_LAYOUTS = (
    '[["logits",null,[-1]]]',
    "[[1,null,null]]",
    '[["logits",null,[1e9]]]',
    "[" * 5000,
    "NaN",
    '[["x",null]]',
)
_DTYPES = ("float128", "object", ">f4", "<f4", "S10", "U5", "datetime64[s]", "V8", "uint8", "bool", "", "x", "float64")
_SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (-1,), (1,), (2**31,), (2**62,), (1, 1), (1,) * 40, (10**6, 10**6))


class _LostError(Exception):
    """A message that Flower itself cannot read, so that fedkd never sees it."""


@dataclass(frozen=True)
class _Delivered:
    """What the server finds in its mailbox."""

    content: RecordDict

    def has_error(self) -> bool:
        return False


def case(seed: int, number: int) -> Case:
    """A setting without a secure sum, and an honest reply that is changed on its way."""
    draw = random.Random(f"wire {seed} {number}")
    setting = draw.choice([name for name in settings() if "secure" not in name])
    return Case(setting, partial(attempt, setting, lambda reply: _changed(reply, draw)))


def _changed(reply: Reply, draw: random.Random) -> Told:
    content = encode_replies([reply])
    change = draw.choice([_bytes, _bytes, _header, _header, _array, _array, _record])
    try:
        content, what = change(content, draw)
    except _LostError:
        return [Reply(LIAR, error="not delivered")], "no message at all", False
    replies: Sequence[Reply] = decode_replies(cast(Message, _Delivered(content)), [LIAR])
    return replies, what, False


def _bytes(content: RecordDict, draw: random.Random) -> tuple[RecordDict, str]:
    data = bytearray(recorddict_to_proto(content).SerializeToString())
    match draw.randrange(4):
        case 0:
            data = data[: draw.randrange(len(data))]
        case 1:
            at = draw.randrange(len(data))
            data[at:at] = bytes(draw.randrange(256) for _ in range(draw.randrange(1, 9)))
        case _:
            for _ in range(draw.choice([1, 1, 2, 8])):
                data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    try:
        return recorddict_from_proto(Proto.FromString(bytes(data))), "bytes changed"
    except Exception as error:  # Flower's own reading, before the message reaches fedkd
        raise _LostError from error


def _header(content: RecordDict, draw: random.Random) -> tuple[RecordDict, str]:
    name, header = next(iter(content.config_records.items()))
    key = draw.choice([*header, "more"])
    now = header.get(key)
    choices: list[Any] = [
        None,
        now,
        0,
        1,
        -1,
        2**62,
        True,
        0.5,
        float("nan"),
        "",
        b"\xff",
        [],
        [0],
        [LIAR, LIAR],
        ["a"],
        [True],
    ]
    choices += [draw.choice(TEXTS), draw.choice(LOOKS_LIKE_OTHERS), [draw.choice(TEXTS)]]
    choices += [*_LAYOUTS, *_MORE_LAYOUTS] if "layout" in key else []
    value = draw.choice(choices)
    fields: dict[str, Any] = dict(header)
    if value is None:
        fields.pop(key, None)
    else:
        try:
            ConfigRecord({key: value})
        except (TypeError, ValueError):
            value = "no value that travels"
        fields[key] = value
    content[name] = ConfigRecord(fields)
    return content, f"{key} = {shortened(value)}"


def _array(content: RecordDict, draw: random.Random) -> tuple[RecordDict, str]:
    name, record = draw.choice([*content.array_records.items()])
    if not record:
        return content, "nothing"
    key = draw.choice([*record])
    old = record[key]
    parts: dict[str, Any] = {"dtype": old.dtype, "shape": tuple(old.shape), "stype": old.stype, "data": old.data}
    part = draw.choice([*parts])
    match part:
        case "dtype":
            parts[part] = draw.choice(_DTYPES)
        case "shape":
            parts[part] = draw.choice(_SHAPES)
        case "stype":
            parts[part] = draw.choice(["", "numpy", "pickle", "torch.Tensor"])
        case _:
            parts[part] = _damaged(old.data, draw)
    changed = dict(record)
    changed[draw.choice([key, key, "7", "x"])] = Array(**parts)
    content[name] = ArrayRecord(changed)
    return content, f"{part} of array {key} = {shortened(parts[part])}"


def _damaged(data: bytes, draw: random.Random) -> bytes:
    pickled = (
        b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(127)
        + b"\n\x80\x03]q\x00."
    )
    huge = data[:10] + data[10:128].replace(b"'shape': (", b"'shape': (9")
    flipped = bytearray(data)
    flipped[draw.randrange(min(len(data), 128))] ^= 1 << draw.randrange(8)
    return draw.choice(
        [b"", data[:-1], data[: len(data) // 2], data + data, data + b"\0", pickled, huge, bytes(flipped)]
    )


def _record(content: RecordDict, draw: random.Random) -> tuple[RecordDict, str]:
    name = draw.choice([*content])
    match draw.randrange(3):
        case 0:
            del content[name]
        case 1:
            content[name] = ConfigRecord({})
        case _:
            content[name] = ArrayRecord({})
    return content, f"record {name} gone or exchanged"
