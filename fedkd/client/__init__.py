"""The client's side: local training, and what a client answers."""

from fedkd.client.behaviour import AdversaryView, ClientBehaviour
from fedkd.client.cohort import client_fn
from fedkd.client.context import ClientContext
from fedkd.client.round import perform
from fedkd.client.rule import ClientRule, Upload
from fedkd.core.messages import parameter_prefix

__all__ = [
    "AdversaryView",
    "ClientBehaviour",
    "ClientRule",
    "ClientContext",
    "Upload",
    "parameter_prefix",
    "perform",
    "client_fn",
]
