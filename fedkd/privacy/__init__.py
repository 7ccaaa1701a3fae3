"""Privacy: what happens to a client's logits before they leave it."""

from fedkd.privacy._base import LogitMechanism

__all__ = ["LogitMechanism"]
