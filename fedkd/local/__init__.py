"""The client's side: local training, and what a client answers."""

from fedkd.local._adversary import AdversaryView
from fedkd.local._behaviour import ClientBehaviour
from fedkd.local._rule import ClientRule, Upload
from fedkd.local._work import LocalWork, parameter_prefix
from fedkd.local.perform import perform
from fedkd.local.together import performer

__all__ = [
    "AdversaryView",
    "ClientBehaviour",
    "ClientRule",
    "LocalWork",
    "Upload",
    "parameter_prefix",
    "perform",
    "performer",
]
