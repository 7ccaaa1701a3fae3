"""The process that speaks to Ray: it starts one or attaches to one, and hands cohorts to the machines' actors.

    python -m fedkd.engines.ray.driver CONNECTION ADDRESS|local [verbose]

It is what Ray calls a driver. That the simulation's own process is none lets Ray start while that loads everything
else, and keeps Ray's threads, signal handlers and sudden ends out of it. ``CONNECTION`` is the number of the file
through which that process speaks to it, and whose end stops it.
"""

import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from fedkd.core.errors import RunError
from fedkd.engines.ray import cluster
from fedkd.engines.ray.machine import Machine
from fedkd.engines.ray.protocol import Begin

DIED = "the worker process died"

AHEAD = 2
"""Cohorts that a machine is sent per worker: one that it works on, and one that lies ready for it then."""


@dataclass(eq=False)
class _Actor:
    handle: Any
    workers: int
    gpus: int
    free: int = 0
    lost: bool = False


class Driver:
    """Speaks to Ray on behalf of who is at the other end of ``connection``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._actors: list[_Actor] = []
        self._events: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._job: tuple[int, Any] = (0, None)

    def begin(self, asked: Begin) -> tuple[int, int]:
        """Start the workers: how many there are, and how many GPUs; raises ``RunError`` when one cannot work."""
        import ray

        self._actors = [_actor(node, asked) for node in _machines()]
        opened = [actor.handle.open.remote() for actor in self._actors]
        try:
            reasons = [reason for reason in ray.get(opened, timeout=asked.seconds) if reason]
        except ray.exceptions.GetTimeoutError:
            raise RunError(
                f"the workers did not start within {asked.seconds:g} s; free some cores, or lower engine.workers"
            ) from None
        except ray.exceptions.RayError as error:
            raise RunError(f"a worker cannot start: {error}") from error
        if reasons:
            raise RunError(f"a worker cannot start: {reasons[0]}")
        return sum(actor.workers for actor in self._actors), sum(actor.gpus for actor in self._actors)

    def serve(self) -> None:
        """Do what is asked until nobody is there any more, or no machine to do it."""
        threading.Thread(target=self._listen, daemon=True).start()
        while self._actors and (event := self._events.get())[0] != "end":
            getattr(self, f"_{event[0]}")(*event[1:])
            while self._waiting and (actor := self._idlest()) is not None:
                self._send(actor, *self._waiting.popleft())

    def close(self) -> None:
        """End the workers."""
        import ray

        with suppress(Exception):  # a machine may be gone
            ray.get([actor.handle.close.remote() for actor in self._actors], timeout=5)

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._events.put(self._connection.recv())
        self._events.put(("end",))

    def _idlest(self) -> _Actor | None:
        found = max(self._actors, key=lambda actor: actor.free, default=None)
        return found if found is not None and found.free > 0 else None

    def _begin_job(self, number: int, job: bytes) -> None:
        import ray

        self._waiting.clear()
        self._job = number, ray.put(job)

    def _cohort(self, number: int, content: bytes) -> None:
        self._waiting.append((number, content))

    def _send(self, actor: _Actor, number: int, content: bytes) -> None:
        actor.free -= 1
        done = actor.handle.perform.remote(*self._job, content).future()
        done.add_done_callback(lambda found: self._events.put(("done", actor, number, found)))

    def _done(self, actor: _Actor, number: int, found: Any) -> None:
        reason = f"{DIED} ({type(found.exception()).__name__})" if found.exception() else DIED
        content = None if found.exception() else found.result()
        with suppress(OSError):
            self._connection.send((number, content is not None, reason))
            if content is not None:  # as it is, for pickling would copy it
                self._connection.send_bytes(content)
        if found.exception() is None:
            actor.free += 1
        elif not actor.lost:
            # The actor itself is gone; Ray puts another in its place as soon as its machine is there.
            actor.lost, actor.free = True, 0
            again = actor.handle.open.remote().future()
            again.add_done_callback(lambda opened: self._events.put(("back", actor, opened)))

    def _back(self, actor: _Actor, opened: Any) -> None:
        if opened.exception() is None:
            actor.lost, actor.free = False, AHEAD * actor.workers
        else:
            self._actors.remove(actor)

    def _replace_busy(self) -> None:
        """Waits, lest it end a worker that is at the next job by then."""
        import ray

        with suppress(Exception):  # a machine may be gone
            ray.get([actor.handle.replace_busy.remote() for actor in self._actors], timeout=5)


def _machines() -> list[dict[str, Any]]:
    """The nodes of the cluster that have cores for workers; raises ``RunError`` where none has."""
    import ray

    known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = [node for node in known if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    if not nodes:
        raise RunError("engine.address: the Ray cluster offers no CPUs; start it with some")
    return nodes


def _actor(node: dict[str, Any], asked: Begin) -> _Actor:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    cores, gpus = int(node["Resources"]["CPU"]), int(node["Resources"].get("GPU", 0))
    workers = cores if asked.workers is None else asked.workers
    gpus = gpus if asked.gpus is None else 0
    options = ray.remote(Machine).options(
        num_cpus=cores,
        num_gpus=gpus,
        max_concurrency=AHEAD * workers + 2,
        max_restarts=-1,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
    )
    handle = options.remote(workers, asked.client_fn, asked.path, asked.gpus)
    return _Actor(handle, workers, gpus if asked.gpus is None else len(asked.gpus), free=AHEAD * workers)


def main(arguments: Sequence[str]) -> int:
    """Start Ray or attach to it, start the workers, and serve."""
    connection, address, verbose = Connection(int(arguments[0])), arguments[1], "verbose" in arguments[2:]
    driver = Driver(connection)
    try:
        if address == "local":
            cluster.start_ray(cpus=1, verbose=verbose)
        else:
            cluster.attach_ray(address, verbose=verbose)
        connection.send(("started", *driver.begin(connection.recv())))
        driver.serve()
        driver.close()
    except RunError as error:
        connection.send(("failed", str(error)))
    except (EOFError, OSError):
        pass  # nobody is there any more
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    import ray

    ray.shutdown()
    os._exit(status)
