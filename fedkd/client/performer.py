"""Doing one client's share of a job, the same way in every engine."""

import importlib
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from fedkd.core.errors import HomeError
from fedkd.core.faults import users_line
from fedkd.core.messages import Job, Reply
from fedkd.core.texts import shown_value

ClientFn = Callable[[Job, int], Reply]

CLIENT_FN = "fedkd.client:client_fn"
"""Import path of what does a client's work."""


@runtime_checkable
class CohortClientFn(Protocol):
    """A performer that can also do the work of several clients at once."""

    def __call__(self, job: Job, client: int) -> Reply:
        """One client's reply; may raise anything."""

    def parts(self, job: Job, clients: Sequence[int]) -> list[tuple[int, ...]]:
        """The clients, in their order, in parts that are worked on at once; may raise anything."""

    def together(self, job: Job, clients: Sequence[int]) -> list[Reply]:
        """The replies of a part, in its order; what a client raises is its ``error``."""


MESSAGE_LENGTH = 200
"""Characters of an error's message before the line that it came through; longer reasons may be cut on their way."""

TRACEBACK_LENGTH = 8000
"""Characters of a traceback that are handed over."""


def load_client_fn(path: str) -> ClientFn:
    """The function at ``module:function``; raises ``ImportError`` or ``AttributeError`` when there is none."""
    module, _, name = path.partition(":")
    client_fn: Any = getattr(importlib.import_module(module), name)
    return client_fn  # type: ignore[no-any-return]


def warm_up(path: str) -> None:
    """Load what a performer needs, which takes seconds once per process; what goes wrong shows when it is used."""
    with suppress(Exception):
        load_client_fn(path)


def attempt(client_fn: ClientFn, job: Job, client: int) -> Reply:
    """The client's reply; whatever it raises becomes its ``error``, so that it harms no other client.

    Of the personal arrays it is given its own only.
    """
    own = {client: job.personal[client]} if client in job.personal else {}
    try:
        return replace(_signed(client_fn(replace(job, personal=own), client), client), traceback="")
    except (Exception, SystemExit) as error:
        told = located(error) if job.host is None or job.host.home is None else discreet(error)
        return Reply(client, error=told, traceback=_traceback(error))


def attempt_all(
    client_fn: ClientFn, job: Job, clients: Sequence[int], *, awaited: Callable[[], bool] = lambda: True
) -> Iterator[Reply]:
    """The replies of clients, in their order, as ``attempt`` gives them; several at once where the performer can.

    Before each client, or each part that is worked on at once, ``awaited`` says whether anybody still wants an answer.
    """
    for part in _parts(client_fn, job, clients):
        if not awaited():
            yield from (Reply(client, error="the round's time was over before this client's turn") for client in part)
        elif len(part) > 1 and isinstance(client_fn, CohortClientFn):
            yield from (
                _signed(reply, client) for reply, client in zip(client_fn.together(job, part), part, strict=True)
            )
        else:
            yield from (attempt(client_fn, job, client) for client in part)


def _signed(reply: object, client: int) -> Reply:
    """What a client answered, if it is a reply, and the client's own; else why it is not."""
    if type(reply) is not Reply:
        return Reply(client, error=f"ValueError: answered with {type(reply).__name__} instead of a reply")
    if type(reply.client) is not int or reply.client != client:
        return Reply(client, error=f"ValueError: answered as client {shown_value(reply.client)}")
    return reply


def _parts(client_fn: ClientFn, job: Job, clients: Sequence[int]) -> list[tuple[int, ...]]:
    if isinstance(client_fn, CohortClientFn):
        # What is wrong with the job itself, every client will say.
        with suppress(Exception):
            return client_fn.parts(job, clients)
    return [(client,) for client in clients]


def describe(error: BaseException) -> str:
    """``ValueError: message``, or the type alone when there is no message."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def located(error: BaseException) -> str:
    """As ``describe``, with the line of the user's own that it came through: ``ValueError: message (FILE:LINE)``."""
    line = users_line(error)
    return describe(error) if line is None else f"{describe(error)[:MESSAGE_LENGTH]} ({line})"


def discreet(error: BaseException) -> str:
    """What may be told of an error where private data are at home: its type and where it was raised, not its words."""
    if isinstance(error, HomeError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}; the log of its node says more"


def _traceback(error: BaseException) -> str:
    """The end of it, for what happened last stands there."""
    return "".join(traceback.format_exception(error))[-TRACEBACK_LENGTH:]
