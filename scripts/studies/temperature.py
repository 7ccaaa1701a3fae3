"""Which temperature suits a teacher, and can validation samples tell? Students that differ in nothing but their T.

    python scripts/temperature_study.py [--preset small|full] [--out docs/results]

The full preset has the data, the strategy and the distillation of configs/fashion_mnist.yaml with a teacher of one
round, in which clients train for three epochs and send what they think as it is, and a quarter of its steps; the small
one is on digits. All students of a seed learn from the same teacher, made once, in the same batches.

Every target is tried under the configured λ, and every constant T also without labels (λ = 1), where nothing but the
teacher is heard. What the claims are judged by is measured on test samples, on which the teacher is known, too: the
student's accuracy where the teacher is right and where it is wrong, the share of the teacher's mistakes that it copies,
their agreement, and the student's entropy. ``auto`` chooses on the server's validation samples alone: its candidates'
students are, number by number, those of the table, so that none is trained twice. Its regret is how many points of test
accuracy it is behind that one of its candidates which is best on test samples over all seeds.
Differences are by seed, with Student's 95 % intervals over seeds.

Resumable. Writes temperature_study.json, .csv and .png.
"""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedkd.aggregation.types import ReportStack, Teacher
from fedkd.client.training import train
from fedkd.config.load import load_config, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.core import plugins
from fedkd.core.messages import UNKNOWN_LABEL
from fedkd.core.seeding import torch_generator
from fedkd.distillation import validate_student
from fedkd.distillation.temperature import TemperatureSchedule
from fedkd.distillation.temperature_choice import Progress, choose
from fedkd.distillation.validation import Validation
from fedkd.experiment import Experiment
from fedkd.models import predict
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import PALETTE, Figure, new_figure
from fedkd.server.setup import new_strategy
from studies.study import Report, Stage, Study, aligned, plus_minus, study_parser
from studies.tasks import Results
from studies.teaching import distilled

CONSTANT = (1.0, 2.0, 3.0, 5.0, 8.0)
AUTO, ALONE = "auto", ", teacher alone"
Changes = Mapping[str, Any]
"""Values of a configuration by dotted path."""


def _falling(name: str) -> Changes:
    return {"distillation.temperature": {"name": name, "start": 5.0, "end": 1.0}}


def _consensus(epsilon: float) -> Changes:
    return {
        "distillation.temperature": 2.0,
        "distillation.label_share": 0.3,
        "distillation.label_smoothing": epsilon,
    }


SETTINGS: dict[str, Changes] = {
    **{f"T = {value:g}": {"distillation.temperature": value} for value in CONSTANT},
    **{f"{name} 5→1": _falling(name) for name in ("linear", "cosine", "exponential")},
    "per_sample": {"distillation.temperature": "per_sample"},
    "T = 2, label_share 0.3": _consensus(0.0),
    "T = 2, label_share 0.3, label_smoothing 0.1": _consensus(0.1),
    **{
        f"T = {value:g}{ALONE}": {
            "distillation.temperature": value,
            "distillation.balancer": {"name": "fixed", "value": 1.0},
        }
        for value in CONSTANT
    },
}
"""What is compared: changes to the preset's configuration."""
REFERENCE = "T = 2"
CANDIDATES = (*(f"T = {value:g}" for value in CONSTANT), "linear 5→1")
"""Those among which ``auto`` chooses: its default candidates, in their order."""
PERCENT = (
    "accuracy",
    "agreement",
    "accuracy_where_teacher_right",
    "accuracy_where_teacher_wrong",
    "copied_mistakes",
    "teacher_accuracy",
)
FIGURES = (*PERCENT, "divergence", "student_entropy")
"""Those of ``ValidationReport`` that are told, here on test samples: the first ones in per cent, the others in nats."""


@dataclass(frozen=True)
class Preset:
    """What all students share."""

    source: str
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]

    def config(self, seed: int, changes: Changes | None = None) -> ExperimentConfig:
        """The experiment of a seed; one round, since the teacher stays as it is."""
        overrides = [*self.overrides, f"seed={seed}", "rounds=1", "engine.kind=inline", "controls=[]"]
        return load_config(self.source, overrides, values=changes)


PRESETS = {
    "full": Preset(
        "configs/fashion_mnist.yaml",
        ("clients.epochs=3", "distillation.steps=500", "distillation.average=0.99"),
        seeds=(0, 1, 2),
    ),
    "small": Preset(
        "configs/fashion_mnist.yaml",
        (
            "data.dataset=digits",
            "data.private_size=600",
            "data.public.size=400",
            "data.public.labelled=100",
            "clients.count=4",
            "clients.epochs=3",
            "student.model=mlp",
            "distillation.steps=40",
            "distillation.average=0",
        ),
        seeds=(0, 1),
    ),
}


def answer(runs: Path, preset: str, seed: int, client: int) -> None:
    """Train a client, and keep its logits on the public samples and behind them the test samples."""
    experiment = Experiment.of(PRESETS[preset].config(seed))
    data, config = experiment.data, experiment.config.clients
    own, model = data.clients[client].train, experiment.initial_model()
    draw = torch_generator(seed, client=client, round=1, purpose="local training")
    train(model, data.inputs[own], data.labels[own], config, epochs=config.epochs, generator=draw)
    logits = torch.cat([predict(model, inputs) for inputs in (data.public.inputs, data.test_inputs)])
    file = _answer_file(runs, preset, seed, client)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, examples=np.array(len(own)), logits=logits.numpy())


def teach(runs: Path, preset: str, seed: int) -> None:
    """Keep the log-probabilities of the clients' teacher on the same samples; the labels of the last are not told."""
    experiment = Experiment.of(PRESETS[preset].config(seed))
    kept = [np.load(_answer_file(runs, preset, seed, each)) for each in range(experiment.config.clients.count)]
    stack = ReportStack(
        torch.stack([torch.from_numpy(each["logits"]) for each in kept]),
        torch.tensor([int(each["examples"]) for each in kept]),
        torch.cat([experiment.data.public.labels, torch.full_like(experiment.data.test_labels, UNKNOWN_LABEL)]),
        tuple(range(len(kept))),
    )
    np.save(_teacher_file(runs, preset, seed), new_strategy(experiment)(stack).log_probabilities.numpy())


def distil(runs: Path, preset: str, seed: int, setting: str) -> dict[str, Any]:
    """Keep a student; returns its figures on the test samples."""
    experiment = Experiment.of(PRESETS[preset].config(seed, SETTINGS[setting]))
    data, (public, test) = experiment.data, _taught(runs, preset, seed, experiment)
    student, _ = distilled(experiment, Teacher.from_logits(public))
    torch.save(student.state_dict(), _student_file(runs, preset, seed, setting))
    return asdict(validate_student(predict(student, data.test_inputs), test, data.test_labels))


def choose_one(runs: Path, preset: str, seed: int, auto: str) -> dict[str, Any]:
    """What ``auto`` chooses for the students that are there, on the validation samples."""
    experiment = Experiment.of(PRESETS[preset].config(seed, {"distillation.temperature": auto}))
    schedule: TemperatureSchedule = experiment.new(plugins.TEMPERATURE, experiment.config.distillation.temperature)
    candidates = dict(zip(CANDIDATES, schedule.contenders.values(), strict=True))
    names = {id(each): setting for setting, each in candidates.items()}

    def taught(schedule: TemperatureSchedule, progress: Progress) -> nn.Module:
        student = experiment.initial_model()
        file = _student_file(runs, preset, seed, names[id(schedule)])
        student.load_state_dict(torch.load(file, weights_only=True))
        return student

    public = experiment.data.public
    teacher = Teacher.from_logits(_taught(runs, preset, seed, experiment)[0])
    held_out = Validation(public.validation, public.told[public.validation])
    return asdict(choose(candidates, taught, teacher.log_probabilities, public.inputs, held_out, lambda *done: None))


def _taught(runs: Path, preset: str, seed: int, experiment: Experiment) -> tuple[Tensor, Tensor]:
    """The teacher on the public and on the test samples."""
    found = torch.from_numpy(np.load(_teacher_file(runs, preset, seed)))
    public = experiment.data.public.labels.numel()
    return found[:public], found[public:]


def _answer_file(runs: Path, preset: str, seed: int, client: int) -> Path:
    return runs / preset / f"client_{seed}_{client}.npz"


def _teacher_file(runs: Path, preset: str, seed: int) -> Path:
    return runs / preset / f"teacher_{seed}.npy"


def _student_file(runs: Path, preset: str, seed: int, setting: str) -> Path:
    return runs / preset / f"student_{seed}_{list(SETTINGS).index(setting)}.pt"


def stages(asked: Namespace) -> list[Stage]:
    """The clients of all seeds, their teachers, a student for each setting, and the choices among them."""
    preset, seeds = asked.preset, seeds_of(asked)
    clients = range(PRESETS[preset].config(seeds[0]).clients.count)
    return [
        Stage("clients", answer, [(preset, seed, client) for seed in seeds for client in clients]),
        Stage("teachers", teach, [(preset, seed) for seed in seeds]),
        Stage("students", distil, [(preset, seed, setting) for seed in seeds for setting in SETTINGS]),
        Stage("choices", choose_one, [(preset, seed, AUTO) for seed in seeds]),
    ]


def seeds_of(asked: Namespace) -> Sequence[int]:
    return asked.seeds or PRESETS[asked.preset].seeds


Values = Mapping[str, Mapping[str, Sequence[float]]]
"""Figures by setting and name, one per seed."""


def report(asked: Namespace, results: Results) -> Report:
    """The table, what speaks for the claims, and what ``auto`` is worth."""
    preset, seeds = asked.preset, seeds_of(asked)
    choices = {seed: results[preset, seed, AUTO] for seed in seeds}
    taken = {setting: dict.fromkeys(seeds, setting) for setting in SETTINGS}
    taken[AUTO] = {seed: choices[seed]["chosen"] for seed in seeds}
    values = {
        setting: {name: [_figure(results[preset, seed, by[seed]], name) for seed in seeds] for name in FIGURES}
        for setting, by in taken.items()
    }
    content = {
        "preset": preset,
        "seeds": seeds,
        "settings": SETTINGS,
        "versus_reference": {
            setting: difference(values, setting, REFERENCE, "accuracy") for setting in values if setting != REFERENCE
        },
        "lowest_minus_highest": {
            name: {
                figure: difference(values, f"T = {CONSTANT[0]:g}{kind}", f"T = {CONSTANT[-1]:g}{kind}", figure)
                for figure in FIGURES
            }
            for name, kind in (("with labels", ""), ("teacher alone", ALONE))
        },
        "auto": {**regret(values), "chosen": taken[AUTO], "choices": choices},
        "values": values,
        "config": to_mapping(PRESETS[preset].config(seeds[0])),
    }
    figure = draw(values, seeds)
    return Report(content, text_of(content), csv=csv_rows(values, content), figures={"": figure})


def _figure(report: Mapping[str, Any], name: str) -> float:
    """A figure of a report, NaN where the teacher makes no mistakes (or nothing else) to tell it by."""
    value = float("nan") if report[name] is None else float(report[name])
    return 100 * value if name in PERCENT else value


def difference(values: Values, one: str, other: str, figure: str) -> dict[str, float]:
    """One setting minus another, over seeds."""
    mean, half = mean_and_ci(np.subtract(values[one][figure], values[other][figure]).tolist())
    return {"mean": mean, "low": mean - half, "high": mean + half}


def regret(values: Values) -> dict[str, Any]:
    """How far ``auto`` is behind the candidate with the best mean, which nobody could know."""
    best = max(CANDIDATES, key=lambda setting: float(np.mean(values[setting]["accuracy"])))
    worst = min(CANDIDATES, key=lambda setting: float(np.mean(values[setting]["accuracy"])))
    return {
        "best": best,
        "regret": difference(values, best, AUTO, "accuracy"),
        "worst": worst,
        "regret_of_worst": difference(values, best, worst, "accuracy"),
    }


def _interval(found: Mapping[str, float]) -> str:
    return f"{found['mean']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]"


def text_of(content: Mapping[str, Any]) -> str:
    rows = []
    for setting, figures in content["values"].items():
        told = {name: plus_minus(mean_and_ci(row)) for name, row in figures.items()}
        lead = content["versus_reference"].get(setting)
        rows.append(
            {
                "target": setting,
                "accuracy, %": told["accuracy"],
                f"minus {REFERENCE}": "–" if lead is None else _interval(lead),
                "teacher right": told["accuracy_where_teacher_right"],
                "teacher wrong": told["accuracy_where_teacher_wrong"],
                "copied": told["copied_mistakes"],
                "agreement": told["agreement"],
                "KL": told["divergence"],
                "entropy": told["student_entropy"],
            }
        )
    auto = content["auto"]
    lines = [aligned(rows)]
    for name, found in content["lowest_minus_highest"].items():
        leads = ", ".join(f"{figure} {_interval(found[figure])}" for figure in FIGURES if figure != "teacher_accuracy")
        lines.append(f"T = {CONSTANT[0]:g} minus T = {CONSTANT[-1]:g}, {name}: {leads}")
    lines.append(
        f"auto chose {', '.join(auto['chosen'].values())}; points behind {auto['best']}: {_interval(auto['regret'])} "
        f"(the worst candidate, {auto['worst']}: {_interval(auto['regret_of_worst'])})"
    )
    return "\n".join(lines)


def csv_rows(values: Values, content: Mapping[str, Any]) -> list[dict[str, str]]:
    rows = []
    for setting, figures in values.items():
        row = {"setting": setting}
        for name, found in figures.items():
            mean, half = mean_and_ci(found)
            row |= {name: f"{mean:.3f}", f"{name}_ci95": f"{half:.3f}"}
        lead = content["versus_reference"].get(setting, {"mean": 0.0, "low": 0.0, "high": 0.0})
        rows.append(row | {f"minus_reference_{part}": f"{value:.3f}" for part, value in lead.items()})
    return rows


def draw(values: Values, seeds: Sequence[int]) -> Figure:
    """Every target against the reference, and the protocol's split over T."""
    figure = new_figure(14, 5.2)
    left, *others = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
    names = [name for name in values if name != REFERENCE][::-1]
    leads = [difference(values, name, REFERENCE, "accuracy") for name in names]
    halves = [lead["high"] - lead["mean"] for lead in leads]
    left.errorbar(
        [lead["mean"] for lead in leads],
        range(len(names)),
        xerr=[half if np.isfinite(half) else 0.0 for half in halves],
        fmt="o",
        markersize=4,
        capsize=2,
    )
    left.axvline(0.0, color="black", linewidth=0.8)
    left.set_yticks(range(len(names)), names, fontsize=7)
    left.set_xlabel(f"points of test accuracy more than {REFERENCE} ({len(seeds)} seeds, 95 % intervals)")
    for axes, kind, title in zip(others, ("", ALONE), ("teacher and labels", "teacher alone"), strict=True):
        for name, colour in zip(
            ("accuracy", "accuracy_where_teacher_right", "accuracy_where_teacher_wrong", "copied_mistakes"),
            PALETTE,
            strict=False,
        ):
            rows = [mean_and_ci(values[f"T = {value:g}{kind}"][name]) for value in CONSTANT]
            axes.errorbar(
                CONSTANT,
                [mean for mean, _ in rows],
                yerr=[half if np.isfinite(half) else 0.0 for _, half in rows],
                marker="o",
                markersize=3,
                capsize=2,
                color=colour,
                label=name.replace("_", " "),
            )
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_xticks(CONSTANT, [f"{value:g}" for value in CONSTANT])
        axes.set_xlabel("T")
        axes.set_ylabel("% of test samples")
        axes.set_title(title, fontsize=10)
    others[0].legend(frameon=False, fontsize=7, loc=(0.35, 0.25))
    return figure


STUDY = Study("temperature_study", stages, report)


def main(argv: Sequence[str] | None = None) -> int:
    return STUDY.carry_out(study_parser(__doc__, STUDY.name, PRESETS).parse_args(argv))
