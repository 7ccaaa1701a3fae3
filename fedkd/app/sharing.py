"""What the cells of a sweep share: clients' replies and controls, each as a function of what it follows from.

For a key to hold all of that, the work is done with a configuration in which everything has its usual value that the
work has no use for: what is not in the key cannot be read. Only code that comes with fedkd is known to have no use for
it, and only work is shared that leaves nothing behind: no state of clients, no secure sums, no release with a proof.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import nn

from fedkd.client.setup import keeps_state
from fedkd.config.load import to_json
from fedkd.config.plugin_sections import PLUGIN_SECTIONS, plugin_at
from fedkd.config.schema import EngineConfig, ExperimentConfig
from fedkd.config.values import Plugin
from fedkd.core import plugin_files, plugins
from fedkd.core.errors import ConfigError
from fedkd.core.messages import Job, Reply
from fedkd.engines import Engine
from fedkd.engines.cached import CachedEngine, SharedJobs
from fedkd.experiment import Experiment
from fedkd.privacy.attempts import name_of
from fedkd.privacy.private import Private
from fedkd.results.cache import Cache
from fedkd.results.checkpoint import Origin
from fedkd.results.sources import sources

RunJob = Callable[[Job, Sequence[int]], Iterable[Reply]]
Keep = Callable[[nn.Module], None]
Found = tuple[list[float], float | None]
"""A control's accuracy on test samples after every round, and on validation samples after the last, if it has one."""
Work = Callable[[Experiment, RunJob, Keep], Found]
"""A control: from an experiment, what has clients do a job, and what is given its network, if it has one."""

_CLIENT_CODE = (
    "clients.rule",
    "clients.behaviour",
    "clients.attackers.behaviour",
    "communication.uplink",
    "communication.downlink",
    "privacy.mechanism",
)
"""Plug-ins that see the whole configuration, or the system: users' own are not known to be functions of the key."""

_OPEN_CODE = ("data.dataset", "data.transform", "data.public.dataset", "clients.models", "student.model")
"""Plug-ins that see what they are given only: users' own count by their source."""


@dataclass(frozen=True)
class Means:
    """How a sweep has a cell's run carried out: nothing of it has an influence on results.

    ``ray_address`` is a running Ray to use where the configuration asks for one and names none; with ``inline`` the
    clients' work is done in this process instead. ``cache`` has what other cells have found out.
    """

    ray_address: str | None = None
    inline: bool = False
    cache: Cache | None = None


ALONE = Means()
"""Those of a run of its own."""


class Sharing:
    """What one run takes from the cache and leaves there; without one it does everything itself."""

    def __init__(self, cache: Cache | None, experiment: Experiment, origin: Origin) -> None:
        self._experiment, self._cache = experiment, None
        if cache is None or cache.most_bytes == 0 or not _is_known(experiment):
            return
        self._sources = sources(_users_packages(experiment.config))
        if self._sources.unchanged:
            self._cache = cache
            self._base = _base_of(experiment, origin, self._sources.digest)

    def engine(self, engine: Engine, *, inline: bool) -> Engine:
        """The engine, less what is known already."""
        experiment = self._experiment
        if self._cache is None or not _shares_replies(experiment):
            return engine
        own, plain = to_json(experiment.config), _experiment_of(_for_clients(experiment.config))
        if plain is None:
            return engine
        shared = to_json(plain.config)

        def asked(job: Job) -> Job | None:
            if job.kind != "round" or job.config != own:
                return None  # a control's
            return replace(job, config=shared, accepted={})

        return CachedEngine(engine, self._cache, SharedJobs(asked, self._keys, self._is_sound), 1 if inline else None)

    def in_turn(self, controls: Sequence[str]) -> Iterator[str]:
        """Controls in the order in which to compute them: what another run is just at work on is waited for last."""
        left = list(controls)
        while left:
            name = next((each for each in left if not self._is_busy(each)), left[0])
            left.remove(name)
            yield name

    def control(self, name: str, work: Work, run: RunJob, keep: Keep) -> Found:
        """What ``work`` returns, or once did elsewhere; ``keep`` is given its network in any case."""
        plain = None if self._cache is None else _experiment_of(_for_controls(self._experiment.config))
        if self._cache is None or plain is None:
            return work(self._experiment, run, keep)
        key = self._control_key(name)
        with self._cache.claim(key, wait=True):
            if (content := self._cache.load(key)) is not None:
                if content["network"]:
                    network = plain.initial_model()
                    network.load_state_dict(content["network"])
                    keep(network)
                return content["history"], content["bar"]
            watched, state = _Watched(run), dict[str, torch.Tensor]()

            def kept(network: nn.Module) -> None:
                state.update(network.state_dict())
                keep(network)

            history, bar = work(plain, watched, kept)
            if watched.whole and self._is_sound():
                self._cache.save(key, {"history": history, "bar": bar, "network": state})
            return history, bar

    def _is_busy(self, control: str) -> bool:
        if self._cache is None:
            return False
        with self._cache.claim(self._control_key(control), wait=False) as free:
            return not free

    def _is_sound(self) -> bool:
        return self._sources.unchanged

    def _keys(self, job: Job, clients: Sequence[int]) -> dict[int, str]:
        """Of the clients' replies to a job that holds nothing that they do not follow from."""
        common = name_of(
            self._base,
            [job.kind, job.round, job.config, job.measure, job.probe, sorted(job.wants), job.most_bytes],
            job.parameters,
        )
        return {client: f"client-{name_of(common, client, job.personal.get(client, {}))}" for client in clients}

    def _control_key(self, name: str) -> str:
        return f"control-{name_of(self._base, name, to_json(_for_controls(self._experiment.config)))}"


class _Watched:
    """Has clients do a job, and knows whether all of them always did."""

    def __init__(self, run: RunJob) -> None:
        self._run, self.whole = run, True

    def __call__(self, job: Job, clients: Sequence[int]) -> Iterator[Reply]:
        done = 0
        for reply in self._run(job, clients):
            done += reply.ok
            yield reply
        self.whole = self.whole and done == len(clients)


def _for_clients(config: ExperimentConfig) -> ExperimentConfig:
    """The configuration without what no client has a use for: all that is the server's own."""
    plain = ExperimentConfig()
    return replace(
        _without_places(config),
        strategy=plain.strategy,
        teacher=None,
        distillation=plain.distillation,
        student=replace(config.student, rule=plain.student.rule),
        clients=replace(config.clients, min_reports=1),
        privacy=replace(config.privacy, audit=plain.privacy.audit),
    )


def _for_controls(config: ExperimentConfig) -> ExperimentConfig:
    """The configuration without what no control has a use for: whatever makes it federated distillation."""
    plain = ExperimentConfig()
    balancer, temperature = plain.distillation.balancer, plain.distillation.temperature
    return replace(
        _without_places(config),
        strategy=plain.strategy,
        teacher=None,
        distillation=replace(config.distillation, balancer=balancer, temperature=temperature),
        student=replace(config.student, rule=plain.student.rule),
        clients=replace(
            config.clients,
            rule=plain.clients.rule,
            behaviour=plain.clients.behaviour,
            attackers=plain.clients.attackers,
        ),
        communication=plain.communication,
        privacy=plain.privacy,
    )


def _without_places(config: ExperimentConfig) -> ExperimentConfig:
    """The configuration but for where work is done, and which controls are computed."""
    wanted = config.engine
    engine = EngineConfig(
        kind="inline",
        device=wanted.device,
        vectorise=wanted.vectorise,
        resources=wanted.resources,
        server_threads=wanted.server_threads,
    )
    return replace(config, controls=(), engine=engine)


def _experiment_of(config: ExperimentConfig) -> Experiment | None:
    """The experiment; None where the parts that were put back to the usual do not fit the others."""
    with suppress(ConfigError):
        return Experiment.of(config)
    return None


def _is_known(experiment: Experiment) -> bool:
    """Whether all samples are in memory, where the digests of a run's contents are of every one of them."""
    data = experiment.data
    return all(isinstance(each, torch.Tensor) for each in (data.inputs, data.test_inputs, data.public.inputs))


def _shares_replies(experiment: Experiment) -> bool:
    """Whether what clients answer follows from their jobs alone, each by itself."""
    config = experiment.config
    return not (
        keeps_state(experiment)
        or isinstance(experiment.mechanism, Private)
        or config.privacy.entropy == "system"
        or config.engine.vectorises
        or any(not _is_shipped(path, spec) for path, spec in _plugins(config, _CLIENT_CODE))
    )


def _users_packages(config: ExperimentConfig) -> frozenset[str]:
    """The packages of the user's own plug-ins that see what they are given only."""
    own = (spec.name for path, spec in _plugins(config, _OPEN_CODE) if not _is_shipped(path, spec))
    return frozenset(name.partition(":")[0].partition(".")[0] for name in own)


def _plugins(config: ExperimentConfig, paths: Iterable[str]) -> Iterator[tuple[str, Plugin]]:
    return ((path, spec) for path in paths for spec in plugin_at(config, path))


def _is_shipped(path: str, spec: Plugin) -> bool:
    module = plugins.resolve(dict(PLUGIN_SECTIONS)[path], spec.name).__module__
    by_path = f"{plugin_files.__name__}."
    return module.startswith(f"{by_path}shipped." if module.startswith(by_path) else "fedkd.")


def _base_of(experiment: Experiment, origin: Origin, code: str) -> str:
    """The digest of all that every result follows from, whatever the configuration."""
    data, device = experiment.data, experiment.device
    public, tasks = data.public, data.tasks
    return name_of(
        code,
        [origin.versions, origin.cpu, origin.contents, _processor()],
        [str(device.type), torch.cuda.get_device_name(device) if device.type == "cuda" else ""],
        [[client.train, client.validation] for client in data.clients],
        [public.told, public.truth, public.validation, public.shared_label_space, data.heads, data.class_names],
        {name: list(vars(labels).values()) for name, labels in data.other_labels.items()},
        None if tasks is None else list(vars(tasks).values()),
    )


@cache
def _processor() -> str:
    """The model of the processor, for which libraries choose how they compute."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line
    return platform.processor() or platform.machine()
