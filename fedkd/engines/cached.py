"""An engine that takes clients' replies from the cache where they are there, and keeps those that it has worked for."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from fedkd.core.messages import Arrays, Job, Measurement, Reply
from fedkd.engines import Engine
from fedkd.results.cache import Cache


@dataclass(frozen=True)
class SharedJobs:
    """Which jobs are done once for all who ask the same.

    ``asked`` makes a job of one that holds nothing that a client's reply does not follow from (None: it is not shared),
    ``keys`` the keys of clients' replies to that. ``sound`` is whether replies may still be kept.
    """

    asked: Callable[[Job], Job | None]
    keys: Callable[[Job, Sequence[int]], Mapping[int, str]]
    sound: Callable[[], bool]


class CachedEngine:
    """Has ``engine`` do what the cache does not have, ``at_once`` clients in one go (None: all that there are).

    Clients are given what ``jobs`` makes of a shared job, whether the cache has their reply or not. One that another
    process is at work on comes last, and is then there.
    """

    def __init__(self, engine: Engine, cache: Cache, jobs: SharedJobs, at_once: int | None) -> None:
        self._engine, self._cache, self._jobs, self._at_once = engine, cache, jobs, at_once

    def __enter__(self) -> Self:
        self._engine.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.__exit__(kind, error, trace)

    def run(self, job: Job, clients: Sequence[int]) -> Iterator[Reply]:
        """One reply per client, those of the cache as it finds them."""
        asked = self._jobs.asked(job)
        if asked is None:
            yield from self._engine.run(job, clients)
            return
        keys = self._jobs.keys(asked, clients)
        size, later = self._at_once or max(len(clients), 1), list[int]()
        for begin in range(0, len(clients), size):
            later += yield from self._share(asked, keys, clients[begin : begin + size], wait=False)
        for client in later:  # one at a time: nobody waits for others while others may wait for him
            yield from self._share(asked, keys, (client,), wait=True)

    def _share(
        self, job: Job, keys: Mapping[int, str], clients: Sequence[int], *, wait: bool
    ) -> Generator[Reply, None, list[int]]:
        """The replies of the clients that nobody else is at work on; returns the others."""
        with ExitStack() as claims:
            free = [each for each in clients if claims.enter_context(self._cache.claim(keys[each], wait=wait))]
            missing = []
            for client in free:
                if (content := self._cache.load(keys[client])) is None:
                    missing.append(client)
                else:
                    yield _reply_of(client, content)
            for reply in self._engine.run(job, missing) if missing else ():
                if reply.ok and reply.client in missing and self._jobs.sound():
                    self._keep(keys[reply.client], reply)
                yield reply
        return [client for client in clients if client not in free]

    def _keep(self, key: str, reply: Reply) -> None:
        if (content := _content_of(reply)) is not None:
            self._cache.save(key, content)


def _content_of(reply: Reply) -> dict[str, Any] | None:
    """A reply as tensors and plain values; None for one with anything else in it, which the server will refuse."""
    measured = reply.measured
    numbers = {} if measured is None else {name: getattr(measured, name) for name in _SHARES}
    plain = {"round": reply.round, "examples": reply.examples, "public_digest": reply.public_digest}
    if not all(value is None or type(value) in {int, float, str} for value in (*plain.values(), *numbers.values())):
        return None
    try:
        found = None if measured is None else numbers | _tensors(measured.arrays)
        return {**plain, "arrays": _tensors(reply.arrays), "measured": found}
    except TypeError:
        return None


def _reply_of(client: int, content: Mapping[str, Any]) -> Reply:
    measured = content["measured"]
    return Reply(
        client,
        _arrays(content["arrays"]),
        round=content["round"],
        examples=content["examples"],
        public_digest=content["public_digest"],
        measured=None if measured is None else Measurement(**_arrays(measured)),
    )


_SHARES = ("validation_accuracy", "test_accuracy")


def _tensors(arrays: Arrays) -> dict[str, Tensor]:
    """Raises ``TypeError`` for what torch has no type for."""
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def _arrays(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.numpy() if isinstance(value, Tensor) else value for name, value in values.items()}
