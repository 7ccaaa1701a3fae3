"""Which λ policy adapts everywhere? Every policy and every fixed λ, distilled from the same clients' logits.

    python scripts/lambda_study.py [--preset small|full] [--out docs/results]
    python scripts/lambda_study.py --tune     # choose the default policy by validation, on seeds of its own

Cells are Dirichlet α × labelled public samples × teacher, on Fashion-MNIST. Clients are trained once per (α, seed), and
teachers fitted once per cell and seed. The study is resumable, uses all cores, and writes lambda_study.json, .csv and
.png. Regret is the test accuracy of the cell's best fixed λ (an oracle's choice) minus the policy's, in points.
"""

import itertools
from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedkd.aggregation.types import ReportStack, Teacher
from fedkd.client.round import perform
from fedkd.config.load import load_config, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.core import plugins
from fedkd.experiment import Experiment
from fedkd.models import accuracy, hit_rate
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import Figure, new_figure
from fedkd.server.server import Server
from studies.study import Report, Stage, Study, aligned, decimals, heat_map, plus_minus, study_parser
from studies.tasks import Results
from studies.teaching import distilled

FIXED = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
DEFAULT = "cosine 1→0"
"""``DistillationConfig``'s default balancer, under its name in this study."""
POLICIES: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"fixed {value:g}": ("fixed", {"value": value}) for value in FIXED},
    "error_ratio": ("error_ratio", {}),
    "inverse_norm": ("inverse_norm", {"ema": 0.9}),
    "energy_share": ("energy_share", {"ema": 0.9}),
    "gradual": ("gradual", {"ema": 0.9}),
    "rapid": ("rapid", {"ema": 0.9}),
    "target_decrease": ("target_decrease", {"ema": 0.9}),
    "linear 1→0": ("linear", {"start": 1.0, "end": 0.0}),
    "linear 0→1": ("linear", {"start": 0.0, "end": 1.0}),
    "cosine 1→0": ("cosine", {"start": 1.0, "end": 0.0}),
    "step": ("step", {}),
    "pcgrad": ("pcgrad", {"ema": 0.9}),
    "gradnorm": ("gradnorm", {}),
    "dwa": ("dwa", {}),
    "uncertainty": ("uncertainty", {}),
    "validation_guided": ("validation_guided", {}),
}
CANDIDATES = ("error_ratio", "cosine 1→0", "linear 1→0", "step", "energy_share", "fixed 0.5")
"""What the default is chosen from, by validation accuracy on the tuning seeds."""
PRESETS: dict[str, dict[str, Any]] = {
    "full": {
        "base": {
            "rounds": 1,
            "data": {
                "dataset": "fashion_mnist",
                "private_size": 30_000,
                "public": {"size": 8_000},
            },
            "clients": {"count": 10, "epochs": 3},
            "student": {"model": "cnn"},
            "distillation": {"steps": 1000},
        },
        "alphas": (0.1, 1.0),
        "labels": (500, 2_000),
        "seeds": (0, 1, 2),
        "tuning_seeds": (100, 101),
    },
    "small": {
        "base": {
            "rounds": 1,
            "data": {"dataset": "digits", "private_size": 800, "public": {"size": 500}},
            "clients": {"count": 5, "epochs": 3},
            "student": {"model": "mlp"},
            "distillation": {"steps": 60},
        },
        "alphas": (0.1,),
        "labels": (100,),
        "seeds": (0, 1),
        "tuning_seeds": (100,),
    },
}
Cell = tuple[float, int, str]
"""Dirichlet α, labelled public samples, and the teacher's strategy."""
TEACHERS = ("mean_probabilities", "stacked")


def configured(preset: str, alpha: float, labelled: int, seed: int, policy: str = DEFAULT) -> ExperimentConfig:
    """The experiment of one cell and seed."""
    name, options = POLICIES[policy]
    overrides = [f"seed={seed}", f"data.partition.alpha={alpha}", f"data.public.labelled={labelled}"]
    balancer = {"distillation.balancer": {"name": name, **options}}
    return load_config(PRESETS[preset]["base"], overrides, values=balancer)


def experiment_of(*cell: Any) -> Experiment:
    """The experiment that ``configured`` describes."""
    return Experiment.of(configured(*cell))


def train_client(runs: Path, preset: str, alpha: float, seed: int, client: int) -> None:
    """Keep one client's logits on all public samples, which do not depend on how many of them are labelled."""
    experiment = experiment_of(preset, alpha, PRESETS[preset]["labels"][0], seed)
    reply = perform(Server.build(experiment).job(1), client)
    data, message = experiment.data, reply.arrays["logits"].tobytes()
    uplink = experiment.uplink
    logits = uplink.decode(message, samples=data.public.labels.numel(), classes=data.classes).logits
    file = client_file(runs, preset, alpha, seed, client)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, examples=np.array(reply.examples), logits=logits.numpy())


def fit_teacher(runs: Path, preset: str, alpha: float, seed: int, labelled: int, name: str) -> float:
    """Keep a teacher made of the clients' logits; returns its accuracy on the public samples without labels."""
    experiment = experiment_of(preset, alpha, labelled, seed)
    clients = range(experiment.config.clients.count)
    files = [np.load(client_file(runs, preset, alpha, seed, client)) for client in clients]
    stack = ReportStack(
        torch.stack([torch.from_numpy(file["logits"]) for file in files]),
        torch.tensor([int(file["examples"]) for file in files]),
        experiment.data.public.labels,
        tuple(clients),
    )
    teacher: Teacher = plugins.build(plugins.STRATEGY, name)(stack)
    np.save(teacher_file(runs, preset, alpha, seed, labelled, name), teacher.log_probabilities.numpy())
    hidden = experiment.data.public.labels < 0
    return hit_rate(teacher.log_probabilities[hidden], experiment.data.public.truth[hidden])


def distil(
    runs: Path, preset: str, alpha: float, labelled: int, name: str, seed: int, policy: str, test: bool
) -> dict[str, float]:
    """Distil one student; ``test`` False measures nothing but validation accuracy."""
    experiment = experiment_of(preset, alpha, labelled, seed, policy)
    logits = np.load(teacher_file(runs, preset, alpha, seed, labelled, name))
    student, result = distilled(experiment, Teacher.from_logits(torch.from_numpy(logits)))
    data, held_out = experiment.data, experiment.data.public.validation
    measured = {
        "validation": accuracy(student, data.public.inputs[held_out], data.public.truth[held_out]),
        "mean_lambda": result.mean_lambda,
    }
    return measured | ({"test": accuracy(student, data.test_inputs, data.test_labels)} if test else {})


def client_file(runs: Path, preset: str, alpha: float, seed: int, client: int) -> Path:
    return runs / preset / f"client_{alpha}_{seed}_{client}.npz"


def teacher_file(runs: Path, preset: str, alpha: float, seed: int, labelled: int, name: str) -> Path:
    return runs / preset / f"teacher_{alpha}_{seed}_{labelled}_{name}.npy"


def cells_of(preset: str) -> list[Cell]:
    spec = PRESETS[preset]
    return list(itertools.product(spec["alphas"], spec["labels"], TEACHERS))


def cell_name(cell: Cell) -> str:
    return f"alpha={cell[0]:g} labelled={cell[1]} {cell[2]}"


def stages(preset: str, seeds: Sequence[int], policies: Iterable[str], *, test: bool) -> list[Stage]:
    """What all policies share, and then a student for each of them."""
    spec, cells = PRESETS[preset], cells_of(preset)
    clients = itertools.product([preset], spec["alphas"], seeds, range(spec["base"]["clients"]["count"]))
    teachers = itertools.product([preset], spec["alphas"], seeds, spec["labels"], TEACHERS)
    students = [(preset, *cell, seed, policy, test) for cell, seed, policy in itertools.product(cells, seeds, policies)]
    return [
        Stage("clients", train_client, clients),
        Stage("teachers", fit_teacher, teachers),
        Stage("students", distil, students),
    ]


def tuned(preset: str, seeds: Sequence[int], results: Results) -> Report:
    """Mean validation accuracy of the candidates for the default policy, over all cells, on the tuning seeds."""
    scores = {
        policy: [
            100 * results[preset, *cell, seed, policy, False]["validation"]
            for cell, seed in itertools.product(cells_of(preset), seeds)
        ]
        for policy in CANDIDATES
    }
    table = {policy: float(np.mean(values)) for policy, values in scores.items()}
    best_first = sorted(table.items(), key=lambda item: -item[1])
    return Report(
        {"seeds": seeds, "validation_accuracy": table, "by_cell_and_seed": scores},
        aligned([{"policy": policy, "validation": f"{value:.2f} %"} for policy, value in best_first]),
    )


def compared(preset: str, seeds: Sequence[int], results: Results) -> Report:
    """All policies on the reported seeds: table, heat map and JSON."""
    cells = cells_of(preset)

    def by_cell(policy: str, measure: str) -> dict[str, list[float]]:
        return {
            cell_name(cell): [results[preset, *cell, seed, policy, True][measure] for seed in seeds] for cell in cells
        }

    values = {
        policy: {cell: [100 * value for value in row] for cell, row in by_cell(policy, "test").items()}
        for policy in POLICIES
    }
    report = summarise(values) | {
        "mean_lambda": {
            policy: {cell: float(np.mean(row)) for cell, row in by_cell(policy, "mean_lambda").items()}
            for policy in POLICIES
        },
        "teacher_accuracy": {
            cell_name((alpha, labelled, name)): [100 * results[preset, alpha, seed, labelled, name] for seed in seeds]
            for alpha, labelled, name in cells
        },
        "values": values,
        "preset": preset,
        "seeds": seeds,
        "config": to_mapping(configured(preset, *cells[0][:2], seeds[0])),
        "policies": {name: {"name": plugin, **options} for name, (plugin, options) in POLICIES.items()},
    }
    return Report(report, table(report), csv=csv_rows(report), figures={"": draw(report)})


def summarise(values: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Means with intervals, and each policy's regret against the best fixed λ of each cell."""
    means = {policy: {cell: mean_and_ci(each) for cell, each in by_cell.items()} for policy, by_cell in values.items()}
    fixed = [policy for policy in values if policy.startswith("fixed ")]
    cells = list(next(iter(values.values())))
    best = {cell: max(fixed, key=lambda policy: means[policy][cell][0]) for cell in cells}
    regret = {
        policy: {cell: means[best[cell]][cell][0] - means[policy][cell][0] for cell in cells} for policy in values
    }
    return {
        "default": DEFAULT,
        "default_regret": regret[DEFAULT],
        "best_fixed": best,
        "mean": {policy: {cell: mean for cell, (mean, _) in by_cell.items()} for policy, by_cell in means.items()},
        "ci95": {policy: {cell: ci for cell, (_, ci) in by_cell.items()} for policy, by_cell in means.items()},
        "regret": regret,
        "overall": {
            policy: {
                "mean_accuracy": float(np.mean([mean for mean, _ in means[policy].values()])),
                "mean_regret": float(np.mean(list(by_cell.values()))),
                "worst_regret": max(by_cell.values()),
                "lead_of_default": mean_and_ci(
                    [
                        theirs - ours
                        for cell in cells
                        for theirs, ours in zip(values[DEFAULT][cell], values[policy][cell], strict=True)
                    ]
                ),
            }
            for policy, by_cell in regret.items()
        },
    }


def table(report: dict[str, Any]) -> str:
    return aligned(
        [
            {
                "policy": policy,
                "accuracy": f"{row['mean_accuracy']:.2f}",
                "regret": f"{row['mean_regret']:.2f}",
                "worst": f"{row['worst_regret']:.2f}",
                f"{report['default']} minus policy (95 % CI)": plus_minus(row["lead_of_default"], "+.2f"),
            }
            for policy, row in by_regret(report)
        ]
    )


def by_regret(report: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The policies and their overall figures, best policy first."""
    return sorted(report["overall"].items(), key=lambda item: item[1]["mean_regret"])


def csv_rows(report: dict[str, Any]) -> list[dict[str, str]]:
    measures = {"accuracy": "mean", "ci95": "ci95", "regret": "regret", "mean_lambda": "mean_lambda"}
    return [
        {
            "policy": policy,
            "cell": cell,
            **decimals(**{column: report[measure][policy][cell] for column, measure in measures.items()}),
        }
        for policy, by_cell in report["mean"].items()
        for cell in by_cell
    ]


def draw(report: dict[str, Any]) -> Figure:
    """Regret of every policy in every cell, best policy first."""
    cells, order = list(report["default_regret"]), by_regret(report)
    grid = np.array([[report["regret"][policy][cell] for cell in cells] for policy, _ in order])
    figure = new_figure(11, 8)
    axes = figure.add_subplot()
    names = [f"{policy}  ({row['mean_regret']:+.2f})" for policy, row in order]
    image = heat_map(axes, grid, cells, names, cmap="RdYlGn_r", vmin=-4, vmax=4)
    axes.set_title(
        "Regret against the best fixed λ of each cell, in points of test accuracy; mean in brackets\n"
        f"({len(report['seeds'])} seeds; default policy: {report['default']})",
        fontsize=10,
    )
    figure.colorbar(image, ax=axes, label="points behind the best fixed λ (negative: ahead)")
    return figure


STUDY = Study(
    "lambda_study",
    lambda asked: stages(asked.preset, seeds_of(asked), POLICIES, test=True),
    lambda asked, results: compared(asked.preset, seeds_of(asked), results),
)
TUNING = Study(
    "lambda_tuning",
    lambda asked: stages(asked.preset, seeds_of(asked), CANDIDATES, test=False),
    lambda asked, results: tuned(asked.preset, seeds_of(asked), results),
)


def seeds_of(asked: Namespace) -> Sequence[int]:
    spec = PRESETS[asked.preset]
    seeds: Sequence[int] = asked.seeds or spec["tuning_seeds" if asked.tune else "seeds"]
    return seeds


def main(argv: Sequence[str] | None = None) -> int:
    parser = study_parser(__doc__, STUDY.name, PRESETS)
    parser.add_argument("--tune", action="store_true", help="choose the default policy instead")
    arguments = parser.parse_args(argv)
    return (TUNING if arguments.tune else STUDY).carry_out(arguments)
