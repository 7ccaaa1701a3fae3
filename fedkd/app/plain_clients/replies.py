"""Reading the replies of plain Flower clients: with ``fedkd.server.reports``, which reads those of fedkd's own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from flwr.app import Message

from fedkd.app.plain_clients.protocol import EXAMPLES, LABEL_COUNTS, LOGITS, PARTITION
from fedkd.core import messages
from fedkd.core.array_specs import ArraySpec, most_bytes, plain_arrays
from fedkd.core.coding.types import Decoded
from fedkd.core.messages import Arrays, Reply
from fedkd.core.texts import shown_value
from fedkd.server.reports import Expectation

MOST_EXAMPLES = 2**31 - 1
_ENVELOPE = 1_000
"""Bytes that describe an array beside its elements, at most."""


@dataclass(frozen=True)
class Wanted:
    """What a valid reply of a round is: logits ``[samples, classes]``, and counts where the strategy needs them."""

    round: int
    digest: str
    samples: int
    classes: int
    examples: bool
    label_counts: bool

    def expectation(self, clients: Sequence[int]) -> Expectation:
        """The same, for the reports of these clients."""
        return Expectation(
            self.round,
            tuple(clients),
            self.classes,
            self.digest,
            lambda client: MOST_EXAMPLES,
            lambda client, examples: self.specs(examples),
            decode=lambda client, data: self._decoded(data),
            counted=self.examples,
            keeps_codes=False,
        )

    def specs(self, examples: int) -> dict[str, ArraySpec]:
        """The arrays of a client that trained on so many samples."""
        found = {messages.LOGITS: ArraySpec("float32", (self.samples, self.classes))}
        if self.label_counts:
            found[messages.LABEL_COUNTS] = ArraySpec("int32", (self.classes,), 0, examples, total=examples)
        return found

    def _decoded(self, data: bytes) -> Decoded:
        logits = torch.frombuffer(bytearray(data), dtype=torch.float32).reshape(self.samples, self.classes)
        return Decoded(logits, None, np.zeros((self.samples, 0), dtype=np.uint8))


@dataclass(frozen=True)
class Answer:
    """What a node says: its arrays, how many samples its client trained on, and who it is; or why it says nothing."""

    node: int
    arrays: Arrays = field(default_factory=dict)
    examples: int | None = None
    partition: object = None
    error: str | None = None

    def reply(self, client: int, wanted: Wanted, fault: str | None) -> Reply:
        """The same as a reply of that client; ``fault`` is what is wrong with who it says it is."""
        return Reply(
            client,
            self.arrays,
            round=wanted.round,
            examples=self.examples,
            public_digest=wanted.digest,
            error=self.error or fault,
        )


def read_answers(replies: Iterable[Message], wanted: Wanted) -> list[Answer]:
    """What the messages say; never raises, for whatever is wrong with one must cost its own client only."""
    return [_read(message, wanted) for message in replies]


def _read(message: Message, wanted: Wanted) -> Answer:
    node = message.metadata.src_node_id
    if message.has_error():
        error = message.error
        return Answer(node, error=error.reason or f"Flower error code {error.code}")
    try:
        return _content(node, message, wanted)
    except Exception as error:  # what a foreign or damaged reply provokes
        return Answer(node, error=f"malformed reply: {type(error).__name__}: {error}")


def _content(node: int, message: Message, wanted: Wanted) -> Answer:
    records, metrics = message.content.array_records, message.content.metric_records
    if len(records) != 1 or len(metrics) > 1:
        found = f"{len(records)} ArrayRecords and {len(metrics)} MetricRecords"
        return Answer(
            node, error=f'sent {found}; wanted is one ArrayRecord({{"{LOGITS}": ...}}), and one MetricRecord at most'
        )
    (record,) = records.values()
    # Before anything is decoded.
    size = sum(len(array.data) for array in record.values())
    if size > (most := most_bytes(wanted.specs(MOST_EXAMPLES)) + _ENVELOPE):
        return Answer(
            node,
            error=f"sent {size} bytes of arrays, and {most} at most were asked for: {wanted.samples} samples of "
            f"{wanted.classes} float32",
        )
    arrays = plain_arrays({name: array.numpy() for name, array in record.items()})
    said: dict[str, Any] = dict(next(iter(metrics.values()), {}))
    examples, counts = said.get(EXAMPLES), said.get(LABEL_COUNTS)
    if wanted.examples and type(examples) is not int:
        return Answer(node, error=_uncounted(EXAMPLES, "a whole number", examples))
    if wanted.label_counts:
        if not isinstance(counts, list):
            return Answer(node, error=_uncounted(LABEL_COUNTS, "whole numbers, one per class", counts))
        arrays[messages.LABEL_COUNTS] = np.array(counts, dtype=np.int32)
    return Answer(node, arrays, examples if wanted.examples else None, said.get(PARTITION))


def _uncounted(name: str, rule: str, found: object) -> str:
    return (
        f"{name} must be {rule}, which the strategy needs, got {shown_value(found)}; have the client return "
        f'"metrics": MetricRecord({{"{name}": ...}}) beside the logits'
    )
