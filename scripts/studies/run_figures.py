"""What a run came to, as far as reference results are about it."""

import csv
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedkd.client.round import train_and_answer
from fedkd.core.errors import RunError
from fedkd.core.messages import CONSENSUS
from fedkd.experiment import Experiment
from fedkd.results.directory import RunDirectory
from fedkd.results.report.run_log import RunLog
from fedkd.server.evaluation import accuracy_on_test
from fedkd.server.server import Server


def figures_of(log: RunLog, *, digests: bool = False) -> dict[str, Any]:
    """The accuracies of a finished run by measure, as shares after every round or after the last, and its bytes.

    Those that were not measured are left out. ``digests``: whether ``clients_digested`` is wanted.
    """
    summary = log.summary or {}
    by_round = {name: [row[key] for row in log.rounds] for name, key in _KEPT.items()}
    accuracy: dict[str, Any] = {name: values for name, values in by_round.items() if None not in values}
    if "clients_own" in accuracy:
        accuracy["clients_own_pooled"] = _pooled(log)
    if (tested := summary["client_test_accuracy"]) is not None:
        accuracy["clients_test"] = [tested]
    if digests:
        accuracy["clients_digested"] = [digested_accuracy(log.path)]
    return {"accuracy": accuracy, "bytes_up": summary["bytes_up"], "failures": summary["failures"]}


_KEPT: Mapping[str, str] = {"student": "student_accuracy", "clients_own": "client_accuracy"}


def _pooled(log: RunLog) -> list[float]:
    """The share of right answers among all validation samples of each round's clients."""
    clients = Experiment.of(RunDirectory(log.path).config).data.clients
    right, samples = defaultdict[int, float](float), defaultdict[int, int](int)
    with (log.path / "clients.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["validation_accuracy"]:
                own = clients[int(row["client"])].validation.numel()
                right[int(row["round"])] += own * float(row["validation_accuracy"])
                samples[int(row["round"])] += own
    return [right[round] / samples[round] for round in sorted(samples)]


def digested_accuracy(folder: Path) -> float:
    """The mean test accuracy of the clients' models when they have digested what the server last said.

    ``folder`` is the run's. Its clients begin one more round, for which they are sent what the server has for them, and
    in which there are no local epochs. Raises ``RunError`` where they have nothing to digest.
    """
    directory = RunDirectory(folder)
    config = directory.config
    experiment = Experiment.of(config)
    server = Server.build(experiment, state_dir=str(directory.client_state))
    server.load_state_dict(directory.checkpoint(config.rounds).server)
    job = server.job(config.rounds + 1)
    if CONSENSUS not in job.parameters:
        raise RunError(
            "reference.measure: clients_digested is about clients who digest answers on public samples, which this "
            "algorithm does not send them; name another"
        )
    idle = Experiment(replace(config, clients=replace(config.clients, epochs=0)), experiment.data)
    found = []
    for client in server.sampled(job.round):
        _, upload, _ = train_and_answer(idle, job, client)
        if upload.model is None:
            raise RunError("reference.measure: clients of this algorithm have no models of their own; name another")
        found.append(accuracy_on_test(idle, upload.model))
    return math.fsum(found) / len(found)
