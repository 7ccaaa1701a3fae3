"""What clients send that is no valid reply costs their own part of the round, and is called what it is."""

import io
import logging
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from fedkd.core.messages import parameter_digest
from tests.support.local_grid import FIRST_NODE
from tests.support.plain_apps import CLASSES, EACH, PUBLIC, plain_apps, plain_strategy
from tests.support.plain_grid import PlainGrid

pytestmark = pytest.mark.usefixtures("task_identity", "flower_home")

GOOD = np.zeros((PUBLIC, CLASSES), dtype=np.float32)


def changed(place: tuple[int, ...], value: float) -> npt.NDArray[Any]:
    logits = GOOD.copy()
    logits[place] = value
    return logits


def raw(data: bytes, shape: tuple[int, ...] = GOOD.shape, kind: str = "numpy.ndarray") -> RecordDict:
    """Bytes that are said to be the array."""
    return RecordDict({"arrays": ArrayRecord({"logits": Array("float32", shape, kind, data)})})


def saved(array: npt.NDArray[Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=True)
    return content.getvalue()


def zipped() -> bytes:
    content = io.BytesIO()
    np.savez(content, logits=GOOD)
    return content.getvalue()


def named(**arrays: npt.NDArray[Any]) -> RecordDict:
    found = ArrayRecord({name: Array(array) for name, array in arrays.items()})
    return RecordDict({"arrays": found, "metrics": MetricRecord({"num-examples": EACH})})


def counted(value: Any) -> RecordDict:
    return RecordDict({**named(logits=GOOD), "metrics": MetricRecord({"num-examples": value})})


HUGE_HEADER = saved(GOOD).replace(b"(60, 10)", b"(600000000000, 10)").replace(b" " * 10, b"", 1)

BAD: dict[str, tuple[RecordDict, str]] = {
    "nothing": (RecordDict(), "sent 0 ArrayRecords and 0 MetricRecords; wanted is one"),
    "an empty record": (named(), "sent no logits"),
    "another name": (named(logit=GOOD), "sent 'logit', 2400 bytes that nobody asked for"),
    "something besides": (named(logits=GOOD, more=GOOD[:0]), "sent 'more'"),
    "two records": (RecordDict({**named(logits=GOOD), "more": ArrayRecord()}), "sent 2 ArrayRecords"),
    "two metrics": (
        RecordDict({**counted(1), "more": MetricRecord({})}),
        "sent 1 ArrayRecords and 2 MetricRecords",
    ),
    "too few samples": (named(logits=GOOD[1:]), "of shape (60, 10), got float32 of shape (59, 10)"),
    "transposed": (named(logits=GOOD.T.copy()), "of shape (60, 10), got float32 of shape (10, 60)"),
    "flat": (named(logits=GOOD.ravel()), "got float32 of shape (600,)"),
    "halves": (named(logits=GOOD.astype(np.float16)), "logits must be float32"),
    "whole numbers": (named(logits=GOOD.astype(np.int32)), "logits must be float32"),
    "doubles": (named(logits=GOOD.astype(np.float64)), "bytes of arrays, and 3400 at most were asked for"),
    "the other byte order": (named(logits=GOOD.astype(">f4")), "in this machine's byte order"),
    "text": (named(logits=np.full(GOOD.shape, "a")), "array 'logits' must hold numbers"),
    "objects": (raw(saved(np.full((2, 2), None, dtype=object))), "malformed reply: ValueError"),
    "NaN": (named(logits=changed((3, 1), np.nan)), "logits must be finite"),
    "infinity": (named(logits=changed((3, 1), -np.inf)), "logits must be finite"),
    "absurd numbers": (named(logits=changed((3, 1), 3e4)), "logits must lie within ±10000, got 30000"),
    "no array at all": (raw(b"nothing of the kind"), "malformed reply: ValueError"),
    "an archive": (raw(zipped()), "must be a NumPy array, got NpzFile"),
    "a header that promises more": (raw(HUGE_HEADER), "malformed reply:"),
    "half of an array": (raw(saved(GOOD)[:700]), "malformed reply: ValueError"),
    "another kind of array": (raw(saved(GOOD), kind="pickle"), "malformed reply: TypeError"),
    "too much": (named(logits=np.zeros((PUBLIC, 10 * CLASSES), dtype=np.float32)), "at most were asked for"),
    "no count": (
        RecordDict({**named(logits=GOOD), "metrics": MetricRecord({})}),
        "num-examples must be a whole number",
    ),
    "a negative count": (counted(-1), "example count must be a whole number from 0 to 2147483647, got -1"),
    "a huge count": (counted(2**40), "example count must be a whole number"),
    "a broken count": (
        counted(7.0),
        "num-examples must be a whole number, which the strategy needs, got 7.0; have the client return",
    ),
    "several counts": (counted([1, 2]), "num-examples must be a whole number, which the strategy needs, got [1, 2]"),
    "a bad name": (
        RecordDict({**named(logits=GOOD), "metrics": MetricRecord({"num-examples": 1, "partition-id": -3})}),
        "partition-id must be a whole number from 0 to 2147483647, got -3",
    ),
    "the name of another": (
        RecordDict({**named(logits=GOOD), "metrics": MetricRecord({"num-examples": 1, "partition-id": 5})}),
        "says that it is partition-id 5, and was client 1 before",
    ),
    "no metrics": (
        RecordDict({"arrays": named(logits=GOOD)["arrays"], "config": ConfigRecord({"num-examples": EACH})}),
        "num-examples must be a whole number, which the strategy needs, got None",
    ),
}


def run(change: Callable[[int, Message], Message | None]) -> str:
    """The student's digest after two rounds, in the second of which replies are changed."""
    grid = PlainGrid(plain_apps())
    strategy = plain_strategy(strategy="weighted")

    def second(place: int, reply: Message) -> Message | None:
        return change(place, reply) if len(grid.sent) > 3 else reply

    grid.change = second
    strategy.start(grid, num_rounds=2)
    return parameter_digest(strategy.student.state_dict())


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory, task_identity: None) -> Iterable[str]:
    """The student of a run in which client 1 is silent in the second round."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLWR_HOME", str(tmp_path_factory.mktemp("flower")))
        yield run(lambda place, reply: None if place == 1 else reply)


@pytest.mark.parametrize("case", BAD)
def test_a_bad_reply_counts_as_none_and_is_named(case: str, without: str, caplog: pytest.LogCaptureFixture) -> None:
    content, words = BAD[case]
    caplog.set_level(logging.INFO, "flwr")

    def change(place: int, reply: Message) -> Message:
        if place == 1:
            reply.content = content
        return reply

    assert run(change) == without
    (line,) = [each for each in caplog.text.splitlines() if "> client 1 (node" in each]
    assert words in line
    assert "2 valid replies of 3 nodes" in caplog.text


def test_replies_of_two_nodes_that_are_exchanged_are_noticed(without: str, caplog: pytest.LogCaptureFixture) -> None:
    """By who their clients say they are."""
    caplog.set_level(logging.INFO, "flwr")
    held: list[Message] = []

    def change(place: int, reply: Message) -> Message:
        held.append(reply)
        if place == 2:
            held[1].content, held[2].content = held[2].content, held[1].content
        return reply

    run(change)
    assert "says that it is partition-id 2, and was client 1 before" in caplog.text
    assert "says that it is partition-id 1, and was client 2 before" in caplog.text


def test_who_was_not_asked_and_who_answers_twice_is_dropped(without: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "flwr")
    grid = PlainGrid(plain_apps())
    strategy = plain_strategy(strategy="weighted")

    def pull(message_ids: object) -> list[Message]:
        replies = PlainGrid.pull_messages(grid, message_ids)
        if len(grid.sent) > 3 and replies:
            stranger = replies[0].content
            replies.append(Message(stranger, reply_to=grid.sent[0]))
            replies[-1].metadata.__dict__["_src_node_id"] = FIRST_NODE + 77
            replies.append(replies[1])
        return replies

    grid.pull_messages = pull  # type: ignore[method-assign]
    strategy.start(grid, num_rounds=2)
    assert "sent 2 reports for one round" in caplog.text
    assert "answered without having been asked" in caplog.text
    # The stranger says that it is the client that it copied, which has been known since the first round.
    assert "2 valid replies of 3 nodes" in caplog.text
    assert parameter_digest(strategy.student.state_dict()) == without
