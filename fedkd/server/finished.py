"""The networks of a finished run, of clients or of one teacher network."""

import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from fedkd.config.identity import run_digest
from fedkd.config.load import to_mapping
from fedkd.core.errors import FolderError
from fedkd.core.files import checked_path, is_file
from fedkd.core.messages import parameter_digest
from fedkd.experiment import Experiment
from fedkd.results.control_network import load_control
from fedkd.results.directory import RunDirectory
from fedkd.results.records import Summary
from fedkd.results.stages import Stages
from fedkd.server.server import Server

RESULT = "result.json"
"""What came of a distillation of one network; its last file."""
TASKS_RESULT = "continual.json"
"""The same of a student that learned several tasks in sequence."""
TEACHER, STUDENT, ALONE = "teacher", "student", "student_without_teacher"
"""The networks of such a distillation, by the names of their files."""


@dataclass(frozen=True)
class Finished:
    """A finished run in ``folder``; what it has of networks are copies on the CPU, in evaluation mode."""

    folder: Path
    directory: RunDirectory
    experiment: Experiment

    @classmethod
    def of(cls, folder: Path) -> "Finished":
        """Raises ``FolderError`` for a folder without a finished run, or whose files are not as they were written."""
        folder = checked_path("DIR", folder)
        if not is_file(folder / "config.yaml"):
            raise FolderError(f"{folder} holds no run; name the folder of a finished one")
        directory = RunDirectory(folder)
        found = cls(folder, directory, Experiment.of(directory.config))
        if found.of_one_network and not is_file(folder / RESULT):
            raise FolderError(
                f"{folder} holds a distillation that is not finished; fedkd distill {folder / 'config.yaml'} --resume "
                f"--out {folder} goes on"
            )
        if not found.of_one_network:
            found.summary  # noqa: B018  # it says whether the run is finished
        return found

    @property
    def of_one_network(self) -> bool:
        """Whether one network taught, and no clients."""
        return Stages.are_in(self.folder) or self.experiment.config.teacher is not None

    @cached_property
    def summary(self) -> Summary:
        """That of a run of clients."""
        if (summary := self.directory.summary) is None:
            raise FolderError(
                f"{self.folder} holds a run that is not finished; fedkd run --resume --out {self.folder} goes on"
            )
        return summary

    def student(self) -> nn.Module | None:
        """The student; None where the server has no model."""
        if self.of_one_network:
            return _apart(self._stage(STUDENT, self.experiment.initial_model()))
        student = self.server(self.summary.rounds).rule.student
        if student is None:
            return None
        if parameter_digest(student.state_dict()) != self.summary.student_sha256:
            raise FolderError(
                f"{self.folder}: the last checkpoint's student is not the one of summary.json; put both back from a "
                "copy"
            )
        return _apart(student)

    def student_without_teacher(self) -> nn.Module | None:
        """The same network, trained on the labelled samples alone; None where the run did not train it."""
        model = self.experiment.initial_model()
        if self.of_one_network:
            return _apart(self._stage(ALONE, model)) if ALONE in self._stages.done else None
        run = run_digest(to_mapping(self.directory.config))
        return _apart(model) if load_control(self.folder, run, self.summary.rounds, model) else None

    def teacher(self) -> nn.Module | None:
        """The one network that taught; None where clients did."""
        section = self.experiment.config.teacher
        if section is None or not self.of_one_network:
            return None
        return _apart(self._stage(TEACHER, self.experiment.initial_teacher(section)))

    def server(self, round: int) -> Server:
        """The server as it was after a round, with what clients keep where the run has it."""
        server = Server.build(self.experiment, state_dir=str(self.directory.client_state.resolve()))
        server.load_state_dict(self.directory.checkpoint(round).server)
        return server

    @cached_property
    def _stages(self) -> Stages:
        return Stages(self.folder, run_digest(to_mapping(self.directory.config)))

    def _stage(self, name: str, network: nn.Module) -> nn.Module:
        if name not in self._stages.done:
            raise FolderError(f"{self.folder} has no {name}; a distillation of a sequence of tasks has several")
        return self._stages.load(name, network)


def _apart(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).cpu().eval()
