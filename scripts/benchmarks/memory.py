"""How much memory do many clients with models of their own take?

    python scripts/benchmark.py memory [--clients 100] [--rounds 2] [--models cnn,mlp,lenet5,resnet18]

Runs heterogeneous clients on the ray engine and watches the resident memory of this process and of all that it starts
(Ray's own processes included; proportional set size, so that shared pages count once). What the libraries take by
themselves is measured first: the same engine, with all workers ready and nothing done. Prints both, and the peak on top
of the libraries. Linux only.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measuring import Peak, family_bytes
from fedkd.app.checks import check
from fedkd.config.load import load_config
from fedkd.config.schema import ExperimentConfig
from fedkd.engines.building import build_engine
from fedkd.server.server import Server


def gigabytes() -> float:
    """Proportional set size of this process and of all its descendants, in 10⁹ bytes."""
    return family_bytes(os.getpid()) / 1e9


def configured(arguments: argparse.Namespace) -> ExperimentConfig:
    return load_config(
        {
            "rounds": arguments.rounds,
            "data": {
                "dataset": arguments.dataset,
                "private_size": arguments.samples * arguments.clients,
                "partition": {"min_samples": min(10, arguments.samples)},
                "public": {"size": 300, "labelled": 100},
            },
            "clients": {
                "count": arguments.clients,
                "models": arguments.models.split(","),
                "rule": "own_model",
                "batch_size": 32,
            },
            "distillation": {"steps": 50, "balancer": {"name": "fixed", "value": 1.0}},
            "strategy": "mean_probabilities",
            "engine": {"kind": "ray"},
        }
    )


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--models", default="cnn,mlp,lenet5,resnet18")
    parser.add_argument("--samples", type=int, default=30, help="private samples per client, on average")
    parser.add_argument("--dataset", default="fashion_mnist")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    config = configured(arguments)
    before = gigabytes()
    experiment = check(config)
    data = gigabytes() - before
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, build_engine(experiment) as engine:
        time.sleep(1.0)
        # The data are in this process already, with what loading them imported; they are not counted as a library's.
        libraries = gigabytes() - data
        server = Server.build(experiment, state_dir=folder)
        failures = 0
        with Peak(gigabytes, seconds=0.25) as peak:
            for round in range(1, config.rounds + 1):
                job = server.job(round)
                result = server.finish_round(job, engine.run(job, server.sampled(round)))
                failures += len(result.record.failures)
        stored = sum(path.stat().st_size for path in Path(folder).rglob("*.pt")) / 1e9
    report = {
        "clients": arguments.clients,
        "models": config.clients.models and [model.name for model in config.clients.models],
        "libraries_gb": libraries,
        "peak_gb": peak.value,
        "on_top_of_libraries_gb": peak.value - libraries,
        "client_state_on_disk_gb": stored,
        "failures": failures,
        "seconds": time.monotonic() - started,
    }
    if arguments.json:
        print(json.dumps(report, indent=1))
    else:
        for name, value in report.items():
            print(f"{name:26} {value:.2f}" if isinstance(value, float) else f"{name:26} {value}")
    return 0
