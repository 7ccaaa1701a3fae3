"""What a client costs: to set up, to work, and to the driver. The measurements behind docs/scaling.md.

    python scripts/benchmark.py scaling [--clients 100,1000,10000] [--out docs/results/scaling.json]

Processor time throughout, which other work on the machine changes little. Fashion-MNIST, 50 private samples per client
where there are enough, 2,000 public samples, the small CNN, one epoch, mean probabilities as strategy. The clients' own
work is done by this process, one client after the other; what the driver does is measured on the ray engine, with
clients that reply at once (the benchmark ``driver_memory``). The benchmark ``projection`` makes a projection of it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from fedkd.app.summary import versions
from fedkd.config.load import load_config, to_json
from fedkd.config.schema import ExperimentConfig
from fedkd.core.files import write_json
from fedkd.data.roles import prepare
from fedkd.engines.inline import InlineEngine
from fedkd.experiment import Experiment
from fedkd.results.logs import round_lines
from fedkd.server.server import Server

SAMPLES, QUERIES, PRIVATE = 50, 2000, 50_000
WORKING = 20
"""Clients whose work is timed."""


def configured(clients: int) -> ExperimentConfig:
    return load_config(
        {
            "rounds": 1,
            "data": {
                "dataset": "fashion_mnist",
                "private_size": min(PRIVATE, SAMPLES * clients),
                "partition": {"scheme": "iid", "min_samples": 1},
                "public": {"size": QUERIES, "labelled": 200},
            },
            "clients": {"count": clients, "epochs": 1},
            "strategy": "mean_probabilities",
            "distillation": {"steps": 20},
            "engine": {"kind": "inline", "server_threads": 1},
        }
    )


def setup(clients: int) -> float:
    """Seconds to load the data and divide them, as every process does once."""
    config = configured(clients)
    begun = time.process_time()
    prepare(config)
    return time.process_time() - begun


def work() -> dict[str, float]:
    """Seconds and bytes of one client in one round, and bytes of the records of it."""
    config = configured(WORKING)
    experiment = Experiment(config, prepare(config))
    server = Server.build(experiment)
    job = server.job(1)
    with InlineEngine() as engine:
        next(iter(engine.run(job, [0])))
        begun = time.process_time()
        replies = list(engine.run(job, range(WORKING)))
        seconds = time.process_time() - begun
    result = server.finish_round(job, replies)
    rows = round_lines(result.record, result.clients, [], 0.0)["clients.csv"]
    return {
        "seconds": seconds / WORKING,
        "bytes_up": result.record.bytes_up / WORKING,
        "bytes_down": result.record.bytes_down / WORKING,
        "record_bytes": len(rows.encode()) / WORKING,
    }


def driver(clients: int) -> dict[str, float]:
    """One round of the driver with clients that reply at once, in a process of its own."""
    front = Path(__file__).parents[1] / "benchmark.py"
    command = [sys.executable, str(front), "driver_memory", "--clients", str(clients), "--samples", str(QUERIES)]
    done = subprocess.run(
        [*command, "--strategies", "mean_probabilities", "--json"], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return {name: found[name] for name in ("driver_cpu_seconds", "seconds", "before_gb", "peak_gb", "anonymous_gb")}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", default="100,1000,10000")
    parser.add_argument("--out", type=Path, default=Path("docs/results/scaling.json"))
    parser.add_argument("--machine", default="", help="a remark on the machine, to be published with the numbers")
    arguments = parser.parse_args(argv)
    counts = [int(count) for count in arguments.clients.split(",")]
    torch.set_num_threads(1)
    setup(counts[0])
    found = {
        "setup_seconds": {str(count): setup(count) for count in counts},
        "client": work(),
        "driver": {str(count): driver(count) for count in counts},
        "samples": SAMPLES,
        "queries": QUERIES,
        "classes": 10,
        "cores": os.cpu_count(),
        "machine": arguments.machine,
        "config": json.loads(to_json(configured(counts[-1]))),
        "versions": versions(),
    }
    write_json(arguments.out, found)
    print(json.dumps({name: found[name] for name in ("setup_seconds", "client", "driver")}, indent=1))
    return 0
