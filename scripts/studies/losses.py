"""Which loss does a student learn best by? Each alone and beside KL, from one network and from an ensemble.

    python scripts/loss_study.py [--preset small|full] [--out docs/results]

One network, trained on all labelled samples there are, teaches a smaller one; an ensemble of clients teaches by its
log-probabilities alone, so that losses between layers have nothing to compare. All losses of a teacher and a seed learn
from the same teacher, made once, with λ = ½ against the same labelled samples, in as many steps.

Every loss gets one of three weights, its usual one and a quarter and four times as much: the best on a tuning seed, on
images of the train split that have no other role. Beside KL both count by half. The comparison is on other seeds and on
test samples: the difference to KL alone, paired by seed; intervals are Student's over seeds. ``labels`` is the student
without a teacher. A student whose training diverges counts as one that guesses.

Resumable, on all cores. Writes loss_study.json, .csv and .png.
"""

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fedkd.aggregation.types import Teacher
from fedkd.app.distil.training import distil_student, train_alone, train_teacher
from fedkd.config.load import load_config, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.core.errors import DivergedError
from fedkd.data import unused_samples
from fedkd.distillation.network import NetworkTeacher
from fedkd.distillation.validation import Validation
from fedkd.experiment import Experiment
from fedkd.models import accuracy
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import Figure, new_figure
from fedkd.server.setup import new_distiller
from studies import lambda_cells
from studies.lambda_cells import STACKED, Cell, Setting
from studies.study import Report, Stage, Study, aligned, decimals, plus_minus, study_parser
from studies.tasks import Results

Loss = Mapping[str, Any]
NETWORK, ENSEMBLE = "one network", "ensemble"
LABELS, KL = "labels", "kl"

ON_LOGITS: dict[str, Loss] = {
    KL: {"name": "kl"},
    "reverse_kl": {"name": "reverse_kl"},
    # A quarter of KL where the two are close.
    "jensen_shannon": {"name": "jensen_shannon", "weight": 4.0},
    "mse": {"name": "mse"},
    "dkd": {"name": "dkd", "weight": 0.25},
    "standardised": {"name": "standardised"},
    "relational": {"name": "relational", "weight": 0.04},
}
BETWEEN_LAYERS: dict[str, Loss] = {
    "relational, layers": {"name": "relational", "weight": 0.04, "layers": {"10": "8"}},
    "fitnets": {"name": "fitnets", "layers": {"5": "5"}},
    "attention_transfer": {"name": "attention_transfer", "weight": 10.0, "layers": {"2": "2", "5": "5"}},
}
"""Each with its usual weight; of lenet5 and of cnn, the ends of stages and the last layer but one."""
LOSSES = {NETWORK: ON_LOGITS | BETWEEN_LAYERS, ENSEMBLE: ON_LOGITS}
FACTORS = (0.25, 1.0, 4.0)
"""Of the usual weight."""


@dataclass(frozen=True)
class Preset:
    """The experiment, whose section ``teacher`` is for the one network, and the clients of the ensemble."""

    base: Mapping[str, Any]
    cell: Cell
    seeds: tuple[int, ...]
    tuning_seed: int = 100
    measured: int = 10_000

    @property
    def setting(self) -> Setting:
        return Setting({key: section for key, section in self.base.items() if key != "teacher"})

    def config(self, teacher: str, seed: int, losses: Sequence[Loss] = ()) -> ExperimentConfig:
        config = to_mapping(self.setting.config(self.cell, seed))
        values: dict[str, Any] = {"distillation.loss": list(losses)} if losses else {}
        if teacher == NETWORK:
            values["teacher"] = self.base["teacher"]
        return load_config(config, values=values)


PRESETS = {
    "full": Preset(
        {
            "rounds": 1,
            "data": {"dataset": "fashion_mnist", "private_size": 8_000, "public": {"size": 4_000}},
            "clients": {"count": 10, "epochs": 10},
            "student": {"model": "lenet5"},
            "teacher": {"model": {"name": "cnn", "channels": [32, 64], "hidden": 256}, "epochs": 10},
            "distillation": {"steps": 300, "balancer": {"name": "fixed", "value": 0.5}},
        },
        Cell(0.3, 250, STACKED, 10),
        seeds=(200, 201, 202),
    ),
    "small": Preset(
        {
            "rounds": 1,
            "data": {"dataset": "digits", "private_size": 400, "public": {"size": 300}},
            "clients": {"count": 3, "epochs": 2},
            "student": {"model": "lenet5"},
            "teacher": {"model": "cnn", "epochs": 2},
            "distillation": {"steps": 5, "balancer": {"name": "fixed", "value": 0.5}},
        },
        Cell(0.3, 50, STACKED, 3),
        seeds=(0, 1),
    ),
}


def weighed(teacher: str, name: str, factor: float) -> dict[str, Any]:
    loss = LOSSES[teacher][name]
    return {**loss, "weight": loss.get("weight", 1.0) * factor}


def answer(runs: Path, preset: str, seed: int, client: int) -> None:
    """Keep a client's logits."""
    found = PRESETS[preset]
    lambda_cells.answer(found.setting, found.cell, seed, client, _file(runs, preset, seed, f"client_{client}.npz"))


def teach(runs: Path, preset: str, teacher: str, seed: int) -> float:
    """Keep a teacher: the network's weights, or the log-probabilities of the clients; returns its accuracy.

    On the public samples without labels, where the ensemble's answers are.
    """
    found = PRESETS[preset]
    experiment = Experiment.of(found.config(teacher, seed))
    public = experiment.data.public
    judged = public.labels < 0
    if teacher == ENSEMBLE:
        files = [_file(runs, preset, seed, f"client_{client}.npz") for client in range(found.cell.clients)]
        answers = lambda_cells.teachers(found.setting, found.cell, seed, files)[0]
        np.save(_file(runs, preset, seed, "ensemble.npy"), answers.numpy())
        return float((answers[judged].argmax(dim=1) == public.truth[judged]).float().mean())
    section = experiment.config.teacher
    assert section is not None
    network = experiment.initial_teacher(section)
    train_teacher(experiment, section, network, _silent)
    file = _file(runs, preset, seed, "network.pt")
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), file)
    return accuracy(network, public.inputs[judged], public.truth[judged])


def learn(runs: Path, preset: str, teacher: str, seed: int, losses: tuple[tuple[str, float], ...], test: bool) -> float:
    """Accuracy of a student with losses and factors: on test samples, or on images of the train split that are left."""
    found = PRESETS[preset]
    experiment = Experiment.of(found.config(teacher, seed, [weighed(teacher, *each) for each in losses]))
    try:
        student = _student(experiment, runs, preset, teacher, seed, alone=not losses)
    except DivergedError:
        return 1 / experiment.data.classes
    if test:
        return accuracy(student, experiment.data.test_inputs, experiment.data.test_labels)
    inputs, labels = (each[: found.measured] for each in unused_samples(experiment.config))
    return accuracy(student, inputs, labels)


def _student(experiment: Experiment, runs: Path, preset: str, teacher: str, seed: int, *, alone: bool) -> nn.Module:
    student, section = experiment.initial_model(), experiment.config.teacher
    if alone:
        train_alone(experiment, student, _silent)
    elif section is None:
        answers = Teacher.from_logits(torch.from_numpy(np.load(_file(runs, preset, seed, "ensemble.npy"))))
        public = experiment.data.public
        held_out = Validation(public.validation, public.told[public.validation])
        new_distiller(experiment, student).distil(answers, public.inputs, public.labels, round=1, validation=held_out)
    else:
        network = experiment.initial_teacher(section)
        network.load_state_dict(torch.load(_file(runs, preset, seed, "network.pt"), weights_only=True))
        distil_student(experiment, NetworkTeacher(network, experiment.data.spec), student, _silent)
    return student


def _silent(done: int, total: int) -> None:
    """Progress that nobody sees: the study counts students."""


def _file(runs: Path, preset: str, seed: int, name: str) -> Path:
    return runs / preset / str(seed) / name


def arms(teacher: str, factors: Mapping[str, float]) -> dict[str, tuple[tuple[str, float], ...]]:
    """The losses, with factors, of every student of a seed: none, each alone, and each beside KL, both by half."""
    alone: dict[str, tuple[tuple[str, float], ...]] = {name: ((name, factors[name]),) for name in LOSSES[teacher]}
    beside = {
        f"{KL} + {name}": ((KL, factors[KL] / 2), (name, factors[name] / 2)) for name in LOSSES[teacher] if name != KL
    }
    return {LABELS: (), **alone, **beside}


def chosen(preset: str, results: Results) -> dict[str, dict[str, float]]:
    """The factor of each teacher's losses that was best on the tuning seed; the smallest of equals."""
    seed = PRESETS[preset].tuning_seed
    return {
        teacher: {
            name: max(FACTORS, key=lambda factor: results[preset, teacher, seed, ((name, factor),), False])
            for name in LOSSES[teacher]
        }
        for teacher in LOSSES
    }


def seeds_of(asked: Namespace) -> Sequence[int]:
    seeds: Sequence[int] = asked.seeds or PRESETS[asked.preset].seeds
    return seeds


def stages(asked: Namespace) -> Iterator[Stage]:
    preset, found = asked.preset, PRESETS[asked.preset]
    seeds = (found.tuning_seed, *seeds_of(asked))
    yield Stage("clients", answer, [(preset, seed, client) for seed in seeds for client in range(found.cell.clients)])
    yield Stage("teachers", teach, [(preset, teacher, seed) for teacher in LOSSES for seed in seeds])
    settings = [(teacher, ((name, factor),)) for teacher in LOSSES for name in LOSSES[teacher] for factor in FACTORS]
    yield Stage("tuning", learn, [(preset, teacher, seeds[0], losses, False) for teacher, losses in settings])
    factors = chosen(preset, Results(asked.runs / "results.jsonl"))
    students = [(teacher, losses) for teacher in LOSSES for losses in arms(teacher, factors[teacher]).values()]
    yield Stage(
        "students", learn, [(preset, teacher, seed, losses, True) for seed in seeds[1:] for teacher, losses in students]
    )


def compared(asked: Namespace, results: Results) -> Report:
    preset, seeds, found = asked.preset, list(seeds_of(asked)), PRESETS[asked.preset]
    factors = chosen(preset, results)
    values = {
        teacher: {
            name: [100 * results[preset, teacher, seed, losses, True] for seed in seeds]
            for name, losses in arms(teacher, factors[teacher]).items()
        }
        for teacher in LOSSES
    }
    content = {
        "preset": preset,
        "seeds": seeds,
        "tuning_seed": found.tuning_seed,
        "losses": LOSSES,
        "weights": {
            teacher: {name: weighed(teacher, name, factor)["weight"] for name, factor in factors[teacher].items()}
            for teacher in LOSSES
        },
        "tuning": {
            teacher: {
                name: [100 * results[preset, teacher, found.tuning_seed, ((name, each),), False] for each in FACTORS]
                for name in LOSSES[teacher]
            }
            for teacher in LOSSES
        },
        "teacher": {teacher: [100 * results[preset, teacher, seed] for seed in seeds] for teacher in LOSSES},
        "values": values,
        "versus_kl": {
            teacher: {name: versus(row, by_name[KL]) for name, row in by_name.items() if name != KL}
            for teacher, by_name in values.items()
        },
        "configs": {teacher: to_mapping(found.config(teacher, seeds[0])) for teacher in LOSSES},
    }
    rows = csv_rows(content)
    return Report(content, aligned(text_rows(content)), csv=rows, figures={"": figure_of(content)})


def versus(row: Sequence[float], rival: Sequence[float]) -> dict[str, float]:
    """The difference in points, paired by seed, and its 95 % interval."""
    mean, half = mean_and_ci([one - other for one, other in zip(row, rival, strict=True)])
    return {"mean": mean, "low": mean - half, "high": mean + half}


def text_rows(content: Mapping[str, Any]) -> list[dict[str, str]]:
    rows = []
    for teacher, by_name in content["values"].items():
        rows.append(
            {"teacher": teacher, "losses": "the teacher", "accuracy": f"{np.mean(content['teacher'][teacher]):.2f}"}
        )
        for name, row in by_name.items():
            rows.append({"teacher": teacher, "losses": name, "accuracy": plus_minus(mean_and_ci(row))})
        for row in rows:
            against = content["versus_kl"][row["teacher"]].get(row["losses"])
            row["minus KL"] = (
                f"{against['mean']:+.2f} [{against['low']:+.2f}, {against['high']:+.2f}]" if against else ""
            )
    return rows


def csv_rows(content: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {
            "teacher": teacher,
            "losses": name,
            **decimals(accuracy=float(np.mean(row)), ci95=mean_and_ci(row)[1]),
            **decimals(**{f"minus_kl_{key}": value for key, value in versus(row, by_name[KL]).items()}),
        }
        for teacher, by_name in content["values"].items()
        for name, row in by_name.items()
    ]


def figure_of(content: Mapping[str, Any]) -> Figure:
    """Differences to KL alone, with their intervals, one panel a teacher."""
    figure = new_figure(12, 6)
    for place, (teacher, found) in enumerate(content["versus_kl"].items(), start=1):
        axes = figure.add_subplot(1, 2, place)
        names = list(reversed(found))
        means = [found[name]["mean"] for name in names]
        halves = [found[name]["high"] - found[name]["mean"] for name in names]
        axes.errorbar(means, range(len(names)), xerr=halves, fmt="o", capsize=3)
        axes.axvline(0.0, color="grey", linewidth=1)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        kl = float(np.mean(content["values"][teacher][KL]))
        axes.set_title(f"{teacher}: points of test accuracy against KL alone ({kl:.1f} %)", fontsize=10)
    return figure


STUDY = Study("loss_study", stages, compared)


def main(argv: Sequence[str] | None = None) -> int:
    return STUDY.carry_out(study_parser(__doc__, STUDY.name, PRESETS).parse_args(argv))
