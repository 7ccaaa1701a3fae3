"""The client's side: local training, and what a client answers."""

from fedkd.local._behaviour import ClientBehaviour, LocalWork
from fedkd.local.perform import perform

__all__ = ["ClientBehaviour", "LocalWork", "perform"]
