"""Doing one client's share of a job, the same way in every engine."""

import importlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from fedkd.types import Job, Outcome

Performer = Callable[[Job, int], Outcome]

LOCAL_PERFORMER = "fedkd.local:perform"
"""Import path of the function that does a client's work."""


def load_performer(path: str) -> Performer:
    """The function at ``module:function``; raises ``ImportError`` or ``AttributeError`` when there is none."""
    module, _, name = path.partition(":")
    performer: Any = getattr(importlib.import_module(module), name)
    return performer  # type: ignore[no-any-return]


def warm_up(path: str) -> None:
    """Load what a performer needs, which takes seconds once per process; what goes wrong shows when it is used."""
    with suppress(Exception):
        load_performer(path)


def attempt(performer: Performer, job: Job, client: int) -> Outcome:
    """The client's outcome; whatever it raises becomes its ``error``, so that it harms no other client.

    Of the personal arrays it is given its own only.
    """
    own = {client: job.personal[client]} if client in job.personal else {}
    try:
        outcome = performer(replace(job, personal=own), client)
    except (Exception, SystemExit) as error:
        return Outcome(client, error=describe(error))
    if outcome.client != client:
        return Outcome(client, error=f"ValueError: answered as client {outcome.client}")
    return outcome


def describe(error: BaseException) -> str:
    """``ValueError: message``, or the type alone when there is no message."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
