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

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
from fedkd.server.finished import Finished
from fedkd.server.setup import new_distiller
from studies.analysis_claims import ALONE, CLAIMS, TEMPERATURES, USUAL, Figures, Seed, figure_of, judged
from studies.one_network import keep_teacher, kept_teacher, taught
from studies.study import Report, Stage, Study, aligned, decimals, run_afresh, study_parser
from studies.tasks import Results

STUDENTS = 8
NETWORK, ENSEMBLE = "one network", "ensemble"


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


STUDY = Study("analysis_study", stages, compared)


def main(argv: Sequence[str] | None = None) -> int:
    return STUDY.carry_out(study_parser(__doc__, STUDY.name, PRESETS).parse_args(argv))
