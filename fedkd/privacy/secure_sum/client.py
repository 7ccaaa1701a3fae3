"""A client's side of a secure sum, step by step."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fedkd.core.messages import Arrays
from fedkd.privacy.secure_sum._errors import ProtocolError
from fedkd.privacy.secure_sum._primitives import KEY_BYTES, TAG_BYTES, agree, derive, public_key, seal, unseal
from fedkd.privacy.secure_sum.entropy import Entropy
from fedkd.privacy.secure_sum.fixed_point import Words
from fedkd.privacy.secure_sum.identities import SIGNATURE_BYTES, Directory, Identity
from fedkd.privacy.secure_sum.masks import commitment, pair_mask, self_mask
from fedkd.privacy.secure_sum.messages import as_bytes, bytes_of, check_signature, ids, ids_of, named, rows_of, signed
from fedkd.privacy.secure_sum.roster import Keys, Roster, advertise_label
from fedkd.privacy.secure_sum.shares import LIMBS, SECRET_BYTES, split
from fedkd.privacy.secure_sum.terms import PHASES, Phase, Session, Terms

SEALED_BYTES = 2 * LIMBS * 4 + TAG_BYTES
"""A share of each of a client's two secrets, and the tag that makes it its sender's."""


class ClientSession:
    """What a client knows of one secure sum. Each step can be taken once, in order; ``state`` survives in between.

    The client checks everything it is asked, since the server is not trusted: keys are signed by clients of the round;
    shares come from whom they are said to come from; at least ``threshold`` clients are left, and say so of the same
    list; and of no client both kinds of shares are given away. Every method raises ``ProtocolError`` for a request that
    fails a check. Keep ``state`` before an answer is sent, lest a step be taken twice.
    """

    def __init__(self, terms: Terms, client: int, identity: Identity, directory: Directory, entropy: Entropy) -> None:
        if client not in terms.clients:
            raise ProtocolError(f"client {client} does not take part in round {terms.round}")
        self._terms, self._client = terms, client
        self._identity, self._directory, self._entropy = identity, directory, entropy
        self._done = 0
        self._sealing = entropy.draw("sealing key", KEY_BYTES)
        self._masking = entropy.draw("masking key", KEY_BYTES)
        self._secret = entropy.draw("self mask", SECRET_BYTES)
        self._roster: Roster | None = None
        self._shares: dict[int, bytes] = {}
        self._survivors: tuple[int, ...] = ()

    def advertise(self) -> Arrays:
        """The client's public keys of this round, signed."""
        self._require("advertise")
        self._done += 1
        message = self._keys.to_arrays()
        return signed(message, self._identity, advertise_label(self._terms, self._client))

    def share(self, request: Arrays) -> Arrays:
        """Shares of the client's secrets for every client of the roster, each sealed for its owner."""
        self._require("share")
        roster = Roster.read(self._terms, request, self._directory)
        if roster.keys.get(self._client) != self._keys:
            raise ProtocolError(f"the roster does not have the keys that client {self._client} advertised")
        self._roster = roster
        self._done += 1
        session, owners, threshold = roster.session(self._terms), sorted(roster.keys), self._terms.threshold
        of_secret = split(self._secret, owners, threshold, self._entropy, "shares of the self mask")
        of_key = split(self._masking, owners, threshold, self._entropy, "shares of the masking key")
        contents = {
            owner: np.stack([one, other]).astype("<u4").tobytes()
            for owner, one, other in zip(owners, of_secret, of_key, strict=True)
        }
        self._shares = {self._client: contents.pop(self._client)}
        sealed = [
            seal(self._pair_key(session, self._client, owner), content, session.label("share", self._client, owner))
            for owner, content in contents.items()
        ]
        message = named(
            recipients=ids(contents),
            sealed=rows_of(sealed, SEALED_BYTES),
            commitment=as_bytes(commitment(session, self._client, self._secret)),
        )
        return self._signed(session, "share", message)

    def mask(self, request: Arrays, vector: Callable[[], Words]) -> Arrays:
        """The client's vector under its masks; ``vector`` is asked for it once the request has passed all checks."""
        self._require("mask")
        session = self._session
        senders = ids_of(request, "senders")
        if self._client in senders or not set(senders) <= set(self._known):
            raise ProtocolError(f"shares must come from other clients of the roster, got {senders}")
        self._terms.require_enough(len(senders) + 1, "shared their secrets")
        sealed = bytes_of(request, "sealed", (len(senders), SEALED_BYTES))
        found = {}
        for sender, box in zip(senders, sealed, strict=True):
            label = session.label("share", sender, self._client)
            content = unseal(self._pair_key(session, sender, self._client), box.tobytes(), label)
            if content is None:
                raise ProtocolError(f"the shares said to be client {sender}'s are not what it sealed for this round")
            found[sender] = content
        hidden = vector()
        self._shares |= found
        self._done += 1
        hidden = hidden + self_mask(session, self._client, self._secret, hidden.size)
        for sender in senders:
            other = self._known[sender].masking
            hidden += pair_mask(session, self._client, self._masking, sender, other, hidden.size)
        return self._signed(session, "mask", named(masked=hidden))

    def confirm(self, request: Arrays) -> Arrays:
        """The client's signature on the list of those whose vectors the server has."""
        self._require("confirm")
        survivors = ids_of(request, "survivors")
        if self._client not in survivors or not set(survivors) <= set(self._shares):
            raise ProtocolError(f"survivors must be clients that shared, client {self._client} among them: {survivors}")
        self._terms.require_enough(len(survivors), "are said to be left")
        self._survivors = survivors
        self._done += 1
        return self._signed(self._session, "confirm", named(survivors=ids(survivors)))

    def unmask(self, request: Arrays) -> Arrays:
        """Shares of the self masks of those who are left and of the masking keys of those who are not."""
        self._require("unmask")
        session = self._session
        survivors, dropouts = ids_of(request, "survivors"), ids_of(request, "dropouts")
        if both := set(survivors) & set(dropouts):
            raise ProtocolError(f"both kinds of shares are asked for of clients {sorted(both)}")
        if survivors != self._survivors:
            raise ProtocolError("the survivors are not those that this client confirmed")
        if set(survivors) | set(dropouts) != set(self._shares):
            raise ProtocolError("survivors and dropouts together must be all clients that shared")
        confirmed = ids_of(request, "confirmed")
        signatures = bytes_of(request, "signatures", (len(confirmed), SIGNATURE_BYTES))
        if not set(confirmed) <= set(survivors):
            raise ProtocolError("only survivors can confirm who is left")
        self._terms.require_enough(len(confirmed), "confirmed who is left")
        for client, signature in zip(confirmed, signatures, strict=True):
            message = named(survivors=ids(survivors), signature=signature)
            check_signature(message, client, self._directory, session.label("confirm", client))
        self._done += 1
        return self._signed(session, "unmask", named(secrets=self._held(survivors, 0), keys=self._held(dropouts, 1)))

    @property
    def survivors(self) -> tuple[int, ...]:
        """Whom the client has confirmed to be in the sum."""
        return self._survivors

    @property
    def state(self) -> dict[str, Any]:
        """What has to be kept between steps, of types that JSON has. Secret."""
        return {
            "done": self._done,
            "sealing": self._sealing.hex(),
            "masking": self._masking.hex(),
            "secret": self._secret.hex(),
            "keys": {str(each): [keys.sealing.hex(), keys.masking.hex()] for each, keys in self._known.items()},
            "shares": {str(sender): content.hex() for sender, content in self._shares.items()},
            "survivors": list(self._survivors),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what ``state`` returned."""
        self._done = state["done"]
        self._sealing, self._masking, self._secret = (
            bytes.fromhex(state[name]) for name in ("sealing", "masking", "secret")
        )
        keys = {int(each): Keys(*map(bytes.fromhex, pair)) for each, pair in state["keys"].items()}
        # Signatures were checked when the roster came, and are not needed again.
        self._roster = Roster(keys, dict.fromkeys(keys, bytes(SIGNATURE_BYTES))) if keys else None
        self._shares = {int(sender): bytes.fromhex(content) for sender, content in state["shares"].items()}
        self._survivors = tuple(state["survivors"])

    @property
    def _keys(self) -> Keys:
        return Keys(public_key(self._sealing), public_key(self._masking))

    @property
    def _known(self) -> dict[int, Keys]:
        return {} if self._roster is None else dict(self._roster.keys)

    @property
    def _session(self) -> Session:
        if self._roster is None:
            raise ProtocolError("there is no roster yet")
        return self._roster.session(self._terms)

    def _require(self, phase: Phase) -> None:
        index = PHASES.index(phase)
        if self._done > index:
            raise ProtocolError(f"client {self._client} has answered {phase} already, and answers once")
        if self._done < index:
            raise ProtocolError(f"{phase} was asked before {PHASES[self._done]}")

    def _pair_key(self, session: Session, sender: int, recipient: int) -> bytes:
        other = recipient if sender == self._client else sender
        secret = agree(self._sealing, self._known[other].sealing)
        return derive(secret, session.key_info("sealed shares", sender, recipient))

    def _held(self, clients: tuple[int, ...], kind: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
        """The shares of one kind that this client holds, ``[clients, 16]``."""
        rows = [np.frombuffer(self._shares[each], dtype="<u4").reshape(2, LIMBS)[kind] for each in clients]
        return np.stack(rows).astype(np.uint32) if rows else np.zeros((0, LIMBS), dtype=np.uint32)

    def _signed(self, session: Session, phase: Phase, message: Arrays) -> Arrays:
        return signed(message, self._identity, session.label(phase, self._client))
