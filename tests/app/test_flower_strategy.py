"""The Flower strategy, in a stock ServerApp's loop over a grid of its own."""

import json
from dataclasses import replace

import pytest
import torch
from flwr.app import Message

from fedkd.app.checks import check
from fedkd.app.flower_strategy import FederatedDistillation
from fedkd.config.load import load_config
from fedkd.config.values import Plugin
from fedkd.core.errors import RunError
from fedkd.engines.inline import InlineEngine
from fedkd.experiment import Experiment
from fedkd.server.server import Server
from fedkd.server.setup import new_distiller, new_strategy
from tests.support.local_grid import LocalGrid

pytestmark = pytest.mark.usefixtures("task_identity")


@pytest.fixture
def experiment() -> Experiment:
    return check(
        load_config(
            {
                "rounds": 2,
                "data": {"private_size": 200, "public": {"size": 150, "labelled": 50}},
                "clients": {"count": 4, "fraction": 0.75},
                "distillation": {"steps": 15},
                "engine": {"kind": "inline"},
            }
        )
    )


def strategy(experiment: Experiment) -> FederatedDistillation:
    return FederatedDistillation(
        experiment, new_strategy(experiment), new_distiller(experiment, experiment.initial_model())
    )


@pytest.mark.parametrize("nodes", [1, 2, 7])
def test_flowers_own_loop_ends_with_the_same_student(experiment: Experiment, nodes: int) -> None:
    server = Server.build(experiment)
    with InlineEngine() as engine:
        for round in (1, 2):
            job = server.job(round)
            record = server.finish_round(job, engine.run(job, server.sampled(round))).record
    flower = strategy(experiment)
    result = flower.start(LocalGrid(nodes), flower.initial_arrays(), num_rounds=2)
    student = server.rule.student
    assert student is not None
    for name, expected in student.state_dict().items():
        assert torch.equal(torch.from_numpy(result.arrays[name].numpy()), expected), name
    metrics = result.train_metrics_clientapp[2]
    assert metrics["student_accuracy"] == record.student_accuracy
    assert metrics["failures"] == 0


def test_too_few_replies_stop_flowers_loop(experiment: Experiment) -> None:
    def lose(index: int, message: Message) -> Message | None:
        return None if index > 0 else message

    config = replace(experiment.config, clients=replace(experiment.config.clients, min_reports=3))
    flower = strategy(replace(experiment, config=config))
    with pytest.raises(RunError, match="valid reports"):
        flower.start(LocalGrid(2, lose), flower.initial_arrays(), num_rounds=1)


def test_the_mechanism_reaches_the_clients(experiment: Experiment) -> None:
    trainer = new_distiller(experiment, experiment.initial_model())
    flower = FederatedDistillation(experiment, new_strategy(experiment), trainer, Plugin("none", {}))
    grid = LocalGrid(1)
    flower.start(grid, flower.initial_arrays(), num_rounds=1)
    header = grid.sent[0].content.config_records["job"]
    assert json.loads(str(header["config"]))["privacy"]["mechanism"] == {"name": "none"}
