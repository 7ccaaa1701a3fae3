"""What all parties of one secure sum have agreed on beforehand."""

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

from fedkd.privacy.secure_sum._errors import ProtocolError

Phase = Literal["advertise", "share", "mask", "confirm", "unmask"]

PHASES: tuple[Phase, ...] = ("advertise", "share", "mask", "confirm", "unmask")
"""The steps of a secure sum, each a message to every client that is still there, and its answer."""

_PROTOCOL = "fedkd secure sum 1"


@dataclass(frozen=True)
class Terms:
    """One secure sum: of which run (a digest) and round, over which clients, and how few may be left in the end.

    ``clients`` are ids from 0 to 65,534 in rising order; ``threshold`` t is the least number of clients that a sum is
    made of, and the number of shares that give a secret back. Up to ``colluders`` clients may conspire with the server:
    2t > clients + colluders keeps it from getting both kinds of shares of a client by telling two stories. Sums of one
    round that are not the same differ in ``attempt``, counted from 1: all clients of a sum are in the same one.

    Raises ``ValueError`` for terms that protect nobody.
    """

    run: bytes
    round: int
    clients: tuple[int, ...]
    threshold: int
    colluders: int = 0
    attempt: int = 1

    def __post_init__(self) -> None:
        count = len(self.clients)
        if list(self.clients) != sorted(set(self.clients)) or not all(0 <= each < 65535 for each in self.clients):
            raise ValueError(f"clients must be distinct ids from 0 to 65,534 in rising order, got {self.clients}")
        if count < 3:
            raise ValueError(f"a secure sum needs at least 3 clients, got {count}; of two, each knows the other's part")
        if not 2 * self.threshold > count + self.colluders:
            raise ValueError(
                f"threshold must exceed half of {count} clients + {self.colluders} colluders, got {self.threshold}; "
                "the server could tell two halves of the clients different things and unmask a single report"
            )
        if self.threshold > count:
            raise ValueError(f"threshold must not exceed the {count} clients, got {self.threshold}")
        if self.colluders < 0 or self.threshold - self.colluders < 2:
            raise ValueError(
                f"colluders must leave at least 2 honest clients among the {self.threshold} of the threshold, "
                f"got {self.colluders}; the rest of the sum would be a single report"
            )

    def label(self, *parts: str | int) -> bytes:
        """What ties a key or a signature to this run, this round and attempt, and its purpose."""
        return json.dumps([_PROTOCOL, self.run.hex(), self.round, self.attempt, *parts]).encode()

    def session(self, roster: bytes) -> "Session":
        """The terms once the clients' keys of this round are known, by their digest."""
        return Session(self, roster)

    def require_enough(self, count: int, what: str) -> None:
        """Raises ``ProtocolError`` for fewer than ``threshold``."""
        if count < self.threshold:
            raise ProtocolError(f"{count} clients {what}, the threshold is {self.threshold}")


@dataclass(frozen=True)
class Session:
    """Terms and a digest of all keys of the round: what is tied to it is worth nothing in any other round."""

    terms: Terms
    roster: bytes

    def label(self, *parts: str | int) -> bytes:
        return self.terms.label(self.roster.hex(), *parts)

    def key_info(self, purpose: str, one: int, other: int) -> bytes:
        """What ties a key of two clients to this round, its purpose, and the pair."""
        return hashlib.sha256(self.label(purpose, one, other)).digest()
