"""How much memory does the driver take while the replies of many clients come in and are made into a teacher?

    python scripts/benchmark.py driver_memory [--clients 1000] [--samples 8000] [--probe]
                                              [--strategies mean_probabilities,stacked]

A round on the ray engine with clients that reply at once, with logits on every public sample, up to the distilled
student. Each strategy has a process of its own. Prints the peak resident set of that process, in 10⁹ bytes, what of it
was there before the round (the libraries, and the data of the experiment), and what of the peak was no file that the
system can reclaim (``anonymous``, sampled every 20 ms). With ``--probe`` the clients send logits on the 10,000 test
samples too, as in a run's last round. Linux only.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measuring import Peak
from fedkd.app.checks import check
from fedkd.config.load import load_config
from fedkd.config.schema import ExperimentConfig
from fedkd.engines.building import build_engine
from fedkd.server.server import Server

CLIENT_FN = "benchmarks.engine_load:reply_with_logits"
LABELLED = 500


def _status(name: str) -> float:
    """A line of this process's status, in 10⁹ bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name)) / 1e9


def configured(arguments: argparse.Namespace, strategy: str) -> ExperimentConfig:
    return load_config(
        {
            "rounds": 1,
            "data": {
                "dataset": arguments.dataset,
                "private_size": max(1000, arguments.clients),
                "partition": {"min_samples": 1},
                "public": {"size": arguments.samples, "labelled": min(LABELLED, arguments.samples)},
            },
            "clients": {"count": arguments.clients},
            "distillation": {"steps": 20, "balancer": {"name": "fixed", "value": 1.0}},
            "strategy": strategy,
            "engine": {"kind": arguments.engine, "server_threads": 1},
        }
    )


def measure(arguments: argparse.Namespace, strategy: str) -> dict[str, float | int | str]:
    """A round with one strategy in this process."""
    config = configured(arguments, strategy)
    experiment = check(config)
    server = Server.build(experiment)
    with build_engine(experiment, client_fn=CLIENT_FN) as engine:
        before = _status("VmRSS")
        started, cpu = time.perf_counter(), time.process_time()
        job = server.job(1, probe=arguments.probe)
        with Peak(lambda: _status("RssAnon"), seconds=0.02) as anonymous:
            result = server.finish_round(job, engine.run(job, server.sampled(1)))
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {
        "strategy": strategy,
        "clients": arguments.clients,
        "samples": arguments.samples,
        "probe": int(arguments.probe),
        "failures": len(result.record.failures),
        "before_gb": before,
        "peak_gb": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9,
        "anonymous_gb": anonymous.value,
        "seconds": seconds,
        "driver_cpu_seconds": cpu,
    }


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=8000)
    parser.add_argument("--dataset", default="fashion_mnist")
    parser.add_argument("--strategies", default="mean_probabilities,stacked")
    parser.add_argument("--engine", choices=["ray", "inline"], default="ray")
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    arguments = parser.parse_args(argv)
    strategies = arguments.strategies.split(",")
    if len(strategies) == 1:
        found = measure(arguments, strategies[0])
        print(json.dumps(found) if arguments.json else _row(found))
        return 0
    for strategy in strategies:
        subprocess.run([sys.executable, *sys.argv, "--strategies", strategy], check=True)
    return 0


def _row(found: dict[str, float | int | str]) -> str:
    values = (f"{value:.2f}" if isinstance(value, float) else str(value) for value in found.values())
    return "  ".join(f"{name} {value}" for name, value in zip(found, values, strict=True))
