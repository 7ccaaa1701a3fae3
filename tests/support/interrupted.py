"""Runs in another process that die where a test wants them to, and what tells whether two runs are the same."""

import json
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.processes import Program

Plan = dict[str, Any]

PLAIN: dict[str, Any] = {
    "seed": 3,
    "rounds": 3,
    "data": {"private_size": 90, "public": {"size": 60, "labelled": 30}},
    "clients": {"count": 3},
    "student": {"model": {"name": "mlp", "hidden": [16]}},
    "distillation": {"steps": 8, "warmup": 2},
    "controls": ["public_only", "local_only", "teacher_only"],
    "engine": {"kind": "inline"},
}
"""Clients that start from the student, and a teacher without memory."""

REMEMBERING: dict[str, Any] = PLAIN | {
    "rounds": 4,
    "clients": {"count": 6, "fraction": 0.5, "rule": "own_model"},
    "strategy": "exp_guard",
    "data": PLAIN["data"] | {"public": {"size": 60, "labelled": 30, "round_size": 20}},
    "communication": {
        "uplink": {"name": "quantise", "bits": 8, "delta": True, "compress": "zlib"},
        "downlink": {"name": "quantise", "bits": 8, "delta": True, "compress": "zlib"},
        "cache_rounds": 2,
    },
    "controls": ["teacher_only"],
}
"""Everything that carries something from round to round: clients, teacher, codecs, cache; half the clients a round."""


class Zygote:
    """Another process that runs experiments in forks of its own, as ``dying_run`` describes."""

    def __init__(self) -> None:
        script = str(Path(__file__).with_name("dying_run.py"))
        self._program = Program(script, stdin=subprocess.PIPE, stderr=None)

    def run(
        self, out: Path, config: dict[str, Any], plan: Plan | None = None, *, resume: bool = False
    ) -> dict[str, Any]:
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        request = {"out": str(out), "config": config, "plan": plan or {}, "resume": resume}
        self._program.stdin.write(json.dumps(request) + "\n")
        self._program.stdin.flush()
        answer: dict[str, Any] = json.loads(self._program.stdout.readline())
        return answer

    def complete(self, out: Path, config: dict[str, Any], *, resume: bool = False) -> list[str]:
        """Run to the end, and return the notices."""
        answer = self.run(out, config, resume=resume)
        assert (answer["signal"], answer["error"]) == (0, None)
        notices: list[str] = answer["notices"]
        return notices

    def killed(self, out: Path, config: dict[str, Any], plan: Plan) -> None:
        """Start, or go on, and die."""
        answer = self.run(out, config, plan, resume=True)
        assert answer["signal"] == signal.SIGKILL, f"{plan} never came: {answer}"

    def killed_again_and_again(self, out: Path, config: dict[str, Any], plans: Iterable[Plan]) -> dict[str, Any]:
        """Die as often as there are plans, then run to the end; the results."""
        for plan in plans:
            self.killed(out, config, plan)
        self.complete(out, config, resume=True)
        return results(out)

    def children(self) -> dict[int, str]:
        """The processes that it has started, directly or not, and that are still there."""
        return self._program.family()

    def close(self) -> None:
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.close()
        self._program.wait(timeout=60)
        self._program.stdout.close()


def results(out: Path) -> dict[str, Any]:
    """All that a run directory tells, but for wall times."""
    found: dict[str, Any] = {
        name: (out / name).read_bytes() for name in ("config.yaml", "rounds.jsonl", "distillation.csv", "clients.csv")
    }
    summary = json.loads((out / "summary.json").read_text())
    kept = json.loads((out / "controls.json").read_text())
    del summary["wall_seconds"]
    for control in kept["finished"].values():
        del control["seconds"]
    timings = [json.loads(line)["round"] for line in (out / "timings.jsonl").read_text().splitlines()]
    ledger = out / "privacy_ledger.json"
    return found | {
        "summary": summary,
        "controls": kept,
        "timings": timings,
        "ledger": ledger.read_bytes() if ledger.exists() else None,
        "names": sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()),
    }
