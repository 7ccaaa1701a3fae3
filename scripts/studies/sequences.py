"""Can one fixed pattern stand for attention? Accuracy, latency, and how near it is to the teacher's mean attention.

    python scripts/sequence_study.py [--preset small|full] [--out docs/results]

A network with dynamic attention reads images row by row, and teaches one whose weights of the rows are the same for
every image. The student learns from the teacher's answers and from its contexts and weights (``context``), from the
answers alone (``kl``), or, with as many steps, from the labels that there are for it (``labels``). Beside accuracies:
half the sum of the differences (total variation) and the cosine between the student's pattern and the teacher's
weights, averaged over the test samples and over its queries; and the milliseconds of one answer and of 64.

The weight of the loss ``context`` is chosen on a tuning seed, on images of the train split that have no other role; the
comparison is on other seeds and on test samples. Intervals are Student's over seeds, differences paired by seed.

Resumable, on all cores. Writes sequences.json, .csv and .png.
"""

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedkd.config.load import load_config, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.core.samples import Inputs
from fedkd.data import unused_samples
from fedkd.distillation.network import NetworkTeacher
from fedkd.experiment import Experiment
from fedkd.models import accuracy, forward_pass, latencies
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import Figure, new_figure
from studies.one_network import keep_teacher, kept_teacher, taught
from studies.study import Report, Stage, Study, aligned, decimals, plus_minus, study_parser
from studies.tasks import Results

CONTEXT, KL, LABELS = "kl + context", "kl", "labels"
STUDENTS = (CONTEXT, KL, LABELS)
WEIGHTS = (0.25, 1.0, 4.0)
BATCHES = (1, 64)


@dataclass(frozen=True)
class Preset:
    """Experiments by name, and the seeds of the comparison."""

    bases: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]
    tuning_seed: int = 100
    measured: int = 5_000

    def config(self, name: str, seed: int, losses: Sequence[Any] = (KL,)) -> ExperimentConfig:
        return load_config(dict(self.bases[name]), values={"seed": seed, "distillation.loss": list(losses)})


def _base(dataset: str, private: int, public: Mapping[str, int], epochs: int, **student: Any) -> dict[str, Any]:
    return {
        "rounds": 1,
        "data": {"dataset": dataset, "transform": "rows", "private_size": private, "public": public},
        "clients": {"count": 2},
        "teacher": {"model": "attention", "epochs": epochs, "learning_rate": 0.003},
        "student": {"model": {"name": "fixed_context", **student.pop("model", {})}},
        "distillation": {"batch_size": 64, "optimiser": "adam", "learning_rate": 0.003, "temperature": 2.0, **student},
    }


PRESETS = {
    "full": Preset(
        {
            "digits": _base("digits", 400, {"size": 800, "labelled": 100}, 40, steps=1000),
            "fashion_mnist": _base(
                "fashion_mnist",
                5_000,
                {"size": 10_000, "labelled": 500},
                8,
                steps=1500,
                model={"depth": 2, "reach": 5},
            ),
        },
        seeds=(0, 1, 2),
    ),
    "small": Preset({"digits": _base("digits", 300, {"size": 400, "labelled": 100}, 1, steps=5)}, seeds=(0, 1)),
}


def losses_of(student: str, weight: float) -> list[Any]:
    return [KL, {"name": "context", "weight": weight}] if student == CONTEXT else [KL]


def teach(runs: Path, preset: str, name: str, seed: int) -> None:
    """Keep the teacher's weights."""
    keep_teacher(Experiment.of(PRESETS[preset].config(name, seed)), _file(runs, preset, name, seed))


def tune(runs: Path, preset: str, name: str, seed: int, weight: float) -> float:
    """The accuracy, on images that have no role, of a student with this weight of the loss ``context``."""
    found = PRESETS[preset]
    experiment = Experiment.of(found.config(name, seed, losses_of(CONTEXT, weight)))
    inputs, labels = (each[: found.measured] for each in unused_samples(experiment.config))
    return accuracy(taught(experiment, kept_teacher(experiment, _file(runs, preset, name, seed))), inputs, labels)


def learn(runs: Path, preset: str, name: str, seed: int, student: str, weight: float) -> dict[str, Any]:
    """What a student comes to, and its teacher, on test samples."""
    experiment = Experiment.of(PRESETS[preset].config(name, seed, losses_of(student, weight)))
    data, teacher = experiment.data, kept_teacher(experiment, _file(runs, preset, name, seed))
    network = taught(experiment, None if student == LABELS else teacher)
    return {
        "accuracy": accuracy(network, data.test_inputs, data.test_labels),
        "teacher": accuracy(teacher.model, data.test_inputs, data.test_labels),
        "pattern": mean_weights(NetworkTeacher(network, data.spec), data.test_inputs).tolist(),
        "attention": mean_weights(teacher, data.test_inputs).tolist(),
        "milliseconds": {
            str(batch): latencies(
                {
                    who: forward_pass(model, data.spec, batch)
                    for who, model in (("teacher", teacher.model), ("student", network))
                }
            )
            for batch in BATCHES
        },
    }


def mean_weights(network: NetworkTeacher, inputs: Inputs) -> Tensor:
    """[time], averaged over the samples, and over the queries where there are several."""
    parts = [network.answers(part, ["weights"]).features["weights"].double() for part in inputs.split(256)]
    weights = torch.cat(parts)
    return weights.mean(dim=tuple(range(weights.ndim - 1)))


def variation(one: Sequence[float], other: Sequence[float]) -> float:
    """Half the sum of the differences, from 0 to 1."""
    return float(np.abs(np.subtract(one, other)).sum() / 2)


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return float(np.dot(one, other) / (np.linalg.norm(one) * np.linalg.norm(other)))


def _file(runs: Path, preset: str, name: str, seed: int) -> Path:
    return runs / preset / f"{name}_{seed}.pt"


def chosen(preset: str, results: Results) -> dict[str, float]:
    """The weight that was best on the tuning seed, by data set; the smallest of equals."""
    found = PRESETS[preset]
    return {
        name: max(WEIGHTS, key=lambda weight: results[preset, name, found.tuning_seed, weight]) for name in found.bases
    }


def seeds_of(asked: Namespace) -> list[int]:
    return list(asked.seeds or PRESETS[asked.preset].seeds)


def stages(asked: Namespace) -> Iterator[Stage]:
    preset, found, seeds = asked.preset, PRESETS[asked.preset], seeds_of(asked)
    tuned = found.tuning_seed
    yield Stage("teachers", teach, [(preset, name, seed) for name in found.bases for seed in (tuned, *seeds)])
    yield Stage("tuning", tune, [(preset, name, tuned, weight) for name in found.bases for weight in WEIGHTS])
    weights = chosen(preset, Results(asked.runs / "results.jsonl"))
    students = [(name, seed, student) for name in found.bases for seed in seeds for student in STUDENTS]
    yield Stage("students", learn, [(preset, *each, weights[each[0]]) for each in students])


def compared(asked: Namespace, results: Results) -> Report:
    preset, seeds, weights = asked.preset, seeds_of(asked), chosen(asked.preset, results)
    found = {
        name: {student: [results[preset, name, seed, student, weights[name]] for seed in seeds] for student in STUDENTS}
        for name in PRESETS[preset].bases
    }
    rows = [row for name, by_student in found.items() for row in summarise(name, by_student)]
    content = {
        "preset": preset,
        "seeds": seeds,
        "tuning_seed": PRESETS[preset].tuning_seed,
        "weights": weights,
        "tuning": {
            name: {
                f"{weight:g}": 100 * results[preset, name, PRESETS[preset].tuning_seed, weight] for weight in WEIGHTS
            }
            for name in found
        },
        "rows": rows,
        "runs": found,
        "configs": {name: to_mapping(PRESETS[preset].config(name, seeds[0])) for name in found},
    }
    text = aligned([text_row(row) for row in rows])
    return Report(content, text, csv=[csv_row(row) for row in rows], figures={"": figure_of(found)})


def summarise(name: str, by_student: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Means with half-widths of 95 % intervals: accuracies and differences in per cent, distances from 0 to 1."""
    first = by_student[STUDENTS[0]]
    uniform = [1 / len(first[0]["attention"])] * len(first[0]["attention"])
    rows: list[dict[str, Any]] = [
        {"data": name, "network": "teacher", "accuracy": mean_and_ci([100 * run["teacher"] for run in first])}
    ]
    for student, runs in by_student.items():
        rows.append(
            {
                "data": name,
                "network": student,
                "accuracy": mean_and_ci([100 * run["accuracy"] for run in runs]),
                "minus_teacher": mean_and_ci([100 * (run["accuracy"] - run["teacher"]) for run in runs]),
                **_near(runs, [run["pattern"] for run in runs]),
                **{
                    f"times_faster_{batch}": mean_and_ci(
                        [
                            run["milliseconds"][str(batch)]["teacher"] / run["milliseconds"][str(batch)]["student"]
                            for run in runs
                        ]
                    )
                    for batch in BATCHES
                },
            }
        )
    return [*rows, {"data": name, "network": "the same weight for all", **_near(first, [uniform] * len(first))}]


def _times_faster(runs: Sequence[Mapping[str, Any]], batch: int) -> list[float]:
    milliseconds = [run["milliseconds"][str(batch)] for run in runs]
    return [each["teacher"] / each["student"] for each in milliseconds]


def _near(runs: Sequence[Mapping[str, Any]], patterns: Sequence[Sequence[float]]) -> dict[str, tuple[float, float]]:
    pairs = [(pattern, run["attention"]) for pattern, run in zip(patterns, runs, strict=True)]
    return {
        "variation": mean_and_ci([variation(*pair) for pair in pairs]),
        "cosine": mean_and_ci([cosine(*pair) for pair in pairs]),
    }


def text_row(row: Mapping[str, Any]) -> dict[str, str]:
    cells = {"data": row["data"], "network": row["network"]}
    forms = {"accuracy": ".2f", "minus_teacher": "+.2f", "variation": ".3f", "cosine": ".3f"}
    cells |= {key: plus_minus(row.get(key), form) for key, form in forms.items()}
    return cells | {f"times_faster_{batch}": plus_minus(row.get(f"times_faster_{batch}"), ".1f") for batch in BATCHES}


def csv_row(row: Mapping[str, Any]) -> dict[str, str]:
    """Means and half-widths, empty where a row has none."""
    cells = {"data": row["data"], "network": row["network"]}
    for key in ("accuracy", "minus_teacher", "variation", "cosine", *(f"times_faster_{batch}" for batch in BATCHES)):
        mean, half = row.get(key, (None, None))
        cells |= {key: "", f"{key}_ci95": ""} if mean is None else decimals(**{key: mean, f"{key}_ci95": half})
    return cells


def figure_of(found: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> Figure:
    """The patterns of the first seed beside the teacher's mean attention, a panel a data set."""
    figure = new_figure(5 * len(found), 4)
    for place, (name, by_student) in enumerate(found.items(), start=1):
        axes = figure.add_subplot(1, len(found), place)
        axes.bar(
            range(len(by_student[KL][0]["attention"])),
            by_student[KL][0]["attention"],
            color="0.85",
            label="teacher's mean",
        )
        for student, runs in by_student.items():
            axes.plot(runs[0]["pattern"], marker="o", markersize=3, label=student)
        axes.set_xlabel("row")
        axes.set_ylabel("weight")
        axes.set_title(name)
    axes.legend(fontsize=8)
    return figure


STUDY = Study("sequences", stages, compared)


def main(argv: Sequence[str] | None = None) -> int:
    return STUDY.carry_out(study_parser(__doc__, STUDY.name, PRESETS).parse_args(argv))
