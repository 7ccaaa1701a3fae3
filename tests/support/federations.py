"""Small federations on the embedded digits, in this process and round by round."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedkd.client.performer import CLIENT_FN
from fedkd.config.load import load_config
from fedkd.core.messages import Job, Reply
from fedkd.engines.inline import InlineEngine
from fedkd.engines.resources import Workload
from fedkd.experiment import Experiment
from fedkd.server.server import RoundResult, Server

SMALL: dict[str, Any] = {
    "rounds": 3,
    "data": {"private_size": 80, "public": {"size": 40, "labelled": 20}},
    "clients": {"count": 4},
    "student": {"model": {"name": "mlp", "hidden": [8]}},
    "strategy": "mean_probabilities",
    "distillation": {"steps": 3},
    "engine": {"kind": "inline"},
}
"""Four clients with 80 private samples, 40 public ones of which 16 are labelled to train on and 4 to validate."""

Change = Callable[[list[Reply]], list[Reply]]


def as_they_are(replies: list[Reply]) -> list[Reply]:
    return replies


@dataclass
class Federation:
    """A server and its clients."""

    experiment: Experiment
    server: Server
    folder: Path | None = None

    def engine(self, client_fn: str = CLIENT_FN) -> InlineEngine:
        """An engine in this process, whose clients remember in the federation's folder."""
        return InlineEngine(Workload(client_fn=client_fn, memory=None if self.folder is None else str(self.folder)))

    def ask(self, round: int, *, probe: bool = False) -> tuple[Job, list[Reply]]:
        """A round's job, and what its clients make of it."""
        job = self.server.job(round, probe=probe)
        with self.engine() as engine:
            return job, list(engine.run(job, self.server.sampled(round)))

    def round(self, round: int, change: Change = as_they_are, *, probe: bool = False) -> RoundResult:
        """A whole round; ``change`` is what happens to the replies on their way to the server."""
        job, replies = self.ask(round, probe=probe)
        return self.server.finish_round(job, change(replies))

    def rounds(self, last: int) -> list[RoundResult]:
        return [self.round(round) for round in range(1, last + 1)]


def experiment_of(*overrides: str) -> Experiment:
    return Experiment.of(load_config(SMALL, overrides))


def federation(state_dir: Path | None, *overrides: str) -> Federation:
    experiment = experiment_of(*overrides)
    server = Server.build(experiment, state_dir=None if state_dir is None else str(state_dir))
    return Federation(experiment, server, state_dir)
