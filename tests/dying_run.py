"""Runs experiments in processes that are killed where a plan says; ``test_resume`` talks to it over pipes.

A request is a line of JSON: ``out``, ``config``, ``resume`` and ``plan``; the answer tells the ``signal`` that ended
the process (0: none), the ``error`` it ended with and the ``notices`` it gave. Every request is served by a fork, which
has the libraries loaded already and ends without any clean-up. A plan is one of:

    {"stage": S, "round": R, "done": D}     when so much of a stage is done
    {"sync": NAME, "tear": N}               in a write to NAME, of which the last N bytes never reached the disk
    {"rename": NAME, "after": B}            before or after the new NAME takes its place
    {"seconds": S}                          after so much time
    {"room": N, "round": R}                 not killed: after round R no file can grow beyond N bytes
"""

import json
import os
import resource
import select
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import torch

import fedkd.app
from fedkd.config import load_config
from fedkd.errors import FedkdError
from fedkd.observer import Silent
from fedkd.records import RoundRecord
from fedkd.records.directory import RunDirectory

Plan = dict[str, Any]


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL cannot be survived")


class Watcher(Silent):
    """Collects notices, and dies in the stage of the plan."""

    def __init__(self, plan: Plan, round: int) -> None:
        self.notices: list[str] = []
        self._plan = plan
        self._round = round

    def noticed(self, text: str) -> None:
        self.notices.append(text)

    def progress(self, stage: str, done: int, total: int) -> None:
        found = {"stage": stage, "round": self._round, "done": done}
        if found == self._plan:
            die()

    def round_ended(self, record: RoundRecord, seconds: float) -> None:
        self._round = record.round + 1
        if "room" in self._plan and record.round == self._plan["round"]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._plan["room"], resource.RLIM_INFINITY))


def interrupt_writes(plan: Plan) -> None:
    """Make this process die in the write, or at the renaming, that the plan names."""
    sync, rename = os.fsync, os.replace

    def dying_sync(handle: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{handle}")).name == plan.get("sync"):
            os.ftruncate(handle, max(0, os.fstat(handle).st_size - plan["tear"]))
            die()
        sync(handle)

    def dying_rename(source: Path, target: Path) -> None:
        if Path(target).name == plan.get("rename"):
            if plan["after"]:
                rename(source, target)
            die()
        rename(source, target)

    os.fsync, os.replace = dying_sync, dying_rename  # type: ignore[assignment]


def run(request: dict[str, Any]) -> dict[str, Any]:
    out, plan = Path(request["out"]), request["plan"]
    watcher = Watcher(plan, RunDirectory(out).rounds_done + 1)
    interrupt_writes(plan)
    try:
        fedkd.app.run_experiment(load_config(request["config"]), out, watcher, resume=request["resume"])
    except FedkdError as error:
        return {"error": str(error), "notices": watcher.notices}
    return {"error": None, "notices": watcher.notices}


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
    # The first optimiser of a process imports a good part of torch.
    torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    # The figures take longer than all the rest, and are drawn of what is compared.
    for name in ("draw_observatory", "draw_label_distribution"):
        setattr(fedkd.app, name, lambda *arguments: None)
    for line in sys.stdin:
        request = json.loads(line)
        # The forks then find the data in memory. What is wrong with a configuration they tell themselves.
        with suppress(FedkdError):
            fedkd.app.check(load_config(request["config"]))
        print(json.dumps(serve(request)), flush=True)


if __name__ == "__main__":
    main()
