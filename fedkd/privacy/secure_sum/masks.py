"""The masks that hide a vector."""

from fedkd.privacy.secure_sum._primitives import agree, derive, mask
from fedkd.privacy.secure_sum.fixed_point import Words
from fedkd.privacy.secure_sum.terms import Session


def pair_mask(session: Session, own: int, private: bytes, other: int, public: bytes, size: int) -> Words:
    """What ``own`` adds for its pair with ``other``, and ``other`` the negative of: together they are nothing.

    ``private`` is the masking key of ``own``, ``public`` that of ``other``.
    """
    key = derive(agree(private, public), session.key_info("pair mask", min(own, other), max(own, other)))
    words = mask(key, size)
    return words if own < other else -words


def self_mask(session: Session, client: int, secret: bytes, size: int) -> Words:
    """What a client adds besides, so that its vector stays hidden should it come after its pair masks are known."""
    return mask(derive(secret, session.key_info("self mask", client, client)), size)


def commitment(session: Session, client: int, secret: bytes) -> bytes:
    """What a client says of the secret of its own mask, so that false shares of it are noticed."""
    return derive(secret, session.key_info("commitment", client, client))
