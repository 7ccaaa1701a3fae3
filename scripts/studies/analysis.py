"""What does a student learn from its teacher besides its answers? What is said of distillation, claim by claim.

    python scripts/analysis_study.py [--preset small|full] [--out docs/results]

Two teachers on Fashion-MNIST. One network, trained on all labelled samples there are, teaches a smaller one at several
temperatures and on several numbers of public samples; an ensemble of clients, after one round, teaches the same. Of
each kind eight students learn from one teacher, with weights and batches of their own, and so do eight without a
teacher: that they differ is what they do not know. Everything else is what ``fedkd analyse`` measures, on test samples.
λ, the learning rate and the number of steps are fixed and nothing is chosen by what comes out.

Each claim is a difference, seed by seed, that it says is above 0: the mean and Student's 95 % interval over seeds. It
is confirmed where the interval is above 0, refuted where it is below, and open where 0 is within.

Resumable, on all cores. Writes analysis_study.json, .csv and .png.
"""

import math
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedkd.aggregation.types import Teacher
from fedkd.analysis import Analysis, Subject
from fedkd.analysis.analyses.calibration import Calibration
from fedkd.analysis.analyses.curvature import Curvature
from fedkd.analysis.analyses.probes import Probes
from fedkd.analysis.analyses.risk import Risk
from fedkd.analysis.analyses.saliency import Saliency
from fedkd.analysis.analyses.uncertainty import Uncertainty
from fedkd.analysis.uncertainty import entropy, split
from fedkd.app.analyse import subject_of
from fedkd.app.distil.training import on_labels
from fedkd.config.load import load_config, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.distillation.network import NetworkTeacher
from fedkd.experiment import Experiment
from fedkd.models import accuracy, predict
from fedkd.results.observer import Silent
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import Axes, Figure, new_figure
from fedkd.server.finished import Finished
from fedkd.server.setup import new_distiller
from studies.one_network import keep_teacher, kept_teacher, taught
from studies.study import Report, Stage, Study, aligned, decimals, run_afresh, study_parser
from studies.tasks import Results

TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
USUAL, FIRST, LAST = 4.0, TEMPERATURES[0], TEMPERATURES[-1]
STUDENTS = 8
ALONE = "without teacher"
NETWORK, ENSEMBLE = "one network", "ensemble"
Figures = dict[str, Any]


@dataclass(frozen=True)
class Preset:
    """The experiments of the two teachers, and how many public samples there may be."""

    base: Mapping[str, Any]
    teacher: Mapping[str, Any]
    clients: Mapping[str, Any]
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]

    def config(self, seed: int, *changes: str) -> ExperimentConfig:
        return load_config({**self.base, "teacher": self.teacher, "clients": {"count": 1}}, [f"seed={seed}", *changes])

    def federated(self, seed: int) -> ExperimentConfig:
        return load_config({**self.base, "clients": self.clients, "controls": ["public_only"]}, [f"seed={seed}"])


PRESETS = {
    "full": Preset(
        base={
            "rounds": 1,
            "data": {
                "dataset": "fashion_mnist",
                "private_size": 8_000,
                "partition": {"scheme": "dirichlet", "alpha": 0.5},
                "public": {"size": 4_000, "labelled": 500, "validation": 0.2},
            },
            "student": {"model": "lenet5"},
            "distillation": {
                "steps": 500,
                "batch_size": 64,
                "labelled_batch_size": 32,
                "optimiser": "adam",
                "learning_rate": 0.002,
                "temperature": USUAL,
                "balancer": {"name": "fixed", "value": 0.9},
            },
            "engine": {"kind": "inline"},
        },
        teacher={"model": "cnn", "epochs": 8},
        clients={"count": 10, "epochs": 5},
        sizes=(500, 1_000, 2_000, 4_000),
        seeds=(0, 1, 2),
    ),
    "small": Preset(
        base={
            "rounds": 1,
            "data": {"dataset": "digits", "private_size": 300, "public": {"size": 200, "labelled": 80}},
            "student": {"model": {"name": "mlp", "hidden": [16]}},
            "distillation": {
                "steps": 10,
                "temperature": USUAL,
                "balancer": {"name": "fixed", "value": 0.9},
            },
            "engine": {"kind": "inline"},
        },
        teacher={"model": {"name": "mlp", "hidden": [32]}, "epochs": 2},
        clients={"count": 3, "epochs": 1},
        sizes=(100, 200),
        seeds=(0, 1),
    ),
}


def teach(runs: Path, preset: str, kind: str, seed: int) -> None:
    """Keep what teaches: the one network, or the run of the clients."""
    found = PRESETS[preset]
    if kind == NETWORK:
        keep_teacher(Experiment.of(found.config(seed)), _file(runs, preset, seed, "network"))
    else:
        run_afresh(found.federated(seed), _run(runs, preset, seed))


def learn(runs: Path, preset: str, seed: int, arm: str, changes: tuple[str, ...]) -> None:
    """Keep a student of the one network, or one without a teacher."""
    experiment = Experiment.of(PRESETS[preset].config(seed, *changes))
    teacher = kept_teacher(experiment, _file(runs, preset, seed, "network"))
    student = taught(experiment, None if arm == ALONE else teacher)
    torch.save(student.state_dict(), _file(runs, preset, seed, arm))


def arms(preset: str) -> dict[str, tuple[str, ...]]:
    """The students of a seed, and what is different of them."""
    sizes = PRESETS[preset].sizes
    return {
        ALONE: (),
        **{f"T={temperature:g}": (f"distillation.temperature={temperature:g}",) for temperature in TEMPERATURES},
        **{f"size={size}": _size(size) for size in sizes[:-1]},
    }


def _size(size: int) -> tuple[str, ...]:
    return (f"data.public.size={size}",)


def measure(runs: Path, preset: str, seed: int) -> Figures:
    """What the analyses find of the students of the one network."""
    experiment = Experiment.of(PRESETS[preset].config(seed))
    teacher = kept_teacher(experiment, _file(runs, preset, seed, "network"))
    students = {arm: _student(experiment, runs, preset, seed, arm) for arm in arms(preset)}
    usual = _subject(experiment, teacher, students[f"T={USUAL:g}"], students[ALONE])
    logits = predict(teacher.model, usual.test.inputs)
    found: Figures = {
        "entropy": [float(entropy((logits / each).log_softmax(dim=-1)).mean()) for each in TEMPERATURES],
        "saliency": [
            _found(Saliency(), _subject(experiment, teacher, students[f"T={each:g}"], students[ALONE]))
            for each in TEMPERATURES
        ],
        "curvature": _found(Curvature(temperatures=TEMPERATURES), usual),
        "calibration": _found(Calibration(samples=5000), usual),
        "probes": _found(Probes(), usual),
        "uncertainty": _found(Uncertainty(), usual),
        "gap": {
            arm: accuracy(students[arm], usual.train.inputs, usual.train.labels)
            - accuracy(students[arm], usual.test.inputs, usual.test.labels)
            for arm in (ALONE, f"T={USUAL:g}")
        },
        "risk": {},
    }
    for size in PRESETS[preset].sizes:
        arm = f"T={USUAL:g}" if size == PRESETS[preset].sizes[-1] else f"size={size}"
        smaller = Experiment.of(PRESETS[preset].config(seed, *_size(size)))
        found["risk"][str(size)] = _found(Risk(), _subject(smaller, teacher, students[arm], None))["student"]
    return found


def spread(runs: Path, preset: str, seed: int, kind: str) -> Figures:
    """How far students that learn the same with other weights and batches disagree; of the ensemble, also its split."""
    found: Figures = {}
    if kind == NETWORK:
        experiment = Experiment.of(PRESETS[preset].config(seed))
        teacher = kept_teacher(experiment, _file(runs, preset, seed, "network"))
        subject = _subject(experiment, teacher, None, None)
    else:
        subject = subject_of(Finished.of(_run(runs, preset, seed)), Silent())
        experiment = subject.experiment
        found["uncertainty"] = _found(Uncertainty(), subject)
        found["clients"] = _disagreement(subject.client_answers(subject.test.inputs))
    public = experiment.data.public
    target = Teacher.from_logits(subject.teacher(public.inputs))
    inputs = subject.test.inputs
    for arm, given in (("taught", target), (ALONE, None)):
        students = [_another(experiment, given, number) for number in range(STUDENTS)]
        found[arm] = _disagreement(torch.stack([predict(student, inputs) for student in students]))
    return found


def _another(experiment: Experiment, target: Teacher | None, number: int) -> nn.Module:
    """A student with weights and batches of its own, of the same data."""
    config = replace(experiment.config, seed=1_000 + number, teacher=None)
    other = Experiment(config, given=experiment.data)
    public = other.data.public
    if target is None:
        student = other.initial_model()
        on_labels(other, student, config.distillation).fit_labels(public.inputs, public.labels, round=1)
        return student
    distiller = new_distiller(other, other.initial_model())
    distiller.distil(target, public.inputs, public.labels, round=1)
    return distiller.student


def _disagreement(logits: Tensor) -> float:
    """The mutual information between class and network, in nats, averaged over samples."""
    return float(split(logits.double().log_softmax(dim=-1)).epistemic.mean())


def _subject(
    experiment: Experiment, teacher: NetworkTeacher, student: nn.Module | None, alone: nn.Module | None
) -> Subject:
    named = {"teacher": teacher.model, "student": student, ALONE: alone}
    return Subject(
        experiment,
        {name: network.eval() for name, network in named.items() if network is not None},
        temperature=USUAL,
    )


def _found(analysis: Analysis, subject: Subject) -> Figures:
    return dict(analysis.measure(subject).figures)


def _student(experiment: Experiment, runs: Path, preset: str, seed: int, arm: str) -> nn.Module:
    student = experiment.initial_model()
    student.load_state_dict(torch.load(_file(runs, preset, seed, arm), weights_only=True))
    return student


def _file(runs: Path, preset: str, seed: int, name: str) -> Path:
    return runs / preset / str(seed) / f"{name}.pt"


def _run(runs: Path, preset: str, seed: int) -> Path:
    return runs / preset / str(seed) / "clients"


def stages(asked: Namespace) -> Iterator[Stage]:
    preset, seeds = asked.preset, seeds_of(asked)
    yield Stage("teachers", teach, [(preset, kind, seed) for kind in (NETWORK, ENSEMBLE) for seed in seeds])
    students = arms(preset).items()
    yield Stage("students", learn, [(preset, seed, arm, changes) for seed in seeds for arm, changes in students])
    yield Stage("analyses", measure, [(preset, seed) for seed in seeds])
    yield Stage("spread", spread, [(preset, seed, kind) for seed in seeds for kind in (NETWORK, ENSEMBLE)])


def seeds_of(asked: Namespace) -> Sequence[int]:
    seeds: Sequence[int] = asked.seeds or PRESETS[asked.preset].seeds
    return seeds


@dataclass(frozen=True)
class Seed:
    """What was found for one seed: ``own`` of the one network's students, and how students spread by teacher."""

    own: Figures
    network: Figures
    ensemble: Figures

    def alignment(self, place: int, method: str = "gradient", name: str = "student") -> float:
        return float(self.own["saliency"][place][method][name]["mean"])

    def curvature(self, kind: str, place: int) -> float:
        return math.log(self.own["curvature"]["parameters"][kind][place])

    def calibration(self, name: str, figure: str) -> float:
        return float(self.own["calibration"]["models"][name][figure])

    def probes(self, name: str, figure: str) -> float:
        return float(self.own["probes"]["networks"][name][figure])

    def inherited(self, name: str, part: str) -> float:
        return float(self.ensemble["uncertainty"]["inherited"][name][part] or 0.0)

    def miscalibration(self, name: str) -> float:
        """How far its calibration error is from the teacher's."""
        return abs(self.calibration(name, "ece") - self.calibration("teacher", "ece"))

    def risk_gap(self, place: int) -> float:
        return float(list(self.own["risk"].values())[place]["gap"])


CLAIMS: dict[str, tuple[str, Callable[[Seed], float]]] = {
    "entropy rises with T": (
        "the teacher's mean entropy in nats, T = 8 minus T = 1",
        lambda seed: seed.own["entropy"][-1] - seed.own["entropy"][0],
    ),
    "curvature of the bare KL falls with T": (
        "ln of the top eigenvalue in the student's parameters, T = 1 minus T = 8",
        lambda seed: seed.curvature("bare", 0) - seed.curvature("bare", -1),
    ),
    "curvature of T²·KL falls with T": (
        "the same of the default loss",
        lambda seed: seed.curvature("scaled", 0) - seed.curvature("scaled", -1),
    ),
    "a student looks where its teacher looks": (
        "mean cosine of input gradients with the teacher's, T = 4 minus without teacher",
        lambda seed: seed.alignment(2) - seed.alignment(2, name="without_teacher"),
    ),
    "saliency alignment rises with T": (
        "mean cosine of input gradients, T = 8 minus T = 1",
        lambda seed: seed.alignment(-1) - seed.alignment(0),
    ),
    "saliency alignment rises with T (integrated)": (
        "the same of integrated gradients",
        lambda seed: seed.alignment(-1, "integrated") - seed.alignment(0, "integrated"),
    ),
    "distillation regularises: smaller gap": (
        "accuracy on labelled public samples minus that on test, without teacher minus T = 4",
        lambda seed: seed.own["gap"][ALONE] - seed.own["gap"][f"T={USUAL:g}"],
    ),
    "distillation regularises: students agree": (
        "mutual information between 8 students in nats, without teacher minus taught by the network",
        lambda seed: seed.network[ALONE] - seed.network["taught"],
    ),
    "a distilled student separates earlier": (
        "relative depth at which 95 % of the last probe's accuracy is reached, without teacher minus T = 4",
        lambda seed: seed.probes("without_teacher", "separable_depth") - seed.probes("student", "separable_depth"),
    ),
    "its layers separate better": (
        "accuracy of probes, mean over depth, T = 4 minus without teacher",
        lambda seed: seed.probes("student", "area") - seed.probes("without_teacher", "area"),
    ),
    "a student inherits calibration": (
        "distance of its calibration error from the teacher's, without teacher minus T = 4",
        lambda seed: seed.miscalibration("without_teacher") - seed.miscalibration("student"),
    ),
    "a student is better calibrated": (
        "calibration error, without teacher minus T = 4",
        lambda seed: seed.calibration("without_teacher", "ece") - seed.calibration("student", "ece"),
    ),
    "a student knows ambiguity": (
        "KL from the known shares of blends, without teacher minus T = 4",
        lambda seed: (
            seed.own["uncertainty"]["blends"]["kl"]["without_teacher"]
            - seed.own["uncertainty"]["blends"]["kl"]["student"]
        ),
    ),
    "a student inherits aleatoric uncertainty": (
        "rank correlation of its entropy with the ensemble's aleatoric part, the other part held fixed, minus that of "
        "the student without teacher",
        lambda seed: (
            seed.inherited("student", "aleatoric_alone") - seed.inherited("without_teacher", "aleatoric_alone")
        ),
    ),
    "distillation shrinks epistemic uncertainty": (
        "mutual information between clients minus that between 8 students of their ensemble, in nats",
        lambda seed: seed.ensemble["clients"] - seed.ensemble["taught"],
    ),
    "the ensemble's students agree more than those without": (
        "mutual information between 8 students in nats, without teacher minus taught by the ensemble",
        lambda seed: seed.ensemble[ALONE] - seed.ensemble["taught"],
    ),
    "more public samples, smaller generalisation gap": (
        "disagreement with the teacher on test minus that on training samples, fewest minus most public samples",
        lambda seed: seed.risk_gap(0) - seed.risk_gap(-1),
    ),
}
"""What is said, what is measured, and that of a seed."""


def judged(values: Sequence[float]) -> Figures:
    """The mean over seeds, its interval, and what that says of a claim that it is above 0."""
    mean, half = mean_and_ci(list(values))
    verdict = "open"
    if math.isfinite(half) and abs(mean) > half:
        verdict = "confirmed" if mean > 0 else "refuted"
    return {"mean": mean, "low": mean - half, "high": mean + half, "verdict": verdict, "by_seed": list(values)}


def compared(asked: Namespace, results: Results) -> Report:
    preset, seeds = asked.preset, list(seeds_of(asked))
    found = [
        Seed(
            results[preset, seed],
            results[preset, seed, NETWORK],
            results[preset, seed, ENSEMBLE],
        )
        for seed in seeds
    ]
    claims = {
        claim: {"measured": what, **judged([value(seed) for seed in found])} for claim, (what, value) in CLAIMS.items()
    }
    content = {
        "preset": preset,
        "seeds": seeds,
        "students": STUDENTS,
        "temperatures": TEMPERATURES,
        "claims": claims,
        "found": [vars(seed) for seed in found],
        "config": {
            NETWORK: to_mapping(PRESETS[preset].config(seeds[0])),
            ENSEMBLE: to_mapping(PRESETS[preset].federated(seeds[0])),
        },
    }
    rows = [
        {"claim": claim, **decimals(mean=each["mean"], low=each["low"], high=each["high"]), "verdict": each["verdict"]}
        for claim, each in claims.items()
    ]
    return Report(content, aligned(rows), csv=rows, figures={"": figure_of(found, PRESETS[preset].sizes)})


def figure_of(found: Sequence[Seed], sizes: Sequence[int]) -> Figure:
    """Six panels: what changes with T, what layers tell, calibration, how networks spread, and the bound by size."""
    figure = new_figure(13, 7.5)
    panels = figure.subplots(2, 3).flat
    by_temperature(next(panels), "The teacher's entropy (nats)", {"teacher": [seed.own["entropy"] for seed in found]})
    curvature = {
        kind: [[math.exp(seed.curvature(key, place)) for place in range(len(TEMPERATURES))] for seed in found]
        for kind, key in (("bare KL", "bare"), ("T²·KL", "scaled"))
    }
    axes = next(panels)
    by_temperature(axes, "Top eigenvalue in the student's parameters", curvature)
    axes.set_yscale("log")
    alignment = {
        name: [[seed.alignment(place, name=key) for place in range(len(TEMPERATURES))] for seed in found]
        for name, key in (("student", "student"), (ALONE, "without_teacher"))
    }
    by_temperature(next(panels), "Cosine of input gradients with the teacher's", alignment)
    _bars(
        next(panels),
        "Calibration error (%)",
        {
            name: [100 * seed.calibration(name.replace(" ", "_"), "ece") for seed in found]
            for name in ("teacher", "student", ALONE)
        },
    )
    _bars(
        next(panels),
        "Mutual information between networks (nats)",
        {
            "clients": [seed.ensemble["clients"] for seed in found],
            "their students": [seed.ensemble["taught"] for seed in found],
            ALONE: [seed.ensemble[ALONE] for seed in found],
        },
    )
    axes = next(panels)
    for name, label in (("error", "the student's error"), ("teacher_error", "the teacher's error"), ("bound", "bound")):
        rows = [[100 * seed.own["risk"][str(size)][name] for size in sizes] for seed in found]
        _line(axes, sizes, rows, label)
    axes.set_xscale("log")
    axes.set_title("The bound by public samples (% of test samples)", fontsize=10)
    axes.legend(fontsize=8, frameon=False)
    return figure


def by_temperature(axes: Axes, title: str, lines: Mapping[str, Sequence[Sequence[float]]]) -> None:
    for name, rows in lines.items():
        _line(axes, TEMPERATURES, rows, name)
    axes.set_xscale("log")
    axes.set_xticks(TEMPERATURES, [f"{each:g}" for each in TEMPERATURES])
    axes.set_xticks([], minor=True)
    axes.set_title(f"{title}, by T", fontsize=10)
    axes.legend(fontsize=8, frameon=False)


def _line(axes: Axes, places: Sequence[float], rows: Sequence[Sequence[float]], label: str) -> None:
    table = np.asarray(rows)
    halves = [mean_and_ci(list(column))[1] for column in table.T]
    axes.errorbar(places, table.mean(axis=0), yerr=np.nan_to_num(halves), marker="o", capsize=3, label=label)


def _bars(axes: Axes, title: str, values: Mapping[str, Sequence[float]]) -> None:
    halves = [mean_and_ci(list(each))[1] for each in values.values()]
    axes.bar(list(values), [float(np.mean(each)) for each in values.values()], yerr=np.nan_to_num(halves), capsize=4)
    axes.set_title(title, fontsize=10)


STUDY = Study("analysis_study", stages, compared)


def main(argv: Sequence[str] | None = None) -> int:
    return STUDY.carry_out(study_parser(__doc__, STUDY.name, PRESETS).parse_args(argv))
