"""Runs experiments in processes that are killed where a plan says; ``interrupted`` talks to it over pipes.

A request is a line of JSON: ``out``, ``config``, ``resume`` and ``plan``; the answer tells the ``signal`` that ended
the process (0: none), the ``error`` it ended with, the ``notices`` it gave and, of a run that ended by itself, how many
``moments`` of each kind there were. Every request is served by a fork, which has the libraries loaded already and ends
without any clean-up. A plan is one of:

    {"stage": S, "round": R, "done": D}     when so much of a stage is done
    {"sync": NAME, "tear": N}               in a write to NAME, of which the last N bytes never reached the disk
    {"rename": NAME, "after": B}            before or after the new NAME takes its place
    {"kind": K, "nth": N, "tear": M}        at the nth of all moments of a kind: in work of the ``clients``, in
                                            ``distillation``, in ``writing``, or in the ``controls``
    {"seconds": S}                          after so much time
    {"room": N, "round": R}                 not killed: after round R no file can grow beyond N bytes
    {"privileges": False}                   not killed: permissions hold, for the superuser as well
"""

import ctypes
import json
import os
import resource
import select
import signal
import stat
import struct
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import torch

import fedkd.app.run
from fedkd.config.load import load_config
from fedkd.core.errors import FedkdError
from fedkd.results.directory import RunDirectory
from fedkd.results.observer import Silent
from fedkd.results.records import RoundRecord

Plan = dict[str, Any]

_CAPABILITY_VERSION = 0x20080522
"""Of the structures that Linux's capset takes; see linux/capability.h."""


def give_up_privileges() -> None:
    """Have no capability any more, by which the superuser may write what nobody may."""
    header, none = struct.pack("Ii", _CAPABILITY_VERSION, 0), struct.pack("6I", *[0] * 6)
    if ctypes.CDLL(None, use_errno=True).capset(header, none) != 0:
        raise OSError(ctypes.get_errno(), "capset failed")


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL cannot be survived")


class Moments:
    """Counts the moments of a run, and knows which is its last."""

    def __init__(self, plan: Plan) -> None:
        self.counted: Counter[str] = Counter()
        self._plan = plan

    def is_last(self, kind: str, **moment: object) -> bool:
        self.counted[kind] += 1
        if "kind" in self._plan:
            return bool(kind == self._plan["kind"] and self.counted[kind] == self._plan["nth"])
        return moment == {name: value for name, value in self._plan.items() if name != "tear"}


class Watcher(Silent):
    """Collects notices, and dies in the stage of the plan."""

    def __init__(self, plan: Plan, moments: Moments, round: int) -> None:
        self.notices: list[str] = []
        self._plan = plan
        self._moments = moments
        self._round = round

    def noticed(self, text: str) -> None:
        self.notices.append(text)

    def progress(self, stage: str, done: int, total: int) -> None:
        kind = stage if stage in {"clients", "distillation"} else "controls"
        if self._moments.is_last(kind, stage=stage, round=self._round, done=done):
            die()

    def round_ended(self, record: RoundRecord, seconds: float) -> None:
        self._round = record.round + 1
        if "room" in self._plan and record.round == self._plan["round"]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._plan["room"], resource.RLIM_INFINITY))


def interrupt_writes(plan: Plan, moments: Moments) -> None:
    """Make this process die in the write, or at the renaming, that the plan names."""
    sync, rename = os.fsync, os.replace

    def dying_sync(handle: int) -> None:
        name, status = Path(os.readlink(f"/proc/self/fd/{handle}")).name, os.fstat(handle)
        if stat.S_ISREG(status.st_mode) and moments.is_last("writing", sync=name):
            os.ftruncate(handle, max(0, status.st_size - plan["tear"]))
            die()
        sync(handle)

    def dying_rename(source: Path, target: Path) -> None:
        if moments.is_last("writing", rename=Path(target).name, after=False):
            die()
        rename(source, target)
        if moments.is_last("writing", rename=Path(target).name, after=True):
            die()

    os.fsync, os.replace = dying_sync, dying_rename  # type: ignore[assignment]


def run(request: dict[str, Any]) -> dict[str, Any]:
    out, plan = Path(request["out"]), request["plan"]
    moments = Moments(plan)
    watcher = Watcher(plan, moments, RunDirectory(out).rounds_done + 1)
    interrupt_writes(plan, moments)
    if not plan.get("privileges", True):
        give_up_privileges()
    try:
        fedkd.app.run.run_experiment(load_config(request["config"]), out, watcher, resume=request["resume"])
    except FedkdError as error:
        return {"error": str(error), "notices": watcher.notices}
    return {"error": None, "notices": watcher.notices, "moments": moments.counted}


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Fork, run, and wait for the end."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.write(writer, json.dumps(run(request)).encode())
        os._exit(0)
    os.close(writer)
    seconds = request["plan"].get("seconds")
    if seconds is not None and not select.select([reader], [], [], seconds)[0]:
        os.kill(child, signal.SIGKILL)
    with open(reader, "rb") as file:
        answer = file.read()
    _, status = os.waitpid(child, 0)
    return {"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, **json.loads(answer or b"{}")}


def main() -> None:
    # Forking is safe as long as no other thread was ever started.
    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        # The forks then find the data in memory. What is wrong with a configuration they tell themselves.
        with suppress(FedkdError):
            fedkd.app.run.check(load_config(request["config"]))
        print(json.dumps(serve(request)), flush=True)


if __name__ == "__main__":
    main()
