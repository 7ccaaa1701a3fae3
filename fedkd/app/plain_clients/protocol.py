"""What ``LogitDistillation`` and plain Flower clients say to each other. Neither needs torch for it.

docs/flower.md has the same as a table, for clients that do without fedkd.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, Message

from fedkd.core.errors import RunError

NDArray = npt.NDArray[Any]

REQUEST, PUBLIC = "fedkd", "public"
"""The records of a message, beside Flower's own, that say what is asked and on which public samples."""

LOGITS, CONSENSUS, POSITIONS = "logits", "consensus", "positions"
"""Arrays of a reply, and of a message: the last targets, and which of the public samples are meant (all if absent)."""

EXAMPLES, LABEL_COUNTS, PARTITION = "num-examples", "label-counts", "partition-id"
"""What a reply's metrics may say: how many samples the client trained on, how many of each class, and who it is."""

_PART_BYTES = 4 * 2**20
"""About how large one of the arrays is in which the public samples travel."""


@dataclass(frozen=True)
class Request:
    """What a node is asked in a round: a row of ``classes`` logits for each public sample at ``positions`` (None: all).

    ``digest`` is that of the public samples (``digest_of``), ``parts`` are these, where they come along.
    """

    digest: str
    classes: int
    positions: NDArray | None = None
    parts: tuple[Array, ...] = ()

    @property
    def config(self) -> ConfigRecord:
        return ConfigRecord({"digest": self.digest, "classes": self.classes})

    @property
    def arrays(self) -> ArrayRecord:
        found = {_part(number): part for number, part in enumerate(self.parts)}
        return ArrayRecord(found if self.positions is None else {POSITIONS: Array(self.positions)} | found)

    @classmethod
    def of(cls, message: Message) -> "Request":
        """What ``message`` asks; raises ``RunError`` when it is not one of ``LogitDistillation``."""
        if REQUEST not in message.content.config_records:
            raise RunError(
                f"the message has no record {REQUEST!r}: LogitDistillation sends it with training messages alone; "
                "answer others without logits_of"
            )
        config: Any = message.content.config_records[REQUEST]
        arrays = message.content.array_records[PUBLIC]
        return cls(
            str(config["digest"]),
            int(config["classes"]),
            arrays[POSITIONS].numpy() if POSITIONS in arrays else None,
            tuple(_parts_in(arrays)),
        )


def as_samples(samples: object) -> NDArray:
    """Samples as they travel: real numbers as float32, whole ones as int64; what is neither stays as it is."""
    array = np.asarray(samples)
    wanted = {"f": np.float32, "i": np.int64, "u": np.int64}.get(array.dtype.kind)
    return array if wanted is None else np.ascontiguousarray(array, dtype=wanted)


def digest_of(samples: NDArray) -> str:
    """SHA-256, in hexadecimal, of contiguous samples: the same as ``PublicSet.digest``."""
    digest = hashlib.sha256(str(samples.shape).encode())
    digest.update(samples.data)
    return digest.hexdigest()


def divided(samples: NDArray) -> tuple[Array, ...]:
    """The samples as several arrays, none of them much larger than ``_PART_BYTES`` unless a single sample is."""
    rows = max(1, _PART_BYTES // max(samples[:1].nbytes, 1))
    return tuple(Array(samples[start : start + rows]) for start in range(0, len(samples), rows))


def _parts_in(arrays: ArrayRecord) -> Iterator[Array]:
    for number in count():
        if (name := _part(number)) not in arrays:
            return
        yield arrays[name]


def _part(number: int) -> str:
    return f"part-{number}"
