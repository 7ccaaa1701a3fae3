"""Is there anything in the relations between tasks that a student does not learn from each task alone?

    python scripts/multi_task_study.py [--preset small|full] [--out docs/results]

A network learns two labels of every image, and teaches a small one with the same two heads: by the relations between
its outputs for the two tasks (``multi_task_relational``), by its answers to each (``kl``), or by both; ``labels`` is
the student without it. λ is ½ throughout, against the same labelled samples in as many steps. ``apart`` is how far the
relations between the student's outputs are from the teacher's on test samples: the loss itself.

The weights of the relational loss, alone and beside KL, are chosen on a tuning seed, by the mean of both accuracies on
images of the train split that have no other role; the comparison is on other seeds and on test samples. Intervals are
Student's over seeds, differences paired by seed.

Resumable, on all cores. Writes multi_task.json, .csv and .png.
"""

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedkd.config.load import load_config, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.distillation.heads import split, unlabelled
from fedkd.distillation.loss import Answers, Batch, build_loss
from fedkd.experiment import Experiment
from fedkd.models import hit_rate, predict
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import Figure, new_figure
from studies.losses import versus
from studies.one_network import keep_teacher, kept_teacher, taught
from studies.study import Report, Stage, Study, aligned, decimals, plus_minus, study_parser
from studies.tasks import Results

RELATIONAL = "multi_task_relational"
LABELS, ALONE, KL, BOTH = "labels", "relations", "kl", "kl + relations"
STUDENTS = (LABELS, ALONE, KL, BOTH)
WEIGHTS = (0.1, 1.0, 10.0)
COMPARED = {ALONE: LABELS, KL: LABELS, BOTH: KL}
"""Each student, and the one that differs from it by a loss."""


@dataclass(frozen=True)
class Preset:
    """Experiments by name, each with one other label, and the seeds of the comparison."""

    bases: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]
    tuning_seed: int = 100
    measured: int = 5_000

    def config(self, name: str, seed: int, student: str = KL, weight: float = 1.0) -> ExperimentConfig:
        relations = {"name": RELATIONAL, "weight": weight}
        losses = {ALONE: [relations], BOTH: [{"name": "kl"}, relations]}.get(student, [{"name": "kl"}])
        return load_config(dict(self.bases[name]), values={"seed": seed, "distillation.loss": losses})


def _base(dataset: str, head: str, private: int, public: Mapping[str, int], epochs: int, steps: int) -> dict[str, Any]:
    return {
        "rounds": 1,
        "data": {"dataset": dataset, "heads": [head], "private_size": private, "public": public},
        "clients": {"count": 2},
        "teacher": {"model": "cnn", "epochs": epochs},
        "student": {"model": {"name": "mlp", "hidden": [16]}},
        "distillation": {
            "steps": steps,
            "batch_size": 64,
            "optimiser": "adam",
            "learning_rate": 0.003,
            "temperature": 3.0,
            "balancer": {"name": "fixed", "value": 0.5},
        },
    }


PRESETS = {
    "full": Preset(
        {
            "digits": _base("digits", "parity", 400, {"size": 700, "labelled": 100}, 30, 600),
            "fashion_mnist": _base("fashion_mnist", "kind", 5_000, {"size": 5_000, "labelled": 250}, 6, 1000),
        },
        seeds=(0, 1, 2),
    ),
    "small": Preset({"digits": _base("digits", "parity", 300, {"size": 400, "labelled": 100}, 2, 10)}, seeds=(0, 1)),
}


def teach(runs: Path, preset: str, name: str, seed: int) -> None:
    """Keep the teacher's weights."""
    keep_teacher(Experiment.of(PRESETS[preset].config(name, seed)), _file(runs, preset, name, seed))


def tune(runs: Path, preset: str, name: str, seed: int, student: str, weight: float) -> float:
    """The mean of a student's two accuracies on images that have no role."""
    found = PRESETS[preset]
    experiment, network = _student(runs, preset, name, seed, student, weight)
    # In the place of the private samples, as many as there are: those of another experiment, which differs in no more.
    config = experiment.config
    whole = Experiment.of(replace(config, data=replace(config.data, private_size=None))).data
    left = torch.arange(len(experiment.data.labels), len(whole.labels))[: found.measured]
    labels = (whole.labels[left], *(whole.other_labels[head].private[left] for head in whole.heads))
    return float(np.mean(_accuracies(network, whole.inputs[left], labels, experiment.data.head_sizes)))


def learn(runs: Path, preset: str, name: str, seed: int, student: str, weight: float) -> dict[str, Any]:
    """Accuracies by task, and how far the relations are from the teacher's, on test samples."""
    experiment, network = _student(runs, preset, name, seed, student, weight)
    data, teacher = experiment.data, kept_teacher(experiment, _file(runs, preset, name, seed))
    labels = (data.test_labels, *(data.other_labels[head].test for head in data.heads))
    inputs, sizes = data.test_inputs[:], data.head_sizes
    return {
        "accuracy": _accuracies(network, inputs, labels, sizes),
        "teacher": _accuracies(teacher.model, inputs, labels, sizes),
        "apart": _apart(predict(network, inputs), predict(teacher.model, inputs), sizes),
    }


def _student(
    runs: Path, preset: str, name: str, seed: int, student: str, weight: float
) -> tuple[Experiment, nn.Module]:
    experiment = Experiment.of(PRESETS[preset].config(name, seed, student, weight))
    teacher = None if student == LABELS else kept_teacher(experiment, _file(runs, preset, name, seed))
    return experiment, taught(experiment, teacher)


def _accuracies(network: nn.Module, inputs: Tensor, labels: Sequence[Tensor], sizes: tuple[int, ...]) -> list[float]:
    parts = split(predict(network, inputs), sizes)
    return [hit_rate(part, named) for part, named in zip(parts, labels, strict=True)]


def _apart(student: Tensor, teacher: Tensor, sizes: tuple[int, ...]) -> float:
    """The relational loss in batches of 100."""
    loss = build_loss(RELATIONAL)
    values = []
    for own, its in zip(student.split(100), teacher.split(100), strict=True):
        batch = Batch(1.0, unlabelled(torch.arange(len(own)), sizes), heads=sizes)
        values.append(float(loss.value(Answers(own), Answers(its), batch)))
    return float(np.mean(values))


def _file(runs: Path, preset: str, name: str, seed: int) -> Path:
    return runs / preset / f"{name}_{seed}.pt"


def chosen(preset: str, results: Results) -> dict[str, dict[str, float]]:
    """The weights that were best on the tuning seed, by data set and student; the smallest of equals."""
    found = PRESETS[preset]
    return {
        name: {
            student: max(WEIGHTS, key=lambda weight: results[preset, name, found.tuning_seed, student, weight])
            for student in (ALONE, BOTH)
        }
        for name in found.bases
    }


def seeds_of(asked: Namespace) -> list[int]:
    return list(asked.seeds or PRESETS[asked.preset].seeds)


def stages(asked: Namespace) -> Iterator[Stage]:
    preset, found, seeds = asked.preset, PRESETS[asked.preset], seeds_of(asked)
    tuned = found.tuning_seed
    yield Stage("teachers", teach, [(preset, name, seed) for name in found.bases for seed in (tuned, *seeds)])
    settings = [(student, weight) for student in (ALONE, BOTH) for weight in WEIGHTS]
    yield Stage("tuning", tune, [(preset, name, tuned, *each) for name in found.bases for each in settings])
    weights = chosen(preset, Results(asked.runs / "results.jsonl"))
    students = [(name, seed, student) for name in found.bases for seed in seeds for student in STUDENTS]
    yield Stage("students", learn, [(preset, *each, weights[each[0]].get(each[2], 1.0)) for each in students])


def compared(asked: Namespace, results: Results) -> Report:
    preset, seeds, weights = asked.preset, seeds_of(asked), chosen(asked.preset, results)
    found = {
        name: {
            student: [results[preset, name, seed, student, by_student.get(student, 1.0)] for seed in seeds]
            for student in STUDENTS
        }
        for name, by_student in weights.items()
    }
    tuned = PRESETS[preset].tuning_seed
    rows = [
        row
        for name, by_student in found.items()
        for row in summarise(name, ("class", *PRESETS[preset].bases[name]["data"]["heads"]), by_student)
    ]
    content = {
        "preset": preset,
        "seeds": seeds,
        "tuning_seed": tuned,
        "weights": weights,
        "tuning": {
            name: {
                student: {f"{weight:g}": 100 * results[preset, name, tuned, student, weight] for weight in WEIGHTS}
                for student in by_student
            }
            for name, by_student in weights.items()
        },
        "rows": rows,
        "runs": found,
        "configs": {name: to_mapping(PRESETS[preset].config(name, seeds[0])) for name in found},
    }
    text = aligned([text_row(row) for row in rows])
    return Report(content, text, csv=[csv_row(row) for row in rows], figures={"": figure_of(rows)})


def summarise(
    name: str, tasks: Sequence[str], by_student: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """A row per task and network: means with half-widths of 95 % intervals, and differences, in per cent."""
    rows = []
    for position, task in enumerate(tasks):
        shares = {student: [100 * run["accuracy"][position] for run in runs] for student, runs in by_student.items()}
        teacher = mean_and_ci([100 * run["teacher"][position] for run in by_student[KL]])
        rows.append({"data": name, "task": task, "network": "teacher", "accuracy": teacher})
        for student, values in shares.items():
            row: dict[str, Any] = {"data": name, "task": task, "network": student, "accuracy": mean_and_ci(values)}
            row["apart"] = mean_and_ci([run["apart"] for run in by_student[student]])
            if student in COMPARED:
                row |= {"against": COMPARED[student], "difference": versus(values, shares[COMPARED[student]])}
            rows.append(row)
    return rows


def text_row(row: Mapping[str, Any]) -> dict[str, str]:
    found = row.get("difference")
    told = "" if found is None else f"{found['mean']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]"
    return {
        "data": row["data"],
        "task": row["task"],
        "network": row["network"],
        "accuracy": plus_minus(row["accuracy"]),
        "minus": row.get("against", ""),
        "difference": told,
        "apart": plus_minus(row.get("apart"), ".4f"),
    }


def csv_row(row: Mapping[str, Any]) -> dict[str, str]:
    mean, half = row["accuracy"]
    cells = {key: row.get(key, "") for key in ("data", "task", "network")} | decimals(accuracy=mean, accuracy_ci95=half)
    found = row.get("difference") or {}
    cells |= {"against": row.get("against", ""), **{f"difference_{key}": "" for key in ("mean", "low", "high")}}
    cells |= decimals(**{f"difference_{key}": value for key, value in found.items()})
    return cells | {"apart": f"{row['apart'][0]:.5f}" if "apart" in row else ""}


def figure_of(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Differences in points with their intervals, one line a data set, a task and a student."""
    shown = [row for row in rows if "difference" in row]
    figure = new_figure(8, 1 + 0.35 * len(shown))
    axes = figure.add_subplot()
    means = [row["difference"]["mean"] for row in shown]
    halves = [row["difference"]["high"] - row["difference"]["mean"] for row in shown]
    axes.errorbar(means, range(len(shown)), xerr=halves, fmt="o", capsize=3)
    axes.axvline(0.0, color="grey", linewidth=1)
    names = [f"{row['data']}, {row['task']}: {row['network']} − {row['against']}" for row in shown]
    axes.set_yticks(range(len(shown)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("points of test accuracy")
    return figure


STUDY = Study("multi_task", stages, compared)


def main(argv: Sequence[str] | None = None) -> int:
    return STUDY.carry_out(study_parser(__doc__, STUDY.name, PRESETS).parse_args(argv))
