"""The reference work as a Flower app with plain clients, in Flower's simulation; see benchmark.py.

python -m benchmarks.plain_app CONFIG [key.path=value ...]

Clients train as fedkd's do, with the same random numbers, one on each node, and the student is tested after every
round. Prints the seconds of each round and the digest of the student, as JSON.
"""

import json
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from fedkd import Experiment, LogitDistillation, load_config, logits_of
from fedkd.client.training import train as train_locally
from fedkd.config.load import to_json, to_mapping
from fedkd.core.compute import fixed_threads
from fedkd.core.messages import parameter_digest
from fedkd.core.seeding import torch_generator
from fedkd.models import accuracy, predict

client_app = ClientApp()


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Local training from the student that was sent, and the answers."""
    client, config = int(context.node_config["partition-id"]), message.content.config_records["config"]
    experiment = Experiment.of(str(config["experiment"]))
    data, clients = experiment.data, experiment.config.clients
    model = experiment.model({name: array.numpy() for name, array in message.content.array_records["arrays"].items()})
    own = data.clients[client].train
    draw = torch_generator(
        experiment.config.seed, round=int(str(config["server-round"])), client=client, purpose="local training"
    )
    with fixed_threads(1):
        train_locally(model, data.inputs[own], data.labels[own], clients, epochs=clients.epochs, generator=draw)
        answer = logits_of(lambda samples: predict(model, torch.from_numpy(samples)).numpy(), message)
    said = MetricRecord({"partition-id": client, "num-examples": len(own)})
    return Message(RecordDict({"arrays": answer, "metrics": said}), reply_to=message)


def strategy_of(experiment: Experiment) -> LogitDistillation:
    """The server's side of the experiment."""
    config, data = experiment.config, experiment.data
    return LogitDistillation(
        student=experiment.initial_model(),
        public=data.public.inputs,
        labels=data.public.truth[: config.data.public.labelled],
        strategy=to_mapping(config)["strategy"],
        distillation=to_mapping(config)["distillation"],
        validation=config.data.public.validation,
        round_size=config.data.public.round_size,
        seed=config.seed,
        min_available_nodes=config.clients.count,
    )


def told(experiment: Experiment) -> ConfigRecord:
    """What the clients need to know."""
    return ConfigRecord({"experiment": to_json(experiment.config)})


def simulate(experiment: Experiment) -> dict[str, Any]:
    """Seconds of each round, and the digest of the student."""
    config, data = experiment.config, experiment.data
    strategy, server_app = strategy_of(experiment), ServerApp()
    ends: list[float] = []

    def evaluate(round: int, arrays: ArrayRecord) -> MetricRecord:
        with fixed_threads(config.engine.server_threads):
            found = accuracy(strategy.student, data.test_inputs, data.test_labels)
        ends.append(time.perf_counter())
        return MetricRecord({"accuracy": found})

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        strategy.start(grid, num_rounds=config.rounds, train_config=told(experiment), evaluate_fn=evaluate)

    resources = {"client_resources": {"num_cpus": 1.0, "num_gpus": 0.0}}
    run_simulation(server_app, client_app, config.clients.count, backend_config=resources)  # type: ignore[arg-type]
    seconds = [after - before for before, after in pairwise(ends)]
    return {"seconds": seconds, "student": parameter_digest(strategy.student.state_dict())}


def main(argv: Sequence[str]) -> None:
    # By another module than this one, which is __main__ here, and nothing that workers could import.
    from benchmarks import plain_app

    config, *changes = argv
    print(json.dumps(plain_app.simulate(Experiment.of(load_config(config, changes)))))


if __name__ == "__main__":
    main(sys.argv[1:])
