"""One run: what it was asked, what came of it, and its networks."""

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from fedkd.app.runs import frames
from fedkd.app.runs.plots import Plots
from fedkd.config.identity import run_digest
from fedkd.config.load import read_yaml
from fedkd.config.schema import ExperimentConfig
from fedkd.core.documents import read_json
from fedkd.core.errors import ConfigError, FolderError
from fedkd.experiment import Experiment
from fedkd.results.directory import RunDirectory
from fedkd.results.observer import Observer, Silent
from fedkd.results.records import Summary
from fedkd.results.stages import Stages
from fedkd.results.summary_file import read_summary
from fedkd.server.finished import RESULT, TASKS_RESULT, Finished

if TYPE_CHECKING:
    from pandas import DataFrame

    from fedkd.results.report.run_log import RunLog


class Run:
    """A run's folder, as ``fedkd.load_run``, ``fedkd.run_experiment`` and ``fedkd.distil_network`` give it.

    Everything is read when it is first asked for: a run that goes on afterwards is to be loaded again. Frames are made
    anew at every call; shares are in [0, 1], and what was not measured is NaN. A run is a path too, which
    ``analyse_run(run)``, ``audit_run(run)`` and ``Path(run)`` take.

    Whatever is asked for raises ``FolderError`` where a file of the folder is not as it was written, or where a run of
    this kind, or one that is not finished, has no such thing.
    """

    def __init__(self, folder: Path, summary: Summary | None = None) -> None:
        """``summary`` is that of the run in the folder, where it is known."""
        self.folder = folder
        self._summary = summary

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        return f"<Run {self.folder}: {self.progress}>"

    def _repr_html_(self) -> str:
        from fedkd.app.runs.markup import run_table

        return run_table(self)

    @cached_property
    def config(self) -> ExperimentConfig:
        """The resolved configuration."""
        return self._directory.config

    @property
    def experiment(self) -> Experiment:
        """The data and parts of the experiment: ``experiment.data.test_inputs``, ``.test_labels`` and so on."""
        return Experiment.of(self.config)

    @cached_property
    def of_one_network(self) -> bool:
        """Whether ``fedkd distill`` wrote it: one network taught, and no clients."""
        if Stages.are_in(self.folder):
            return True
        # Without the code of plug-ins, which whoever reads frames need not have.
        with suppress(ConfigError):
            return read_yaml(self.folder / "config.yaml").content.get("teacher") is not None
        return False

    @property
    def finished(self) -> bool:
        """Whether everything was done that the configuration asks for."""
        return bool(self.result)

    @property
    def progress(self) -> str:
        """How far the run is, in words."""
        if not self.of_one_network:
            return f"{len(self.log.rounds)} of {self.log.at('rounds')} rounds are recorded"
        return "a distillation of one network" + ("" if self.finished else ", without a result")

    @cached_property
    def summary(self) -> Summary:
        """The result of ``fedkd run``: accuracies, controls, bytes, ε, versions."""
        if self.of_one_network:
            raise FolderError(f"{self.folder} holds a distillation of one network; run.result has what came of it")
        if self._summary is not None:
            return self._summary
        if (found := read_summary(self.folder, run_digest(self.log.config))) is None:
            raise FolderError(
                f"{self.folder} holds a run that is not finished; fedkd run --resume --out {self.folder} goes on"
            )
        return found[0]

    @cached_property
    def result(self) -> Mapping[str, Any]:
        """What ``summary.json`` has; of ``fedkd distill`` ``result.json`` or ``continual.json``. {} before the end."""
        if not self.of_one_network:
            return self.log.summary or {}
        remedy = f"fedkd distill --resume --out {self.folder} makes it again"
        paths = (self.folder / name for name in (RESULT, TASKS_RESULT))
        return next((read_json(path, remedy) for path in paths if path.exists()), {})

    @property
    def rounds(self) -> "DataFrame":
        """A row per round: accuracies, losses, mean λ, bytes, seconds, and what validation and diagnosis found.

        ``clients`` and ``failures`` say how many clients took part, and how many were dropped.
        """
        return frames.rounds_frame(self.log)

    @property
    def steps(self) -> "DataFrame":
        """A row per distillation step: λ, losses, norms and cosine of the gradients, decrease, temperature.

        What was measured class by class is in ``cos_by_class_0``, ``gap_by_class_0`` and so on.
        """
        return frames.steps_frame(self.folder)

    @property
    def clients(self) -> "DataFrame":
        """A row per round and client: model, bytes each way, accuracies, behaviour."""
        return frames.clients_frame(self.log.path)

    @property
    def failures(self) -> "DataFrame":
        """A row per round and client that was dropped from it, with the reason."""
        return frames.failures_frame(self.log)

    @property
    def controls(self) -> "DataFrame":
        """A row per control and round: its test accuracy. A control with one number has it in the last round."""
        if self.log.summary is not None:
            histories = self.log.summary["control_history"]
        else:
            ended = self._directory.controls(self.config.rounds, lambda fault: None)
            histories = {name: control.history for name, control in ended.items()}
        return frames.controls_frame(histories, self.log.at("rounds"))

    @property
    def compression(self) -> "DataFrame":
        """A row per network of ``fedkd distill``: what it costs and how well it does."""
        return frames.compression_frame(self.folder)

    @property
    def plot(self) -> Plots:
        """The figures of the run's report: ``run.plot.accuracy()`` and so on."""
        return Plots(self)

    def student(self) -> nn.Module:
        """The student, on the CPU and in evaluation mode; a copy at every call."""
        student = self._networks.student()
        if student is None:
            rule = self.config.student.rule.name
            raise FolderError(f"{self.folder} holds a run of student.rule={rule}, which has no model on the server")
        return student

    def student_without_teacher(self) -> nn.Module:
        """The same network trained on the labelled samples alone, on the CPU and in evaluation mode."""
        student = self._networks.student_without_teacher()
        if student is None:
            raise FolderError(f"{self.folder} has no student without a teacher; add public_only to controls")
        return student

    def teacher(self, observer: Observer | None = None) -> nn.Module:
        """What taught the student in the end, on the CPU and in evaluation mode.

        Of ``fedkd distill`` that is the teacher network. Of a run of clients it is the last round's ensemble, a module
        without parameters that answers with log-probabilities about any samples: what the clients would have released
        of them, and the strategy made of that. Nobody keeps it, so the clients' part of that round is done again as it
        was, which takes as long; ``observer`` is told of the progress.

        Raises ``FolderError`` also where it cannot be made again: noise from the operating system or within a secure
        sum, an algorithm without a teacher.
        """
        network = self._networks.teacher()
        if network is not None:
            return network
        if self.of_one_network:
            raise FolderError(f"{self.folder} has no teacher: its student was taught by its former self")
        from fedkd.app.runs.ensemble import Ensemble

        return Ensemble.of(self._networks, observer or Silent())

    @cached_property
    def log(self) -> "RunLog":
        """The files of a run of clients, read; raises ``FolderError`` where they do not agree."""
        if self.of_one_network:
            raise FolderError(
                f"{self.folder} holds a distillation of one network, which has no rounds of clients and no controls; "
                "it has config, result, steps, compression, student(), teacher() and figures"
            )
        from fedkd.results.report.run_log import RunLog

        return RunLog.read(self.folder)

    @cached_property
    def _directory(self) -> RunDirectory:
        return RunDirectory(self.folder)

    @cached_property
    def _networks(self) -> Finished:
        return Finished(self.folder, self._directory, self.experiment)
