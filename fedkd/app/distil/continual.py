"""Tasks learned one after the other: on a later one, the student's former self is the teacher."""

import copy
import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from fedkd.app.distil.task_checks import Course, check_tasks
from fedkd.app.distil.training import on_labels
from fedkd.app.summary import versions
from fedkd.config.identity import run_digest
from fedkd.config.load import to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.core import plugins
from fedkd.core.compute import fixed_arithmetic, fixed_threads
from fedkd.core.faults import told_by_line
from fedkd.core.files import checked_path, replace_file, write_json
from fedkd.core.messages import parameter_digest
from fedkd.core.seeding import numpy_generator
from fedkd.distillation.balanced_step import StepRow
from fedkd.distillation.distiller import Distiller
from fedkd.distillation.network import NetworkTeacher
from fedkd.distillation.scope import ClassesSoFar
from fedkd.models import predict
from fedkd.results.lock import locked
from fedkd.results.logs import steps_table
from fedkd.results.observer import Observer, Silent
from fedkd.results.report.figures import attempt_figure
from fedkd.results.retention import Retention
from fedkd.results.stages import Stages, claim
from fedkd.server.finished import TASKS_RESULT

FORMER_SELF, REHEARSAL, FINE_TUNING = "former_self", "rehearsal", "fine_tuning"
LEARNERS: Mapping[str, str] = {
    FORMER_SELF: "rehearses, and is taught by its former self",
    REHEARSAL: "rehearses the same samples without it",
    FINE_TUNING: "goes on with each new task alone",
}
"""Who learns the tasks, with the same draws and steps: the student, and what it is compared with."""


@dataclass(frozen=True)
class Learned:
    """What came of it: the student after the last task, and what ``continual.json`` holds."""

    course: Course
    student: nn.Module
    result: Mapping[str, Any]


@dataclass(frozen=True)
class _Lesson:
    """What one task is learned from: positions of its samples, and behind them of those that are rehearsed.

    A rehearsed sample is there so many times that a class of it is drawn about as often as a new one. ``seen`` are the
    classes so far, ``taught`` those before this task.
    """

    samples: Int[Tensor, " samples"]
    seen: Int[Tensor, " seen"]
    taught: Int[Tensor, " taught"]
    new: int

    @property
    def scope(self) -> ClassesSoFar:
        return ClassesSoFar(self.seen, self.taught, torch.arange(len(self.samples)) >= self.new)


@told_by_line("the sequence of tasks")
def learn_in_sequence(
    config: ExperimentConfig, out: str | Path, observer: Observer | None = None, *, resume: bool = False
) -> Learned:
    """Let the student learn ``data.tasks``, and those that it is compared with, from all labelled samples there are.

    Each task takes ``rounds`` rounds of ``distillation.steps`` steps, with momenta, a balancer and a temperature of its
    own. The first is learned from labels alone, once for all. Joint training on all tasks at once, for as many steps as
    all together take, is the upper bound. Test samples measure, and nothing else.

    With ``resume`` tasks that are finished in ``out`` are taken from there. Raises ``ConfigError`` or ``DataError``
    before anything is trained, ``ConfigError`` also where ``out`` holds something else, ``RunError`` where a file
    cannot be written.
    """
    out, observer = checked_path("out", Path(out)), observer or Silent()
    course = check_tasks(config)
    config = course.experiment.config
    run = run_digest(to_mapping(config))
    with locked(out):
        claim(out, config, run, resume=resume)
        school = _School(course, Stages(out, run), out, observer)
        with fixed_arithmetic(course.experiment.device), fixed_threads(config.engine.server_threads):
            student, result = school.result()
        write_json(out / TASKS_RESULT, result)
        attempt_figure("continual", partial(_draw, result, out), observer.noticed)
    return Learned(course, student, result)


def _draw(result: Mapping[str, Any], out: Path) -> None:
    from fedkd.results.report.figures.continual import save_continual

    save_continual(result, out / "plots" / "continual.png")


class _School:
    """Everybody who learns the tasks, and what is measured of them."""

    def __init__(self, course: Course, stages: Stages, out: Path, observer: Observer) -> None:
        self._course, self._stages, self._out, self._observer = course, stages, out, observer
        self._experiment, self._tasks = course.experiment, course.tasks
        self._rounds = course.experiment.config.rounds

    def result(self) -> tuple[nn.Module, dict[str, Any]]:
        """The student, and what ``continual.json`` holds."""
        rehearses = any(task.kept.numel() > 0 for task in self._tasks)
        names = [name for name in LEARNERS if rehearses or name != REHEARSAL]
        found = {name: self._sequence(name) for name in names}
        joint = self._joint()
        student = self._stages.network("student", copy.deepcopy(found[FORMER_SELF][0]), lambda model: [])
        class_names = self._experiment.data.class_names
        return student, {
            "tasks": [
                {
                    "classes": [class_names[each] for each in task.classes.tolist()],
                    "train": task.train.numel(),
                    "rehearsed_later": task.kept.numel(),
                    "test": task.test.numel(),
                }
                for task in self._tasks
            ],
            "learners": {name: retention.content() for name, (_, retention) in found.items()},
            "joint": {"accuracy": joint, "average_accuracy": float(np.mean(joint))},
            "mean_lambda": self._mean_lambda(),
            "student_sha256": parameter_digest(student.state_dict()),
            "seconds": {name: stage.seconds for name, stage in self._stages.done.items()},
            "versions": versions(),
        }

    def _sequence(self, learner: str) -> tuple[nn.Module, Retention]:
        """The network after the last task, and what was right on each task after each."""
        network = self._experiment.initial_model()
        untrained = self._right(network, [task.classes for task in self._tasks])
        accuracy, within = [], []
        for number in range(len(self._tasks)):
            # Until there is something to rehearse, all learn the same.
            name = f"{learner}_{number}" if number > 0 else "task_0"
            train = partial(self._learn, learner, number)
            network = self._stages.network(name, copy.deepcopy(network), train)
            seen = self._lesson(learner, number).seen
            accuracy.append(self._right(network, [seen] * len(self._tasks)))
            within.append(self._right(network, [task.classes for task in self._tasks]))
        return network, Retention(np.array(accuracy), np.array(within), np.array(untrained))

    def _lesson(self, learner: str, number: int) -> _Lesson:
        before, task = self._tasks[:number], self._tasks[number]
        taught = _union(each.classes for each in before)
        kept = torch.cat([task.train[:0], *(each.kept for each in before if learner != FINE_TUNING)])
        new, old = task.train.numel() / task.classes.numel(), kept.numel() / max(taught.numel(), 1)
        times = max(1, round(new / old)) if old > 0 else 1
        samples = torch.cat([task.train, kept.repeat(times)])
        return _Lesson(samples, _union([taught, task.classes]), taught, task.train.numel())

    def _learn(self, learner: str, number: int, student: nn.Module) -> list[float]:
        experiment, lesson = self._experiment, self._lesson(learner, number)
        inputs, labels = self._course.inputs[lesson.samples], self._course.labels[lesson.samples]
        seed = self._seed(number)
        stage = f"{learner}, task {number}" if number > 0 else "task 0"
        if number == 0 or learner != FORMER_SELF:
            trainer = on_labels(experiment, student, experiment.config.distillation, seed=seed)
            trainer.scope = lesson.scope
            self._fit(trainer, inputs, labels, stage)
            return []
        former = NetworkTeacher(copy.deepcopy(student), experiment.data.spec)
        section = experiment.config.distillation
        trainer = Distiller(
            student,
            experiment.new(plugins.BALANCER, section.balancer),
            section,
            temperature=experiment.new(plugins.TEMPERATURE, section.temperature),
            seed=seed,
            rounds=self._rounds,
            network=former,
        )
        trainer.scope = lesson.scope
        teacher, rows = former.on(inputs), list[StepRow]()
        for round in range(1, self._rounds + 1):
            progress = self._progress(stage, round)
            found = trainer.distil(teacher, inputs, labels, round=round, progress=progress).rows
            rows += (replace(row, round=number * self._rounds + round) for row in found)
        _add_steps(self._out / "distillation.csv", rows, number * self._rounds)
        return []

    def _fit(self, trainer: Distiller, inputs: Tensor, labels: Tensor, stage: str, tasks: int = 1) -> None:
        """Learn labels alone, for the steps of so many tasks, in the larger of the two batch sizes."""
        section = self._experiment.config.distillation
        for round in range(1, self._rounds + 1):
            trainer.fit_labels(
                inputs,
                labels,
                round=round,
                steps=tasks * section.steps,
                batch_size=max(section.batch_size, section.labelled_batch_size),
                progress=self._progress(stage, round),
            )

    def _joint(self) -> list[float]:
        """What is right on each task after all were learned at once."""

        def train(model: nn.Module) -> list[float]:
            samples = torch.cat([task.train for task in self._tasks])
            inputs, labels = self._course.inputs[samples], self._course.labels[samples]
            section, seed = self._experiment.config.distillation, self._seed(len(self._tasks))
            trainer = on_labels(self._experiment, model, section, seed=seed)
            self._fit(trainer, inputs, labels, "joint", len(self._tasks))
            return []

        network = self._stages.network("joint", self._experiment.initial_model(), train)
        everything = _union(task.classes for task in self._tasks)
        return self._right(network, [everything] * len(self._tasks))

    def _right(self, network: nn.Module, choices: Iterable[Tensor]) -> list[float]:
        """The share of each task's test samples that are right where one has to choose among some classes."""
        data = self._experiment.resident
        logits = predict(network, data.test_inputs)
        found = []
        for task, classes in zip(self._tasks, choices, strict=True):
            named = classes[logits[task.test][:, classes].argmax(dim=1)]
            found.append(float((named == data.test_labels[task.test]).double().mean()))
        return found

    def _mean_lambda(self) -> list[float | None]:
        """The mean of λ while each task was learned; null for the first, which has no former self."""
        with (self._out / "distillation.csv").open(encoding="utf-8", newline="") as file:
            steps = [(int(row["round"]), float(row["lambda"])) for row in csv.DictReader(file)]
        return [
            None,
            *(
                float(np.mean([lam for round, lam in steps if (round - 1) // self._rounds == number]))
                for number in range(1, len(self._tasks))
            ),
        ]

    def _progress(self, stage: str, round: int) -> Callable[[int, int], None]:
        return lambda done, total: self._observer.progress(stage, (round - 1) * total + done, self._rounds * total)

    def _seed(self, number: int) -> int:
        """The seed of a task's own draws; the same for all who learn it."""
        return int(numpy_generator(self._experiment.config.seed, round=number, purpose="task").integers(2**63))


def _union(classes: Iterable[Tensor]) -> Tensor:
    found: Tensor = torch.cat([torch.empty(0, dtype=torch.long), *classes]).unique()
    return found


def _add_steps(path: Path, rows: Iterable[StepRow], before: int) -> None:
    """Let ``distillation.csv`` end with these rows, behind those of the rounds up to ``before``."""
    heading, *new = steps_table(rows).splitlines(keepends=True)
    old = path.read_text(encoding="utf-8").splitlines(keepends=True)[1:] if path.exists() else []
    kept = [line for line in old if int(line.partition(",")[0]) <= before]
    replace_file(path, "".join([heading, *kept, *new]).encode())
