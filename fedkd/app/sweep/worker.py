"""A process that runs cells of a sweep, one after another, for the process that started it.

    python -m fedkd.app.sweep.worker HANDLE

``HANDLE`` is its end of the connection: orders come in, an observer's events go out. Its standard input is open for as
long as the other process lives.
"""

import os
import sys
import threading
import time
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from fedkd.app.run import Means, run_experiment
from fedkd.app.sweep.workers import ENDED, Order
from fedkd.core.errors import FedkdError
from fedkd.results.cache import Cache
from fedkd.results.records import Overview, RoundRecord, Summary

SECONDS = 0.1
"""Between two of a stage's reports of progress, of which there may be very many."""


class Relay:
    """An observer that hands everything on."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stage, self._told = "", 0.0

    def started(self, overview: Overview) -> None:
        self._send("started", overview)

    def noticed(self, text: str) -> None:
        self._send("noticed", text)

    def progress(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage != self._stage or done == total or now - self._told >= SECONDS:
            self._stage, self._told = stage, now
            self._send("progress", stage, done, total)

    def round_ended(self, record: RoundRecord, seconds: float) -> None:
        self._send("round_ended", record, seconds)

    def control_ended(self, name: str, accuracy: float) -> None:
        self._send("control_ended", name, accuracy)

    def finished(self, summary: Summary, overview: Overview) -> None:
        self._send("finished", summary, overview)

    def _send(self, name: str, *arguments: object) -> None:
        self._connection.send((name, arguments))


def main() -> None:
    """Run what is asked for until nothing more can come."""
    threading.Thread(target=_end_with_the_other, daemon=True).start()
    if os.environ.get("OMP_NUM_THREADS") == "1":
        torch.set_num_threads(1)
    connection = Connection(int(sys.argv[1]))
    while True:
        try:
            order: Order = connection.recv()
        except EOFError:
            return
        connection.send((ENDED, _error(order, Relay(connection))))


def _error(order: Order, relay: Relay) -> str | None:
    """What keeps the cell from its end, if anything does."""
    planned, means = order.planned, Means(inline=True, cache=order.cache and _cache_at(*order.cache))
    try:
        run_experiment(planned.cell.config, planned.folder, relay, verbose=order.verbose, means=means, resume=True)
    except FedkdError as error:
        return str(error)
    return None


@cache
def _cache_at(folder: str, most_bytes: int) -> Cache:
    return Cache(Path(folder), most_bytes)


def _end_with_the_other() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    main()
