"""Which λ policy adapts everywhere? Every policy and every fixed λ, distilled from the same clients' logits.

    python scripts/lambda_study.py [--preset small|full] [--out docs/results]
    python scripts/lambda_study.py --tune     # choose the default policy by validation, on seeds of its own

Cells are Dirichlet α × labelled public samples × teacher, on Fashion-MNIST. Clients are trained once per (α, seed), and
teachers fitted once per cell and seed. The study is resumable, uses all cores, and writes lambda_study.json, .csv and
.png. Regret is the test accuracy of the cell's best fixed λ (an oracle's choice) minus the policy's, in points.
"""

import csv
import itertools
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedkd.aggregation.types import ReportStack, Teacher
from fedkd.app.summary import versions
from fedkd.client.round import perform
from fedkd.config.load import load_config, to_json, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.core import plugins
from fedkd.core.files import write_json
from fedkd.distillation.distiller import Distiller
from fedkd.distillation.validation import Validation
from fedkd.experiment import Experiment
from fedkd.models import accuracy, hit_rate
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import new_figure, save
from fedkd.server.server import Server
from studies.tasks import Results, cache_folder, counter, run_tasks, study_parser

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
CANDIDATES: dict[str, tuple[str, dict[str, Any]]] = {
    name: POLICIES[name] for name in ("error_ratio", "cosine 1→0", "linear 1→0", "step", "energy_share", "fixed 0.5")
}
"""What the default is chosen from, by validation accuracy on the tuning seeds."""
PRESETS: dict[str, dict[str, Any]] = {
    "full": {
        "base": {
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
TEACHERS = ("mean_probabilities", "stacked")


def configured(preset: str, alpha: float, labelled: int, seed: int) -> ExperimentConfig:
    """The experiment of one cell and seed."""
    overrides = [f"seed={seed}", f"data.partition.alpha={alpha}", f"data.public.labelled={labelled}"]
    return load_config(PRESETS[preset]["base"], overrides)


def train_client(preset: str, cache: str, alpha: float, seed: int, client: int) -> bool:
    """One client's logits on all public samples, which do not depend on how many of them are labelled."""
    experiment = Experiment.of(to_json(configured(preset, alpha, PRESETS[preset]["labels"][0], seed)))
    reply = perform(Server.build(experiment).job(1), client)
    data, message = experiment.data, reply.arrays["logits"].tobytes()
    uplink = experiment.uplink
    logits = uplink.decode(message, samples=data.public.labels.numel(), classes=data.classes).logits
    np.savez(client_file(cache, alpha, seed, client), examples=reply.metrics["examples"], logits=logits.numpy())
    return True


def fit_teacher(preset: str, cache: str, alpha: float, seed: int, labelled: int, name: str) -> float:
    """A teacher from the cached logits; returns its accuracy on the public samples without labels."""
    experiment = Experiment.of(to_json(configured(preset, alpha, labelled, seed)))
    files = [np.load(client_file(cache, alpha, seed, client)) for client in range(experiment.config.clients.count)]
    stack = ReportStack(
        torch.stack([torch.from_numpy(file["logits"]) for file in files]),
        torch.tensor([int(file["examples"]) for file in files]),
        experiment.data.public.labels,
        tuple(range(len(files))),
    )
    teacher: Teacher = plugins.build(plugins.STRATEGY, name)(stack)
    np.save(teacher_file(cache, alpha, seed, labelled, name), teacher.log_probabilities.numpy())
    hidden = experiment.data.public.labels < 0
    return hit_rate(teacher.log_probabilities[hidden], experiment.data.public.truth[hidden])


def distil(
    preset: str, cache: str, alpha: float, labelled: int, name: str, seed: int, balancer: str, options: str, test: bool
) -> dict[str, float]:
    """Distil one student; ``test`` False measures nothing but validation accuracy."""
    experiment, teacher = _cell(preset, cache, alpha, labelled, name, seed)
    config, public = experiment.config, experiment.data.public
    temperature = config.distillation.temperature
    distiller = Distiller(
        experiment.initial_model(),
        plugins.build(plugins.BALANCER, balancer, dict(_options(options))),
        config.distillation,
        temperature=plugins.build(plugins.TEMPERATURE, temperature.name, temperature.options),
        seed=seed,
    )
    validation = Validation(public.validation, public.truth[public.validation])
    result = distiller.distil(teacher, public.inputs, public.labels, round=1, validation=validation)
    measured = {
        "validation": accuracy(distiller.student, public.inputs[public.validation], validation.labels),
        "mean_lambda": result.mean_lambda,
    }
    if test:
        measured["test"] = accuracy(distiller.student, experiment.data.test_inputs, experiment.data.test_labels)
    return measured


@lru_cache(maxsize=1)
def _cell(preset: str, cache: str, alpha: float, labelled: int, name: str, seed: int) -> tuple[Experiment, Teacher]:
    experiment = Experiment.of(to_json(configured(preset, alpha, labelled, seed)))
    target = np.load(teacher_file(cache, alpha, seed, labelled, name))
    return experiment, Teacher.from_logits(torch.from_numpy(target))


def _options(text: str) -> list[tuple[str, float]]:
    """``value=0.5,ema=0.9`` as pairs; tasks are keyed by text."""
    return [(pair.split("=")[0], float(pair.split("=")[1])) for pair in text.split(",") if pair]


def client_file(cache: str, alpha: float, seed: int, client: int) -> Path:
    return Path(cache) / f"client_{alpha}_{seed}_{client}.npz"


def teacher_file(cache: str, alpha: float, seed: int, labelled: int, name: str) -> Path:
    return Path(cache) / f"teacher_{alpha}_{seed}_{labelled}_{name}.npy"


def prepare_teachers(preset: str, cache: Path, seeds: tuple[int, ...], results: Results) -> None:
    """Everything that all policies share."""
    spec = PRESETS[preset]
    count = spec["base"]["clients"]["count"]
    experiment = str(cache)
    clients = [
        (preset, experiment, alpha, seed, client)
        for alpha, seed, client in itertools.product(spec["alphas"], seeds, range(count))
    ]
    run_tasks(train_client, clients, results, progress=counter("clients"))
    teachers = [
        (preset, experiment, alpha, seed, labelled, name)
        for alpha, seed, labelled, name in itertools.product(spec["alphas"], seeds, spec["labels"], TEACHERS)
    ]
    run_tasks(fit_teacher, teachers, results, progress=counter("teachers"))


def cells_of(preset: str) -> list[tuple[float, int, str]]:
    spec = PRESETS[preset]
    return list(itertools.product(spec["alphas"], spec["labels"], TEACHERS))


def cell_name(cell: tuple[float, int, str]) -> str:
    return f"alpha={cell[0]:g} labelled={cell[1]} {cell[2]}"


def task_of(
    preset: str,
    cache: Path,
    cell: tuple[float, int, str],
    seed: int,
    balancer: str,
    options: dict[str, Any],
    test: bool,
) -> tuple[Any, ...]:
    text = ",".join(f"{key}={value}" for key, value in options.items())
    return (preset, str(cache), *cell, seed, balancer, text, test)


def tune(preset: str, out: Path, cache: Path) -> None:
    """Mean validation accuracy of the candidates for the default policy, over all cells, on the tuning seeds."""
    seeds = PRESETS[preset]["tuning_seeds"]
    results = Results(cache / "tuning.jsonl")
    prepare_teachers(preset, cache, seeds, results)
    tasks = {
        (policy, cell, seed): task_of(preset, cache, cell, seed, *CANDIDATES[policy], False)
        for cell, seed, policy in itertools.product(cells_of(preset), seeds, CANDIDATES)
    }
    run_tasks(distil, tasks.values(), results, progress=counter("tuning"))
    scores = {
        policy: [
            100 * results[tasks[policy, cell, seed]]["validation"]
            for cell, seed in itertools.product(cells_of(preset), seeds)
        ]
        for policy in CANDIDATES
    }
    table = {policy: float(np.mean(values)) for policy, values in scores.items()}
    write_json(
        out / "lambda_tuning.json",
        {"seeds": seeds, "validation_accuracy": table, "by_cell_and_seed": scores, "versions": versions()},
    )
    for policy in sorted(table, key=lambda policy: -table[policy]):
        print(f"{policy:16} validation {table[policy]:.2f} %")


def study(preset: str, out: Path, cache: Path) -> None:
    """All policies on the reported seeds: table, heat map and JSON."""
    spec, cells = PRESETS[preset], cells_of(preset)
    results = Results(cache / "study.jsonl")
    prepare_teachers(preset, cache, spec["seeds"], results)
    tasks = {
        (policy, cell, seed): task_of(preset, cache, cell, seed, *POLICIES[policy], True)
        for cell, seed, policy in itertools.product(cells, spec["seeds"], POLICIES)
    }
    run_tasks(distil, tasks.values(), results, progress=counter("distillations"))
    values = {
        policy: {
            cell_name(cell): [100 * results[tasks[policy, cell, seed]]["test"] for seed in spec["seeds"]]
            for cell in cells
        }
        for policy in POLICIES
    }
    lambdas = {
        policy: {
            cell_name(cell): float(
                np.mean([results[tasks[policy, cell, seed]]["mean_lambda"] for seed in spec["seeds"]])
            )
            for cell in cells
        }
        for policy in POLICIES
    }
    teachers = {
        cell_name((alpha, labelled, name)): [
            100 * results[preset, str(cache), alpha, seed, labelled, name] for seed in spec["seeds"]
        ]
        for alpha, labelled, name in cells
    }
    report = summarise(values)
    report |= {
        "mean_lambda": lambdas,
        "teacher_accuracy": teachers,
        "values": values,
        "preset": preset,
        "seeds": spec["seeds"],
        "config": to_mapping(configured(preset, *cells[0][:2], spec["seeds"][0])),
        "policies": {name: {"name": plugin, **options} for name, (plugin, options) in POLICIES.items()},
        "versions": versions(),
    }
    write_json(out / "lambda_study.json", report)
    write_table(out / "lambda_study.csv", report)
    draw(out / "lambda_study.png", report)
    print_table(report)


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


def print_table(report: dict[str, Any]) -> None:
    overall = report["overall"]
    print(f"{'policy':20} {'accuracy':>9} {'regret':>7} {'worst':>7}   lead of {report['default']} (95 % CI)")
    for policy in sorted(overall, key=lambda policy: overall[policy]["mean_regret"]):
        row = overall[policy]
        lead, interval = row["lead_of_default"]
        print(
            f"{policy:20} {row['mean_accuracy']:9.2f} {row['mean_regret']:7.2f} {row['worst_regret']:7.2f}"
            f"   {lead:+.2f} ± {interval:.2f}"
        )


def write_table(path: Path, report: dict[str, Any]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["policy", "cell", "accuracy", "ci95", "regret", "mean_lambda"])
        for policy, by_cell in report["mean"].items():
            for cell, mean in by_cell.items():
                rest = (report[key][policy][cell] for key in ("ci95", "regret", "mean_lambda"))
                writer.writerow([policy, cell, f"{mean:.3f}", *(f"{value:.3f}" for value in rest)])


def draw(path: Path, report: dict[str, Any]) -> None:
    """Regret of every policy in every cell, best policy first."""
    overall, cells = report["overall"], list(report["default_regret"])
    order = sorted(overall, key=lambda policy: overall[policy]["mean_regret"])
    grid = np.array([[report["regret"][policy][cell] for cell in cells] for policy in order])
    figure = new_figure(11, 8)
    axes = figure.add_subplot()
    image = axes.imshow(grid, cmap="RdYlGn_r", vmin=-4, vmax=4, aspect="auto")
    for (row, column), value in np.ndenumerate(grid):
        axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=8)
    axes.set_xticks(range(len(cells)), [cell.replace(" ", "\n") for cell in cells], fontsize=7)
    axes.set_yticks(range(len(order)), [f"{policy}  ({overall[policy]['mean_regret']:+.2f})" for policy in order])
    axes.set_title(
        "Regret against the best fixed λ of each cell, in points of test accuracy; mean in brackets\n"
        f"({len(report['seeds'])} seeds; default policy: {report['default']})",
        fontsize=10,
    )
    figure.colorbar(image, ax=axes, label="points behind the best fixed λ (negative: ahead)")
    save(figure, path)


def main() -> int:
    parser = study_parser(__doc__, PRESETS)
    parser.add_argument("--tune", action="store_true")
    arguments = parser.parse_args()
    cache = cache_folder(arguments, "lambda_study")
    (tune if arguments.tune else study)(arguments.preset, arguments.out, cache)
    return 0
