"""The client's side: local training, and what a client answers."""

from fedkd.client.behaviour import AdversaryView, ClientBehaviour
from fedkd.client.cohort import performer
from fedkd.client.context import LocalWork
from fedkd.client.round import perform
from fedkd.client.rule import ClientRule, Upload
from fedkd.core.messages import parameter_prefix

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
