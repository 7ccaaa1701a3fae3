"""What the engines cost apart from the clients' own work; see benchmark.py."""

import math
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.bare_loop import BareLoop
from fedkd.app.checks import check
from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.config.schema import EngineConfig
from fedkd.core.messages import Job
from fedkd.engines.ray.engine import RayEngine
from fedkd.engines.resources import Workload
from fedkd.results.observer import Silent
from fedkd.results.records import RoundRecord

CLIENT_FN = "benchmarks.engine_load:reply_at_once"
STUDENT_PARAMETERS = 20_000
REFERENCE = Path(__file__).parents[2] / "configs/algorithms/stacked.yaml"
REFERENCE_ROUNDS = 3


def engine(repeats: int) -> dict[str, float]:
    """Seconds of a round in which the clients do nothing and reply with 80 kB.

    ``overhead_N`` is the round's time with N clients. ``linearity`` is the power of the number of clients with which it
    grows from 100 to 10,000 (1: linear, 2: quadratic). ``node_per_client_1000`` is how many times longer 1,000 clients
    take with a Flower node each than in cohorts. ``vs_bare_loop`` is a round of configs/algorithms/stacked.yaml over
    one of the same work in a plain loop with two worker processes.
    """
    found: dict[str, float] = {}
    with RayEngine(EngineConfig(), Workload(10_000, CLIENT_FN)) as running:
        for clients in (20, 100, 1000, 10_000):
            rounds = repeats if clients < 10_000 else -(-repeats // 3)
            found[f"overhead_{clients}"] = _round_seconds(running, clients, rounds)
    found["linearity"] = math.log(found["overhead_10000"] / found["overhead_100"]) / math.log(100)
    with RayEngine(EngineConfig(clients_per_node=1), Workload(1000, CLIENT_FN)) as running:
        found["node_per_client_1000"] = _round_seconds(running, 1000, 1) / found["overhead_1000"]
    found["vs_bare_loop"] = _against_bare_loop(REFERENCE_ROUNDS)
    return found


def _round_seconds(running: RayEngine, clients: int, rounds: int) -> float:
    """The median time of a round, after one that is not counted."""
    times = []
    for round in range(1, rounds + 2):
        job = Job("round", round, "{}", {"weight": np.zeros(STUDENT_PARAMETERS, np.float32)})
        begun = time.perf_counter()
        failed = sum(not reply.ok for reply in running.run(job, range(clients)))
        times.append(time.perf_counter() - begun)
        if failed:
            raise RuntimeError(f"{failed} of {clients} clients failed")
    return statistics.median(times[1:])


class _Alternating(Silent):
    """Runs a round of the bare loop after each of the experiment's, and times both."""

    def __init__(self, bare: BareLoop) -> None:
        self._bare = bare
        self._ended = time.perf_counter()
        self.ratios: list[float] = []

    def round_ended(self, record: RoundRecord, seconds: float) -> None:
        now = time.perf_counter()
        self._bare.round()
        after = time.perf_counter()
        self.ratios.append((now - self._ended) / (after - now))
        self._ended = after


def _against_bare_loop(rounds: int) -> float:
    """A round of the reference experiment over one of the bare loop, the median of rounds that alternate.

    The first round is left out because processes warm up in it, and the last because it measures more.
    """
    config = load_config(REFERENCE, [f"rounds={rounds + 2}", "controls=[]", "engine.workers=2"])
    bare = BareLoop(check(config), workers=2)
    alternating = _Alternating(bare)
    try:
        with tempfile.TemporaryDirectory() as folder:
            run_experiment(config, Path(folder, "run"), alternating)
    finally:
        bare.close()
    return statistics.median(alternating.ratios[1:-1])
