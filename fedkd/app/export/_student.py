"""The student of a finished run, of clients or of one teacher network."""

import copy
from pathlib import Path

from torch import nn

from fedkd.core.errors import FolderError
from fedkd.core.files import checked_path, is_file, reading
from fedkd.core.messages import parameter_digest
from fedkd.experiment import Experiment
from fedkd.models import load_given
from fedkd.results.directory import RunDirectory
from fedkd.server.server import Server

STUDENT_FILE, RESULT = "student.pt", "result.json"
"""Where ``fedkd distill`` keeps the student's state dict, and what came of it all."""


def finished_student(folder: Path) -> tuple[Experiment, nn.Module]:
    """The experiment of a finished run in ``folder``, and its student, on the CPU and in evaluation mode.

    Raises ``FolderError`` for a folder without one, or with one whose files are not as they were written.
    """
    folder = checked_path("DIR", folder)
    if not is_file(folder / "config.yaml"):
        raise FolderError(f"{folder} holds no run, and there is no student; name the folder of a finished one")
    directory = RunDirectory(folder)
    experiment = Experiment.of(directory.config)
    student = _of_file(experiment, folder) if is_file(folder / STUDENT_FILE) else _of_run(experiment, directory)
    return experiment, copy.deepcopy(student).cpu().eval()


def _of_file(experiment: Experiment, folder: Path) -> nn.Module:
    path, result, model = folder / STUDENT_FILE, folder / RESULT, experiment.initial_model()
    if not is_file(result):
        raise FolderError(
            f"{folder} holds a distillation that is not finished; fedkd distill {folder / 'config.yaml'} --resume "
            f"--out {folder} goes on"
        )
    with reading(path):
        content, told = path.read_bytes(), result.read_text(encoding="utf-8")
    if (fault := load_given(model, content)) is not None:
        raise FolderError(f"{path} is not what the run wrote: {fault}; put it back from a copy, or run it again")
    if parameter_digest(model.state_dict()) not in told:
        raise FolderError(f"{path} does not hold the student of {result}; put both back from a copy, or run it again")
    return model


def _of_run(experiment: Experiment, directory: RunDirectory) -> nn.Module:
    summary = directory.summary
    if summary is None:
        raise FolderError(
            f"{directory.path} holds a run that is not finished; fedkd run --resume --out {directory.path} goes on"
        )
    server = Server.build(experiment)
    server.load_state_dict(directory.checkpoint(summary.rounds).server)
    student = server.rule.student
    if student is None:
        raise FolderError(
            f"{directory.path} holds a run of student.rule={experiment.config.student.rule.name}, which has no model "
            "on the server; export a run of another rule"
        )
    if parameter_digest(student.state_dict()) != summary.student_sha256:
        raise FolderError(
            f"{directory.path}: the last checkpoint's student is not the one of summary.json; put both back from a copy"
        )
    return student
