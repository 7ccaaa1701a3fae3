"""What a process keeps between jobs: the data and an empty model, both functions of the configuration alone."""

import json
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn

from fedkd.config import ExperimentConfig, parse_config
from fedkd.data import ExperimentData, prepare
from fedkd.models import build_model
from fedkd.seeding import torch_generator
from fedkd.types import Arrays


@dataclass(frozen=True)
class Workspace:
    """The data of an experiment, and models of its architecture."""

    config: ExperimentConfig
    data: ExperimentData

    def initial_student(self) -> nn.Module:
        """The student before the first round, on the experiment's device."""
        model = build_model(
            self.config.student.model,
            self.data.shape,
            self.data.classes,
            torch_generator(self.config.seed, purpose="student initialisation"),
        )
        return model.to(self.config.engine.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def model(self, state: Arrays) -> nn.Module:
        """A model of the student's architecture with the given state (the initial one when ``state`` is empty)."""
        model = self.initial_student()
        if state:
            model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state.items()})
        return model


@lru_cache(maxsize=2)
def workspace(config_json: str) -> Workspace:
    """The workspace of a configuration given as JSON; loaded once per process."""
    config = parse_config(json.loads(config_json))
    return Workspace(config, prepare(config))
