"""The server's side of a secure sum, step by step."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from fedkd.core.messages import Arrays
from fedkd.privacy.secure_sum._errors import ProtocolError
from fedkd.privacy.secure_sum._primitives import KEY_BYTES, public_key
from fedkd.privacy.secure_sum.client import SEALED_BYTES
from fedkd.privacy.secure_sum.fixed_point import Words
from fedkd.privacy.secure_sum.identities import SIGNATURE_BYTES, Directory
from fedkd.privacy.secure_sum.masks import commitment, pair_mask, self_mask
from fedkd.privacy.secure_sum.messages import (
    SIGNATURE,
    bytes_of,
    check_signature,
    fields_of,
    ids,
    ids_of,
    named,
    rows_of,
    words_of,
)
from fedkd.privacy.secure_sum.roster import Keys, Roster
from fedkd.privacy.secure_sum.shares import LIMBS, PRIME, combine
from fedkd.privacy.secure_sum.terms import Phase, Session, Terms

Answer = tuple[int, object]
"""A client, and its message, whatever that may be, or the reason why there is none, a text."""


@dataclass(frozen=True)
class Dropout:
    """A client that is out of a secure sum, from which step on, and why."""

    client: int
    phase: Phase
    reason: str


class SecureServer:
    """What the server knows of one secure sum over vectors of ``size`` words.

    Each ``take_...`` reads the answers to one step, in any order, and drops the clients whose answers are missing or
    not acceptable; it raises ``ProtocolError`` when fewer than the threshold are left. Each ``..._request`` is what the
    clients that are left are sent for the next step. A second answer of a client is ignored, and noted among
    ``rejected`` with all others that were not acceptable.

    What it holds of a client's vector is what the client sent: the vector under its masks, added up on arrival.
    """

    def __init__(self, terms: Terms, directory: Directory, size: int) -> None:
        self._terms, self._directory, self._size = terms, directory, size
        self._roster = Roster({}, {})
        self._commitments: dict[int, bytes] = {}
        self._sealed: dict[int, dict[int, bytes]] = {}
        self._sum = np.zeros(size, dtype=np.uint32)
        self._confirmations: dict[int, bytes] = {}
        self._revealed: dict[int, tuple[Words, Words]] = {}
        self.survivors: tuple[int, ...] = ()
        self.dropouts: list[Dropout] = []
        self.rejected: list[Dropout] = []
        self.alive: tuple[int, ...] = terms.clients

    def take_keys(self, answers: Iterable[Answer]) -> None:
        """Step 1: the clients' keys."""
        keys, signatures = {}, {}

        def read(client: int, message: Arrays) -> None:
            found = Keys.read(self._terms, client, message, self._directory)
            keys[client], signatures[client] = found, message[SIGNATURE].tobytes()

        self._take("advertise", answers, read)
        self._roster = Roster(keys, signatures)

    def share_request(self) -> Arrays:
        """Step 2, to all: everybody's keys."""
        return self._roster.to_arrays()

    def take_shares(self, answers: Iterable[Answer]) -> None:
        """Step 2: the sealed shares, which the server hands on and cannot read."""
        expected = set(self._roster.keys)

        def read(client: int, message: Arrays) -> None:
            self._check(client, "share", message)
            recipients = ids_of(message, "recipients")
            if set(recipients) != expected - {client}:
                raise ProtocolError("shares must be for all other clients of the roster")
            sealed = bytes_of(message, "sealed", (len(recipients), SEALED_BYTES))
            self._commitments[client] = bytes_of(message, "commitment", (KEY_BYTES,)).tobytes()
            self._sealed[client] = {each: box.tobytes() for each, box in zip(recipients, sealed, strict=True)}

        self._take("share", answers, read)

    def leave_out(self, clients: Collection[int]) -> None:
        """Go on without some clients that have shared their secrets, as if they had dropped out."""
        for client in sorted(clients):
            self.dropouts.append(Dropout(client, "mask", "left out: the sum was begun without it"))
        self.alive = tuple(client for client in self.alive if client not in clients)
        self._terms.require_enough(len(self.alive), "are left")

    def mask_request(self, client: int) -> Arrays:
        """Step 3, to one client: the shares that the others sealed for it."""
        senders = [each for each in sorted(self._sealed) if each != client]
        sealed = [self._sealed[sender][client] for sender in senders]
        return named(senders=ids(senders), sealed=rows_of(sealed, SEALED_BYTES))

    def take_masked(self, answers: Iterable[Answer]) -> None:
        """Step 3: the vectors under their masks."""

        def read(client: int, message: Arrays) -> None:
            self._check(client, "mask", message)
            self._sum += words_of(message, "masked", (self._size,))

        self._take("mask", answers, read)
        self.survivors = self.alive

    def confirm_request(self) -> Arrays:
        """Step 4, to all: whose vectors are in the sum."""
        return named(survivors=ids(self.survivors))

    def take_confirmations(self, answers: Iterable[Answer]) -> None:
        """Step 4: signatures on that list."""

        def read(client: int, message: Arrays) -> None:
            if ids_of(message, "survivors") != self.survivors:
                raise ProtocolError("another list of survivors was confirmed")
            self._check(client, "confirm", message)
            self._confirmations[client] = message[SIGNATURE].tobytes()

        self._take("confirm", answers, read)

    def unmask_request(self) -> Arrays:
        """Step 5, to all: who confirmed, and which shares are needed."""
        confirmed = sorted(self._confirmations)
        return named(
            survivors=ids(self.survivors),
            dropouts=ids(self._lost),
            confirmed=ids(confirmed),
            signatures=rows_of([self._confirmations[each] for each in confirmed], SIGNATURE_BYTES),
        )

    def take_revealed(self, answers: Iterable[Answer]) -> None:
        """Step 5: for every client one of its two secrets, in shares."""

        def read(client: int, message: Arrays) -> None:
            self._check(client, "unmask", message)
            secrets = words_of(message, "secrets", (len(self.survivors), LIMBS))
            keys = words_of(message, "keys", (len(self._lost), LIMBS))
            if max(int(part.max(initial=0)) for part in (secrets, keys)) >= PRIME:
                raise ProtocolError(f"shares must be below {PRIME}")
            self._revealed[client] = secrets, keys

        self._take("unmask", answers, read)

    def total(self) -> Words:
        """The sum of the survivors' vectors, ``[size]``; raises ``ProtocolError`` where shares belong to no secret."""
        session, chosen = self._session, sorted(self._revealed)[: self._terms.threshold]
        self._terms.require_enough(len(chosen), "revealed their shares")
        total = self._sum.copy()
        secrets = _combined([self._revealed[each][0] for each in chosen], chosen, self.survivors)
        for client, secret in secrets.items():
            if secret is None or commitment(session, client, secret) != self._commitments[client]:
                raise ProtocolError(f"the shares of client {client}'s self mask do not give what it committed to")
            total -= self_mask(session, client, secret, self._size)
        keys = _combined([self._revealed[each][1] for each in chosen], chosen, self._lost)
        for client, key in keys.items():
            if key is None or public_key(key) != self._roster.keys[client].masking:
                raise ProtocolError(f"the shares of client {client}'s masking key do not give the key it advertised")
            for survivor in self.survivors:
                # The survivor added the negative of what the lost client would have.
                public = self._roster.keys[survivor].masking
                total += pair_mask(session, client, key, survivor, public, self._size)
        return total

    @property
    def _session(self) -> Session:
        return self._roster.session(self._terms)

    @property
    def _lost(self) -> tuple[int, ...]:
        """The clients that shared their secrets and whose vectors are missing."""
        return tuple(sorted(set(self._sealed) - set(self.survivors)))

    def _check(self, client: int, phase: Phase, message: Arrays) -> None:
        check_signature(message, client, self._directory, self._session.label(phase, client))

    def _take(self, phase: Phase, answers: Iterable[Answer], read: Callable[[int, Arrays], None]) -> None:
        accepted: set[int] = set()
        reasons: dict[int, str] = {}
        for client, message in answers:
            try:
                self._read_one(phase, client, message, accepted, read)
            except ProtocolError as error:
                if isinstance(message, str):
                    reasons.setdefault(client, message)
                else:
                    reasons.setdefault(client, str(error))
                    self.rejected.append(Dropout(client, phase, str(error)))
        for client in self.alive:
            if client not in accepted:
                self.dropouts.append(Dropout(client, phase, reasons.get(client, "sent nothing")))
        self.alive = tuple(client for client in self.alive if client in accepted)
        self._terms.require_enough(len(self.alive), f"are left after the step {phase}")

    def _read_one(
        self,
        phase: Phase,
        client: int,
        message: object,
        accepted: set[int],
        read: Callable[[int, Arrays], None],
    ) -> None:
        if isinstance(message, str):
            raise ProtocolError(message)
        if client not in self.alive:
            raise ProtocolError("answered without having been asked")
        if client in accepted:
            raise ProtocolError("answered more than once")
        read(client, fields_of(message, phase))
        accepted.add(client)


def _combined(shares: list[Words], owners: Collection[int], clients: tuple[int, ...]) -> Mapping[int, bytes | None]:
    """The clients' secrets from the owners' shares ``[clients, 16]``."""
    if not clients:
        return {}
    return dict(zip(clients, combine(list(owners), np.stack(shares, axis=1).astype(np.int64)), strict=True))
