"""The networks of a distillation on disk, each from when it is trained."""

import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter
from torch import nn

from fedkd.config.identity import run_digest
from fedkd.config.load import load_config, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.config.strict_yaml import dump_yaml
from fedkd.core.documents import read_document, write_document
from fedkd.core.errors import ConfigError, FolderError
from fedkd.core.files import is_file, replace_file
from fedkd.core.given_files import digest_of_content
from fedkd.models import load_given
from fedkd.results.directory import RunDirectory

_CONFIG, _STAGES = "config.yaml", "stages.json"


@dataclass(frozen=True)
class Stage:
    """A network that is trained: its test accuracy after each round, its file's SHA-256, and the time that it took."""

    history: list[float]
    sha256: str
    seconds: float


class Stages:
    """What is finished in a folder, for the run with this digest; files named ``NAME.pt`` hold state dicts."""

    def __init__(self, folder: Path, run: str) -> None:
        self._folder, self._run = folder, run
        path = folder / _STAGES
        self.done: dict[str, Stage] = {}
        if path.exists():
            found = read_document(path, run, f"remove it, and all networks in {folder} are trained again")
            self.done = TypeAdapter(dict[str, Stage]).validate_json(json.dumps(found["stages"]))

    @staticmethod
    def are_in(folder: Path) -> bool:
        """Whether networks of a distillation are kept in a folder."""
        return is_file(folder / _STAGES)

    def network(self, name: str, network: nn.Module, train: Callable[[nn.Module], list[float]]) -> nn.Module:
        """The network with what it has learned: from its file, or by ``train``, which returns its test accuracies.

        Raises ``FolderError`` for a file that is not as it was written.
        """
        if name in self.done:
            return self.load(name, network)
        path = self._folder / f"{name}.pt"
        begun = time.monotonic()
        history = train(network)
        written = io.BytesIO()
        torch.save(network.state_dict(), written)
        replace_file(path, written.getvalue())
        seconds = round(time.monotonic() - begun, 3)
        self.done[name] = Stage(history, digest_of_content(written.getvalue()), seconds)
        stages = {each: asdict(stage) for each, stage in self.done.items()}
        write_document(self._folder / _STAGES, {"stages": stages}, self._run)
        return network

    def load(self, name: str, network: nn.Module) -> nn.Module:
        """The network with what is in its file; raises ``FolderError`` for one that is not as it was written."""
        path = self._folder / f"{name}.pt"
        remedy = f"remove {self._folder / _STAGES}, and all networks are trained again"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise FolderError(f"{path} cannot be read ({error.strerror}); {remedy}") from error
        if digest_of_content(content) != self.done[name].sha256:
            raise FolderError(f"{path} was changed since it was written; {remedy}")
        if (fault := load_given(network, content)) is not None:
            raise FolderError(f"{path} cannot be used: {fault}; {remedy}")
        return network


def claim(out: Path, config: ExperimentConfig, run: str, *, resume: bool) -> None:
    """Write the configuration into a folder that holds nothing, or see that what it holds is of this distillation."""
    path = out / _CONFIG
    if RunDirectory.is_free(out):
        replace_file(path, dump_yaml(to_mapping(config)).encode())
    elif not path.exists():
        raise ConfigError([f"--out: must be a new or an empty folder, got {out}; name another one or remove it"])
    elif not resume:
        raise ConfigError([f"--out: {out} holds a run; add --resume to resume it, or name another folder"])
    elif run_digest(to_mapping(load_config(path))) != run:
        raise ConfigError(
            [f"--resume: {path} is another configuration than that which is given; name another folder, or set it so"]
        )
