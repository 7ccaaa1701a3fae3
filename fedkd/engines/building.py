"""The engine of an experiment, from its configuration."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from fedkd.client.performer import CLIENT_FN
from fedkd.engines import Engine
from fedkd.engines.inline import InlineEngine
from fedkd.engines.ray.shared import RaySize
from fedkd.engines.resources import ClientResources, gpu_count, worker_count
from fedkd.experiment import Experiment
from fedkd.models import profile

if TYPE_CHECKING:
    from flwr.serverapp import Grid

EngineBuilder = Callable[[Experiment], Engine]
"""Makes the engine of an experiment, not yet started."""

FLOAT32_BYTES = 4


def build_engine(
    experiment: Experiment, *, verbose: bool = False, ray_address: str | None = None, client_fn: str = CLIENT_FN
) -> Engine:
    """The engine of ``engine.kind``, not yet started; ``ray_address`` stands in for an ``engine.address`` not given.

    ``client_fn`` is the import path of what does a client's work. A client is expected to cost what its model costs on
    its private samples, each epoch, and once on the public ones.
    """
    config = experiment.config
    resources = {client: resources_of(experiment, client) for client in range(config.clients.count)}
    if config.engine.kind == "inline":
        return InlineEngine(resources=resources, client_fn=client_fn)
    from fedkd.engines.ray.engine import RayEngine

    return RayEngine(
        replace(config.engine, address=config.engine.address or ray_address),
        config.clients.count,
        verbose=verbose,
        costs=_costs(experiment),
        resources=resources,
        answer_bytes=_answer_bytes(experiment),
        client_fn=client_fn,
    )


def over_grid(grid: "Grid", *, join: float) -> EngineBuilder:
    """For an experiment on the Flower nodes behind ``grid``, which may take ``join`` seconds to connect."""
    from fedkd.engines.flower.engine import FederationEngine

    def build(experiment: Experiment) -> Engine:
        clients = experiment.config.clients.count
        resources = {client: resources_of(experiment, client) for client in range(clients)}
        return FederationEngine(
            grid, experiment.config.engine, clients, costs=_costs(experiment), resources=resources, join=join
        )

    return build


def _costs(experiment: Experiment) -> dict[int, float]:
    config = experiment.config
    operations = [
        profile(experiment.initial_model(index), experiment.data.shape).flops
        for index in range(len(experiment.architectures))
    ]
    costs = {}
    for client, data in enumerate(experiment.data.clients):
        # A training step costs about three forward passes.
        passes = 3 * config.clients.epochs * data.train.numel() + experiment.data.public.labels.numel()
        costs[client] = float(operations[experiment.architecture_of(client)] * passes)
    return costs


def _answer_bytes(experiment: Experiment) -> int:
    """About what a client sends, in the last round also about the test samples."""
    config = experiment.config
    chosen = experiment.data.public.subset(config.data.public.round_size, config.seed, 1)
    return FLOAT32_BYTES * experiment.data.classes * (chosen.numel() + experiment.data.test_labels.numel())


def ray_size(experiment: Experiment) -> RaySize | None:
    """The Ray that the experiment would start for itself; None where it starts none."""
    engine = experiment.config.engine
    if engine.kind != "ray" or engine.address is not None:
        return None
    threads = sum(experiment.resources_of(client).threads for client in range(experiment.config.clients.count))
    return RaySize(worker_count(engine, threads), gpu_count() if engine.device == "cuda" else 0)


def resources_of(experiment: Experiment, client: int) -> ClientResources:
    """What a client needs while it works."""
    wanted = experiment.resources_of(client)
    return ClientResources(threads=wanted.threads, gpu=wanted.gpu)
