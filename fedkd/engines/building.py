"""The engine of an experiment, from its configuration."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fedkd.client.performer import CLIENT_FN
from fedkd.config.load import to_json
from fedkd.config.schema import EngineConfig
from fedkd.engines import Engine
from fedkd.engines.inline import InlineEngine
from fedkd.engines.ray.shared import RaySize
from fedkd.engines.resources import Workload, gpu_count, worker_count
from fedkd.experiment import Experiment
from fedkd.models import profile
from fedkd.privacy.secure_sum.identities import Directory

if TYPE_CHECKING:
    from flwr.serverapp import Grid

EngineBuilder = Callable[[Experiment], Engine]
"""Makes the engine of an experiment, not yet started."""

FLOAT32_BYTES = 4


def engine_for(config: EngineConfig, workload: Workload, *, verbose: bool = False) -> Engine:
    """The engine of ``engine.kind`` for some work, not yet started."""
    if config.kind == "inline":
        return InlineEngine(workload)
    from fedkd.engines.ray.engine import RayEngine

    return RayEngine(config, workload, verbose=verbose)


def build_engine(
    experiment: Experiment,
    *,
    verbose: bool = False,
    ray_address: str | None = None,
    client_fn: str = CLIENT_FN,
    memory: Path | None = None,
    inline: bool = False,
) -> Engine:
    """The engine of ``engine.kind``, not yet started; ``ray_address`` stands in for an ``engine.address`` not given.

    With ``inline`` it is that engine, whatever the kind. ``memory`` is the folder in which clients note what they give
    away in secure sums (None: they take part in none).
    """
    config = experiment.config.engine
    if inline:
        config = replace(config, kind="inline")
    workload = _workload(experiment, client_fn, memory, planned=config.kind != "inline")
    return engine_for(replace(config, address=config.address or ray_address), workload, verbose=verbose)


def over_grid(
    grid: "Grid", *, join: float, memory: Path | None = None, directory: Directory | None = None
) -> EngineBuilder:
    """For an experiment on the Flower nodes behind ``grid``, which may take ``join`` seconds to connect.

    ``memory`` is as in ``build_engine``, for simulated nodes; ``directory`` has the public keys of a deployment's.
    """
    from fedkd.data.common import CommonData
    from fedkd.engines.flower.engine import FederationEngine

    def build(experiment: Experiment) -> Engine:
        return FederationEngine(
            grid,
            experiment.config.engine,
            _workload(experiment, memory=memory),
            experiment=to_json(experiment.config),
            directory=directory,
            common=CommonData.of(experiment.config) if experiment.config.data.at_home else None,
            join=join,
        )

    return build


def _workload(
    experiment: Experiment, client_fn: str = CLIENT_FN, memory: Path | None = None, *, planned: bool = True
) -> Workload:
    """What an experiment's rounds take: a client costs what its model costs on its own samples, and on the public.

    Where nothing is ``planned``, costs and bytes need not be known.
    """
    config = experiment.config
    clients = config.clients.count
    resources = {client: experiment.resources_of(client) for client in range(clients)}
    kept = None if memory is None else str(memory.resolve())
    if not planned:
        return Workload(clients, client_fn, resources=resources, memory=kept)
    chosen = experiment.data.public.subset(config.data.public.round_size, config.seed, 1)
    # In the last round clients answer on the test samples too.
    answers = chosen.numel() + experiment.data.test_labels.numel()
    return Workload(
        clients, client_fn, _costs(experiment), resources, FLOAT32_BYTES * experiment.data.classes * answers, kept
    )


def _costs(experiment: Experiment) -> dict[int, float]:
    config = experiment.config
    operations = [
        profile(experiment.initial_model(index), experiment.data.spec).flops
        for index in range(len(experiment.architectures))
    ]
    costs = {}
    for client in range(config.clients.count):
        # A training step costs about three forward passes.
        passes = 3 * config.clients.epochs * experiment.examples(client) + experiment.data.public.labels.numel()
        costs[client] = float(operations[experiment.architecture_of(client)] * passes)
    return costs


def ray_size(experiment: Experiment) -> RaySize | None:
    """The Ray that the experiment would start for itself; None where it starts none."""
    engine = experiment.config.engine
    if engine.kind != "ray" or engine.address is not None:
        return None
    threads = sum(experiment.resources_of(client).threads for client in range(experiment.config.clients.count))
    return RaySize(worker_count(engine, threads), gpu_count() if engine.device == "cuda" else 0)
