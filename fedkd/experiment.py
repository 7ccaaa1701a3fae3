"""An experiment's parts, each built once per process: all are functions of the configuration alone."""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fedkd.config.given import INIT, INIT_BYTES, INIT_REMEDY, TEACHER_INIT
from fedkd.config.load import parse_config, to_json
from fedkd.config.rounding import attacker_count
from fedkd.config.schema import ExperimentConfig, ResourceConfig, StudentConfig, TeacherConfig
from fedkd.config.values import Plugin
from fedkd.core import plugin_files, plugins
from fedkd.core.array_specs import ArraySpec
from fedkd.core.coding.codec import LogitCodec
from fedkd.core.errors import ConfigError
from fedkd.core.given_files import read_given
from fedkd.core.messages import PARAMETER_BOUND, Arrays, state_arrays
from fedkd.core.packing import NDArray
from fedkd.core.plugins import PluginKind
from fedkd.core.seeding import numpy_generator, torch_generator
from fedkd.core.wording import cut
from fedkd.data import ExperimentData
from fedkd.data.roles import files_state, prepare
from fedkd.models import (
    Trial,
    batch_norm_entries,
    build_model,
    embeddings,
    load_given,
    placed,
    training_bytes,
    try_model,
)
from fedkd.privacy.mechanism import LogitMechanism

STUDENT = 0
"""The index of the student's architecture among ``Experiment.architectures``."""


@dataclass(frozen=True, eq=False)
class Experiment:
    """A configuration with its data, models, mechanism and codecs, each made when it is first asked for, and kept.

    ``given`` are other data than the configuration describes (None: those), such as a node's own.
    """

    config: ExperimentConfig
    given: ExperimentData | None = None

    @classmethod
    def of(cls, config: ExperimentConfig | str) -> "Experiment":
        """The experiment of a configuration (as JSON, say); the same for equal ones, so that its parts are kept.

        Raises ``ConfigError`` for a bad configuration.
        """
        return _experiment(config if isinstance(config, str) else to_json(config), plugin_files.working_folder())

    @cached_property
    def data(self) -> ExperimentData:
        """The samples and their roles; raises ``ConfigError`` or ``DataError`` when they cannot be had."""
        if self.given is not None:
            return self.given
        return _data(to_json(_only_data(self.config)), plugin_files.working_folder())

    @property
    def device(self) -> torch.device:
        """Where models are trained: ``engine.device``."""
        return torch.device(self.config.engine.device)

    @property
    def resident(self) -> ExperimentData:
        """The data with their inputs on the experiment's device: one copy per process."""
        return self.data.on(self.device)

    @cached_property
    def architectures(self) -> tuple[Plugin, ...]:
        """The different architectures in the experiment, the student's first."""
        found = [self.config.student.model]
        found += [model for model in self.config.clients.models if model not in found]
        return tuple(spec for index, spec in enumerate(found) if spec not in found[:index])

    def architecture_of(self, client: int) -> int:
        """The index of a client's architecture: ``clients.models`` in turn, by client id."""
        models = self.config.clients.models
        return self.architectures.index(models[client % len(models)]) if models else STUDENT

    def resources_of(self, client: int) -> ResourceConfig:
        """What a client needs while it works, by the name of its architecture."""
        name = self.architectures[self.architecture_of(client)].name
        return self.config.engine.resources.get(name, ResourceConfig())

    @cached_property
    def attackers(self) -> frozenset[int]:
        """The clients that behave as ``clients.attackers`` says: a share of all, drawn from the seed."""
        clients = self.config.clients
        draw = numpy_generator(self.config.seed, purpose="attackers")
        return frozenset(
            int(client) for client in draw.choice(clients.count, size=attacker_count(clients), replace=False)
        )

    def behaviour_spec_of(self, client: int) -> Plugin:
        """How the client behaves: as ``clients.attackers`` says if it is one of them."""
        clients = self.config.clients
        return clients.attackers.behaviour if client in self.attackers else clients.behaviour

    @cached_property
    def parameter_counts(self) -> tuple[int, ...]:
        """How many parameters a model of each architecture trains."""
        models = [self.initial_model(index) for index in range(len(self.architectures))]
        return tuple(sum(each.numel() for each in model.parameters() if each.requires_grad) for model in models)

    @cached_property
    def training_bytes(self) -> tuple[int, ...]:
        """About how much memory training a model of each architecture in a cohort takes, in bytes, without samples."""
        clients = self.config.clients
        momenta = 2 if clients.optimiser == "adam" else 1
        models = [self.initial_model(index) for index in range(len(self.architectures))]
        return tuple(training_bytes(model, self.data.spec, clients.batch_size, momenta) for model in models)

    @cached_property
    def mechanism(self) -> LogitMechanism:
        """What protects logits before they leave a client."""
        mechanism: LogitMechanism = self.new(plugins.MECHANISM, self.config.privacy.mechanism)
        return mechanism

    @cached_property
    def uplink(self) -> LogitCodec:
        """How clients' logits are written down."""
        codec: LogitCodec = self.new(plugins.CODEC, self.config.communication.uplink)
        return codec

    @cached_property
    def downlink(self) -> LogitCodec:
        """How the consensus is written down for clients."""
        codec: LogitCodec = self.new(plugins.CODEC, self.config.communication.downlink)
        return codec

    def new(self, kind: PluginKind, spec: Plugin) -> Any:
        """A fresh instance of the plug-in that a part of the configuration names; its options are checked only once.

        Nobody shares it, so that what it may keep in itself cannot pass from one client, or one run, to another.
        """
        key = kind.noun, json.dumps([spec.name, spec.options], sort_keys=True)
        if key not in self._prototypes:
            self._prototypes[key] = plugins.build(kind, spec.name, spec.options)
        return copy.deepcopy(self._prototypes[key])

    @cached_property
    def _prototypes(self) -> dict[tuple[str, str], Any]:
        return {}

    def examples(self, client: int) -> int:
        """How many private training samples a client has; where these are at home, as many as it may have."""
        return self.most_examples(client) if self.config.data.at_home else self.data.clients[client].train.numel()

    def most_examples(self, client: int) -> int:
        """How many private training samples a client can have: as many as it was given, or what was declared."""
        declared = self.config.clients.max_examples
        return self.data.clients[client].train.numel() if declared is None else declared

    def parameter_specs(self, architecture: int) -> Mapping[str, ArraySpec]:
        """What the parameters and buffers of a client's model are when they travel, by their names in the model.

        What clients keep to themselves (``clients.keep_batch_norm``) is not among them.
        """
        if architecture not in self._parameter_specs:
            model = self.initial_model(architecture)
            kept = batch_norm_entries(model, self.config.clients.keep_batch_norm)
            self._parameter_specs[architecture] = {
                name: _parameter_spec(array)
                for name, array in state_arrays(model.state_dict()).items()
                if name not in kept
            }
        return self._parameter_specs[architecture]

    def embedding_width(self, architecture: int) -> int:
        """How many values an architecture's embedding of a sample has; raises ``PluginError`` where it has none."""
        if architecture not in self._embedding_widths:
            model = self.initial_model(architecture)
            seen, _ = embeddings(model, self.data.spec.made_up(1, next(model.parameters(), None)))
            self._embedding_widths[architecture] = seen.shape[1]
        return self._embedding_widths[architecture]

    @cached_property
    def _parameter_specs(self) -> dict[int, Mapping[str, ArraySpec]]:
        return {}

    @cached_property
    def _embedding_widths(self) -> dict[int, int]:
        return {}

    def sampled(self, round: int) -> tuple[int, ...]:
        """The ids of the clients that take part in a round, in rising order."""
        clients = self.config.clients
        draw = numpy_generator(self.config.seed, round=round, purpose="client sampling")
        chosen = draw.choice(clients.count, size=clients.per_round, replace=False)
        return tuple(sorted(int(client) for client in chosen))

    def initial_model(self, architecture: int = STUDENT) -> nn.Module:
        """A model before the first round, on the experiment's device; the same for all who have the architecture.

        Raises ``ConfigError`` when ``student.init`` does not hold weights of the student's.
        """
        if architecture not in self._skeletons:
            purpose = "student initialisation" if architecture == STUDENT else f"initialisation of model {architecture}"
            model = build_model(
                self.architectures[architecture],
                self.data.spec,
                self.data.outputs,
                torch_generator(self.config.seed, purpose=purpose),
            )
            if architecture == STUDENT:
                _start_from(model, INIT, self.config.student)
            name = self.architectures[architecture].name
            self._skeletons[architecture] = placed(model, name, self.data.spec, self.device)
        # A copy takes a fraction of the time that drawing the parameters does.
        return copy.deepcopy(self._skeletons[architecture])

    def initial_teacher(self, teacher: TeacherConfig) -> nn.Module:
        """The one network that teaches, before it is trained; on the experiment's device.

        Raises ``PluginError`` where the architecture does not work, ``ConfigError`` for weights that are not its own.
        """
        draw = torch_generator(self.config.seed, purpose="teacher initialisation")
        model = build_model(teacher.model, self.data.spec, self.data.outputs, draw)
        _start_from(model, TEACHER_INIT, teacher)
        model = placed(model, teacher.model.name, self.data.spec, self.device)
        try_model(model, teacher.model.name, self.data.spec, self.data.outputs)
        return model

    def trial(self, architecture: int) -> Trial:
        """What trying out a model of the architecture shows; raises ``PluginError`` where it does not work."""
        if architecture not in self._trials:
            model, name = self.initial_model(architecture), self.architectures[architecture].name
            self._trials[architecture] = try_model(model, name, self.data.spec, self.data.outputs)
        return self._trials[architecture]

    @cached_property
    def _trials(self) -> dict[int, Trial]:
        return {}

    @cached_property
    def _skeletons(self) -> dict[int, nn.Module]:
        """The initial models that have been asked for, never handed out themselves."""
        return {}

    def model(self, state: Arrays, architecture: int = STUDENT) -> nn.Module:
        """A model with the given state (the initial one when ``state`` is empty)."""
        model = self.initial_model(architecture)
        if state:
            model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state.items()})
        return model


def _start_from(model: nn.Module, key: str, given: StudentConfig | TeacherConfig) -> None:
    """Give a model the weights in the file that ``init`` names, where it names one; ``key`` is where that is."""
    if given.init is None:
        return
    content = read_given(key, given.init, most_bytes=INIT_BYTES, remedy=INIT_REMEDY, digest=given.init_sha256)
    if (fault := load_given(model, content)) is not None:
        raise ConfigError([f"{key}: {cut(given.init)} cannot be used: {fault}"])


_MOST_STEPS = 2**40
"""More than any counter among a model's buffers gets to."""


def _parameter_spec(array: NDArray) -> ArraySpec:
    if array.dtype.kind == "f":
        return ArraySpec(str(array.dtype), array.shape, -PARAMETER_BOUND, PARAMETER_BOUND)
    if array.ndim == 0:
        return ArraySpec(str(array.dtype), (), min(int(array), 0), max(int(array), _MOST_STEPS))
    # A table, which stays as it is.
    least, most = (int(array.min()), int(array.max())) if array.size else (0, 0)
    return ArraySpec(str(array.dtype), array.shape, least, most)


@lru_cache(maxsize=4)
def _experiment(config_json: str, plugins_in: Path | None) -> Experiment:
    # A plug-in of one name is another one where the user works elsewhere.
    return Experiment(parse_config(json.loads(config_json)))


def _only_data(config: ExperimentConfig) -> ExperimentConfig:
    """The default configuration with those keys of ``config`` on which the data depend."""
    plain = ExperimentConfig(seed=config.seed, data=config.data)
    most = config.clients.max_examples if config.data.at_home else None
    return replace(plain, clients=replace(plain.clients, count=config.clients.count, max_examples=most))


@lru_cache(maxsize=2)
def _data(config_json: str, paths_from: Path | None) -> ExperimentData:
    config = parse_config(json.loads(config_json))
    _read[config_json, paths_from] = files_state(config)
    return prepare(config)


_read: dict[tuple[str, Path | None], object] = {}
"""What the files of the data that are kept were like when they were read."""


def forget_changed_files(config: ExperimentConfig) -> None:
    """Let models be made again, and data be read again when their files have changed since this process read them."""
    _experiment.cache_clear()
    key = to_json(_only_data(config)), plugin_files.working_folder()
    if key in _read and _read[key] != files_state(config):
        _data.cache_clear()
        _read.clear()
