"""Messages carry exactly what was put into them."""

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.common.serde import recorddict_to_proto
from hypothesis import given
from hypothesis import strategies as st

from fedkd.core.messages import Arrays, Job, Measurement, Reply
from fedkd.engines.flower.wire import (
    COHORT_MESSAGE,
    Claim,
    Cohort,
    Partition,
    Ready,
    decode_claim,
    decode_cohort,
    decode_ready,
    decode_ready_reply,
    decode_replies,
    encode_cohort,
    encode_ready,
    encode_ready_reply,
    encode_replies,
)
from fedkd.engines.sendable import payload_bytes

pytestmark = pytest.mark.usefixtures("task_identity")

DTYPES = ["float32", "float64", "float16", "int64", "uint8", "bool"]


def question() -> Message:
    return Message(encode_cohort(Cohort(Job("round", 1, "{}"), (), "m:f", 60.0)), 2**64 - 1, COHORT_MESSAGE)


def message(content: RecordDict) -> Message:
    return Message(content, reply_to=question())


def roundtrip(replies: list[Reply]) -> list[Reply]:
    return decode_replies(message(encode_replies(replies)), [reply.client for reply in replies])


def assert_same(left: Arrays, right: Arrays) -> None:
    assert left.keys() == right.keys()
    for name, array in left.items():
        assert right[name].dtype == array.dtype
        assert right[name].shape == array.shape
        np.testing.assert_array_equal(right[name], array)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (2, 3)])
def test_job_keeps_parameters_exactly(dtype: str, shape: tuple[int, ...]) -> None:
    parameters = {"layer.weight": np.arange(np.prod(shape)).reshape(shape).astype(dtype), "b": np.ones(1, dtype)}
    job = Job(
        "round", 7, '{"seed": 1}', parameters, measure=True, probe=True, state_dir="a/b", accepted={1: 6, 3: 2**40}
    )
    job = replace(job, most_bytes=10)
    cohort = Cohort(job, (5, 1, 3), "package.module:function", 2.5, 4)
    decoded = decode_cohort(encode_cohort(cohort))
    assert_same(parameters, decoded.job.parameters)
    assert list(decoded.job.parameters) == list(parameters)
    assert replace(decoded, job=job) == cohort
    assert replace(decoded.job, parameters=parameters) == job


def test_empty_cohort_travels() -> None:
    assert decode_cohort(encode_cohort(Cohort(Job("local", 1, "{}"), (), "m:f", 60.0))).clients == ()
    assert roundtrip([]) == []


arrays = st.builds(
    lambda dtype, shape, seed: np.random.default_rng(seed).integers(0, 2, shape).astype(dtype),
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
    st.integers(0, 9),
)
outcome_lists = st.lists(
    st.fixed_dictionaries(
        {
            "arrays": st.dictionaries(st.text(max_size=3), arrays, max_size=3),
            "round": st.none() | st.integers(0, 2**63 - 1),
            "examples": st.none() | st.integers(0, 2**63 - 1),
            "epsilon": st.none() | st.floats(0, 1e9),
            "public_digest": st.none() | st.text(min_size=1, max_size=3),
            "error": st.none() | st.text("aäé→ ", max_size=5),
            "measured": st.none()
            | st.builds(
                Measurement,
                st.none() | st.floats(0, 1),
                st.none() | st.floats(0, 1),
                *[st.none() | arrays for _ in range(3)],
            ),
        }
    ),
    max_size=5,
)


@given(outcome_lists)
def test_replies_survive_in_order_whatever_their_shapes(drawn: list[dict[str, Any]]) -> None:
    sent = [Reply(client, **said) for client, said in enumerate(drawn)]
    for before, after in zip(sent, roundtrip(sent), strict=True):
        if not before.ok:
            # Of a client that failed nothing else travels.
            assert after == Reply(before.client, error=before.error)
            continue
        assert_same(before.arrays, after.arrays)
        assert after == replace(before, arrays=after.arrays, measured=None)


def test_what_was_measured_does_not_leave() -> None:
    tests = np.full((7, 3), 0.123456, np.float32)
    sent = [Reply(0, {"logits": np.ones(2, np.uint8)}, round=1, measured=Measurement(0.7654321, 0.5, tests))]
    content = encode_replies(sent)
    serialised = recorddict_to_proto(content).SerializeToString()
    assert tests[0].tobytes() not in serialised
    assert b"0.7654321" not in serialised


@given(st.dictionaries(st.integers(0, 9), st.dictionaries(st.text(max_size=3), arrays, max_size=3), max_size=5))
def test_personal_arrays_reach_their_clients_and_nobody_else(personal: dict[int, Arrays]) -> None:
    clients = (7, 2, 4, 9)
    received = decode_cohort(encode_cohort(Cohort(Job("round", 1, "{}", personal=personal), clients, "m:f", 1.0)))
    assert received.job.personal.keys() == {client for client in clients if personal.get(client)}
    for client, own in received.job.personal.items():
        assert_same(own, personal[client])


def test_unequal_lengths_travel_as_one_array() -> None:
    sent = [Reply(client, {"logits": np.full(client, client % 256, np.uint8)}) for client in range(1000)]
    content = encode_replies(sent)
    (record,) = content.array_records.values()
    assert [tuple(array.shape) for array in record.values()] == [(1000 * 999 // 2,)]
    for before, after in zip(sent, decode_replies(message(content), range(1000)), strict=True):
        assert_same(before.arrays, after.arrays)


ENVELOPE = 1_000
"""Bytes that a message and the header of an array may add to what is in it."""


@pytest.mark.parametrize("clients", [1, 50])
def test_counted_bytes_are_what_flower_serialises(clients: int) -> None:
    """Encoded logits of unequal length with a mask, and the parameters of a small CNN in eight tensors."""
    draw = np.random.default_rng(0)
    shapes = [(16, 1, 3, 3), (16,), (32, 16, 3, 3), (32,), (64, 1568), (64,), (10, 64), (10,)]
    parameters: Arrays = {f"parameters/{key}": np.ones(shape, np.float32) for key, shape in enumerate(shapes)}
    replies = [
        Reply(
            client,
            {"logits": draw.integers(0, 256, 80_000 + client).astype(np.uint8), "mask": np.ones(250, np.uint8)}
            | parameters,
            round=1,
            examples=600,
            public_digest="0123456789abcdef",
        )
        for client in range(clients)
    ]
    counted = sum(payload_bytes(reply.arrays) for reply in replies)
    serialised = recorddict_to_proto(encode_replies(replies)).ByteSize()
    assert counted <= serialised <= 1.02 * counted + (1 + len(replies[0].arrays)) * ENVELOPE

    personal = {reply.client: reply.arrays for reply in replies}
    cohort = Cohort(Job("round", 1, "{}", parameters, personal), tuple(range(clients)), "module:function", 60.0)
    counted += payload_bytes(parameters)
    serialised = recorddict_to_proto(encode_cohort(cohort)).ByteSize()
    assert counted <= serialised <= 1.02 * counted + (1 + 2 * len(personal[0])) * ENVELOPE


def test_equal_shapes_travel_as_one_stack() -> None:
    """1,000 clients' logits are one array of the record, so that a message's cost does not grow with its clients."""
    content = encode_replies([Reply(client, {"logits": np.zeros((4, 2), np.float32)}) for client in range(1000)])
    (record,) = content.array_records.values()
    assert [tuple(array.shape) for array in record.values()] == [(1000, 4, 2)]


def test_error_reply_is_an_error_of_each_client() -> None:
    replies = decode_replies(Message(Error(0, "out of memory"), reply_to=question()), [4, 2])
    assert [(reply.client, reply.error) for reply in replies] == [(4, "out of memory"), (2, "out of memory")]


def damaged() -> list[RecordDict]:
    def header(content: RecordDict) -> ConfigRecord:
        (record,) = content.config_records.values()
        return record

    def fresh() -> RecordDict:
        return encode_replies([Reply(1, {"x": np.ones(2)}), Reply(2, {"x": np.ones(2)})])

    wrong_clients, short, no_json, few_rows, no_array, deep, long, number = (fresh() for _ in range(8))
    stranger, too_long, negative = (fresh() for _ in range(3))
    header(wrong_clients)["clients"] = [1, 3]
    header(short)["errors"] = [""]
    header(no_json)["layout"] = "["
    header(few_rows)["layout"] = json.dumps([["x", [0], None]])
    header(stranger)["layout"] = json.dumps([["x", [0, 2], None]])
    header(too_long)["layout"] = json.dumps([["x", None, [1, 2]]])
    header(negative)["layout"] = json.dumps([["x", None, [3, -1]]])
    (record,) = no_array.array_records.values()
    record.clear()
    header(deep)["layout"] = "[" * 100_000
    header(long)["errors"] = ["", "x" * 10**6]
    header(number)["layout"] = json.dumps([["x", None, ["1"]]])
    garbage, large, archive, claims = (fresh() for _ in range(4))
    (record,) = large.array_records.values()
    record["0"] = Array(np.zeros((2, 10_000)))
    (record,) = archive.array_records.values()
    zipped = io.BytesIO()
    np.savez_compressed(zipped, x=np.zeros((2, 2)))
    record["0"] = Array("float64", (2, 2), "numpy.ndarray", zipped.getvalue())
    (record,) = claims.array_records.values()
    claimed = io.BytesIO()
    np.lib.format.write_array_header_1_0(claimed, {"descr": "<f8", "fortran_order": False, "shape": (2, 2**50)})
    record["0"] = Array("float64", (2, 2**50), "numpy.ndarray", claimed.getvalue())
    (record,) = garbage.array_records.values()
    record["0"] = Array("float32", (2, 2), "numpy.ndarray", b"not an array")
    empty = [RecordDict(), RecordDict({"x": ArrayRecord()})]
    lists = [wrong_clients, short, no_json, few_rows, stranger, too_long, negative, deep, long, number]
    return [*empty, *lists, no_array, garbage, large, archive, claims]


@pytest.mark.parametrize("content", damaged())
def test_damaged_reply_costs_its_own_clients_only(content: RecordDict) -> None:
    replies = decode_replies(message(content), [1, 2], 1_000)
    assert [reply.client for reply in replies] == [1, 2]
    assert all(reply.error is not None and reply.error.startswith("malformed reply") for reply in replies)


def test_what_nodes_say_of_themselves_is_read_with_care() -> None:
    assert "malformed reply" in str(decode_ready_reply(message(RecordDict())))
    assert decode_ready_reply(message(encode_ready_reply("no\x1b[2J"))) == r"no\x1b[2J"
    content = encode_ready_reply(None)
    (header,) = content.config_records.values()
    header["partition"], header["partitions"] = "0", 2.0
    assert decode_claim(message(content)).partition == Partition(None, None)
    assert decode_claim(message(encode_ready_reply(None, Claim(Partition(1, 2))))).partition == Partition(1, 2)


def test_ready_question_and_answers() -> None:
    ready = Ready("a.b:c", "{}", "ab", "12")
    assert decode_ready(encode_ready(ready)) == ready
    assert decode_ready_reply(message(encode_ready_reply(None))) is None
    assert decode_ready_reply(message(encode_ready_reply("ImportError: no torch"))) == "ImportError: no torch"
    assert decode_ready_reply(Message(Error(1, "gone"), reply_to=question())) == "gone"


def test_payload_counts_elements_only() -> None:
    named: dict[str, npt.NDArray[np.generic]] = {"a": np.zeros((2, 3), np.float32), "b": np.zeros(5, bool)}
    assert payload_bytes(named) == 2 * 3 * 4 + 5
    assert payload_bytes({}) == 0
