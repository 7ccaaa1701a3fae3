"""The clients of a round and their public keys."""

from collections.abc import Mapping
from dataclasses import dataclass

from fedkd.core.messages import Arrays
from fedkd.privacy.secure_sum._errors import ProtocolError
from fedkd.privacy.secure_sum._primitives import KEY_BYTES
from fedkd.privacy.secure_sum.identities import SIGNATURE_BYTES, Directory
from fedkd.privacy.secure_sum.messages import as_bytes, bytes_of, check_signature, digest, ids, ids_of, named, rows_of
from fedkd.privacy.secure_sum.terms import Session, Terms


@dataclass(frozen=True)
class Keys:
    """A client's two public keys of a round: one for sealing shares, one for masks."""

    sealing: bytes
    masking: bytes

    def to_arrays(self) -> Arrays:
        """The message that advertises them, without a signature."""
        return named(keys=as_bytes(self.sealing + self.masking))

    @classmethod
    def read(cls, terms: Terms, client: int, message: Arrays, directory: Directory) -> "Keys":
        """What ``client`` advertised; raises ``ProtocolError`` unless it is signed by it, for this round and run."""
        raw = bytes_of(message, "keys", (2 * KEY_BYTES,)).tobytes()
        check_signature(message, client, directory, advertise_label(terms, client))
        return cls(raw[:KEY_BYTES], raw[KEY_BYTES:])


@dataclass(frozen=True)
class Roster:
    """The keys of all clients that advertised some, and the signatures they came with."""

    keys: Mapping[int, Keys]
    signatures: Mapping[int, bytes]

    def to_arrays(self) -> Arrays:
        """The message to all clients."""
        clients = sorted(self.keys)
        return named(
            clients=ids(clients),
            keys=rows_of([self.keys[each].sealing + self.keys[each].masking for each in clients], 2 * KEY_BYTES),
            signatures=rows_of([self.signatures[each] for each in clients], SIGNATURE_BYTES),
        )

    @classmethod
    def read(cls, terms: Terms, message: Arrays, directory: Directory) -> "Roster":
        """What the server sent; raises ``ProtocolError`` unless every key is signed by a client of the round."""
        clients = ids_of(message, "clients")
        if strangers := set(clients) - set(terms.clients):
            raise ProtocolError(f"clients {sorted(strangers)} do not take part in round {terms.round}")
        terms.require_enough(len(clients), "advertised keys")
        keys = bytes_of(message, "keys", (len(clients), 2 * KEY_BYTES))
        signatures = bytes_of(message, "signatures", (len(clients), SIGNATURE_BYTES))
        found, signed = {}, {}
        for client, own, signature in zip(clients, keys, signatures, strict=True):
            found[client] = Keys.read(terms, client, named(keys=own, signature=signature), directory)
            signed[client] = signature.tobytes()
        distinct = {key for each in found.values() for key in (each.sealing, each.masking)}
        if len(distinct) < 2 * len(found):
            raise ProtocolError("two clients advertised the same key")
        return cls(found, signed)

    def session(self, terms: Terms) -> Session:
        """The terms, tied to these keys."""
        arrays = self.to_arrays()
        return terms.session(digest({name: array for name, array in arrays.items() if "signatures" not in name}))

    def __contains__(self, client: int) -> bool:
        return client in self.keys

    def __len__(self) -> int:
        return len(self.keys)


def advertise_label(terms: Terms, client: int) -> bytes:
    """What an advertisement is signed under."""
    return terms.label("advertise", client)
