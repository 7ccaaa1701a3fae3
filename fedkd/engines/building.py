"""The engine of an experiment, from its configuration."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from fedkd.client.performer import LOCAL_PERFORMER
from fedkd.engines import Engine
from fedkd.engines.inline import InlineEngine
from fedkd.engines.ray.shared import RaySize
from fedkd.engines.resources import ClientResources, gpu_count, worker_count
from fedkd.experiment import Workspace
from fedkd.models import profile

if TYPE_CHECKING:
    from flwr.serverapp import Grid

EngineBuilder = Callable[[Workspace], Engine]
"""Makes the engine of an experiment, not yet started."""

FLOAT32_BYTES = 4


def build_engine(
    place: Workspace, *, verbose: bool = False, ray_address: str | None = None, performer: str = LOCAL_PERFORMER
) -> Engine:
    """The engine of ``engine.kind``, not yet started; ``ray_address`` stands in for an ``engine.address`` not given.

    ``performer`` is the import path of what does a client's work. A client is expected to cost what its model costs on
    its private samples, each epoch, and once on the public ones.
    """
    config = place.config
    resources = {client: resources_of(place, client) for client in range(config.clients.count)}
    if config.engine.kind == "inline":
        return InlineEngine(resources=resources, performer=performer)
    from fedkd.engines.ray.engine import RayEngine

    return RayEngine(
        replace(config.engine, address=config.engine.address or ray_address),
        config.clients.count,
        verbose=verbose,
        costs=_costs(place),
        resources=resources,
        answer_bytes=_answer_bytes(place),
        performer=performer,
    )


def over_grid(grid: "Grid", *, join: float) -> EngineBuilder:
    """For an experiment on the Flower nodes behind ``grid``, which may take ``join`` seconds to connect."""
    from fedkd.engines.flower.engine import FederationEngine

    def build(place: Workspace) -> Engine:
        clients = place.config.clients.count
        resources = {client: resources_of(place, client) for client in range(clients)}
        return FederationEngine(grid, place.config.engine, clients, costs=_costs(place), resources=resources, join=join)

    return build


def _costs(place: Workspace) -> dict[int, float]:
    config = place.config
    operations = [
        profile(place.initial_model(index), place.data.shape).flops for index in range(len(place.architectures))
    ]
    costs = {}
    for client, data in enumerate(place.data.clients):
        # A training step costs about three forward passes.
        passes = 3 * config.clients.epochs * data.train.numel() + place.data.public.labels.numel()
        costs[client] = float(operations[place.architecture_of(client)] * passes)
    return costs


def _answer_bytes(place: Workspace) -> int:
    """About what a client sends, in the last round also about the test images."""
    config = place.config
    chosen = place.data.public.subset(config.data.public.round_size, config.seed, 1)
    return FLOAT32_BYTES * place.data.classes * (chosen.numel() + place.data.test_labels.numel())


def ray_size(place: Workspace) -> RaySize | None:
    """The Ray that the experiment would start for itself; None where it starts none."""
    engine = place.config.engine
    if engine.kind != "ray" or engine.address is not None:
        return None
    threads = sum(place.resources_of(client).threads for client in range(place.config.clients.count))
    return RaySize(worker_count(engine, threads), gpu_count() if engine.device == "cuda" else 0)


def resources_of(place: Workspace, client: int) -> ClientResources:
    """What a client needs while it works."""
    wanted = place.resources_of(client)
    return ClientResources(threads=wanted.threads, gpu=wanted.gpu)
