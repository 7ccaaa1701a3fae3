"""Does a λ that looks at the gradients and at held-out labels beat a clock? One student per cell, seed and policy.

    python scripts/lambda_study.py --tune [--preset small|full] [--out docs/results]    # choose settings
    python scripts/lambda_study.py        [--preset small|full] [--out docs/results]    # compare what was chosen

Cells are in studies/lambda_cells.py. All policies of a cell and a seed learn from the same teachers, made once.

Tuning gives every family of policies (fixed λ, clocks, and each rule) a few settings, and measures them on tuning
seeds: not on test samples, but on images of the train split that have no other role. The clock and the setting of every
rule are those with the best mean over all cells; of the fixed λ, each cell gets its own best one, which nobody could
know: an oracle. The comparison is on other seeds and on test samples: default against the tuned clock, against itself
without its gradient terms, and against the oracle (regret). Intervals are Student's over the seeds' means over cells:
cells of one seed share clients and data, so a seed counts once.

The form of the rule was found on the tuning seeds, too, where some twenty forms and settings of it were looked at.

Both are resumable and use all cores. They write lambda_tuning.json and .png, and lambda_study.json, .csv and .png.
"""

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedkd.config.load import to_mapping
from fedkd.core.errors import RunError
from fedkd.data import unused_samples
from fedkd.experiment import Experiment
from fedkd.models import accuracy, hit_rate
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import Figure, new_figure
from studies import lambda_cells
from studies.lambda_cells import HARD, PLAIN, Cell, Setting
from studies.study import Report, Stage, Study, aligned, decimals, heat_map, study_parser
from studies.tasks import Results

Policy = Mapping[str, Any]
"""A balancer's name and options."""

FIXED: dict[str, Policy] = {f"fixed {value:g}": {"name": "fixed", "value": value} for value in (0, 0.25, 0.5, 0.75, 1)}
CLOCKS: dict[str, Policy] = {
    **{f"cosine {start:g}→0": {"name": "cosine", "start": start} for start in (1.0, 0.6, 0.4, 0.25)},
    "cosine 1→0.1": {"name": "cosine", "end": 0.1},
    "linear 1→0": {"name": "linear", "start": 1.0, "end": 0.0},
}
DEFAULT, WITHOUT_GRADIENTS = "task_decrease", "task_decrease without gradients"
"""``DistillationConfig``'s default balancer, and the same with b = 0, under their names in this study."""
RULES: dict[str, dict[str, Policy]] = {
    "task_decrease": {DEFAULT: {"name": "task_decrease"}},
    "task_decrease without gradients": {WITHOUT_GRADIENTS: {"name": "task_decrease", "gradients": False}},
}
FAMILIES: dict[str, dict[str, Policy]] = {"fixed λ": FIXED, "clocks": CLOCKS, **RULES}
SETTINGS: dict[str, Policy] = {name: policy for family in FAMILIES.values() for name, policy in family.items()}


@dataclass(frozen=True)
class Preset:
    """Cells and seeds; ``measured`` is how many images without a role policies are tuned on."""

    setting: Setting
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    tuning_seeds: tuple[int, ...]
    measured: int = 10_000


PRESETS = {
    "full": Preset(
        Setting(
            {
                "rounds": 1,
                "data": {"dataset": "fashion_mnist", "private_size": 30_000, "public": {"size": 8_000}},
                "clients": {"count": 10, "epochs": 3},
                "student": {"model": "cnn"},
                "distillation": {"steps": 500},
            },
            foreign="digits",
        ),
        (*PLAIN, *HARD),
        seeds=(200, 201, 202, 203, 204),
        tuning_seeds=(100, 101),
    ),
    "small": Preset(
        Setting(
            {
                "rounds": 1,
                "data": {"dataset": "digits", "private_size": 600, "public": {"size": 400}},
                "clients": {"count": 5, "epochs": 3},
                "student": {"model": "mlp"},
                "distillation": {"steps": 40},
            }
        ),
        (Cell(0.3, 100, lambda_cells.STACKED, 5), Cell(0.3, 100, lambda_cells.MEAN, 5, "changing")),
        seeds=(0, 1),
        tuning_seeds=(100,),
    ),
}


def cell_of(preset: str, name: str) -> Cell:
    """The preset's cell of that name."""
    return next(cell for cell in PRESETS[preset].cells if cell.name == name)


def answer(runs: Path, preset: str, alpha: float, clients: int, seed: int, client: int) -> None:
    """Keep a client's logits, which all cells with this α and as many clients share."""
    cell = next(each for each in PRESETS[preset].cells if (each.alpha, each.clients) == (alpha, clients))
    lambda_cells.answer(PRESETS[preset].setting, cell, seed, client, answer_file(runs, preset, cell, seed, client))


def answer_file(runs: Path, preset: str, cell: Cell, seed: int, client: int) -> Path:
    return runs / preset / f"client_{cell.alpha}_{cell.clients}_{seed}_{client}.npz"


def teach(runs: Path, preset: str, name: str, seed: int) -> list[float]:
    """Keep a cell's teachers; returns their accuracies on its own data set's public samples without labels."""
    cell, setting = cell_of(preset, name), PRESETS[preset].setting
    files = [answer_file(runs, preset, cell, seed, client) for client in range(cell.clients)]
    found = lambda_cells.teachers(setting, cell, seed, files)
    np.save(teacher_file(runs, preset, cell, seed), torch.stack(found).numpy())
    public = setting.public(cell, Experiment.of(setting.config(cell, seed)))
    judged = (public.labels < 0) & (public.truth >= 0)
    return [hit_rate(teacher[judged], public.truth[judged]) for teacher in found]


def teacher_file(runs: Path, preset: str, cell: Cell, seed: int) -> Path:
    return runs / preset / f"teacher_{cell.name.replace(' ', '_')}_{seed}.npy"


def distil(runs: Path, preset: str, name: str, seed: int, policy: str, test: bool) -> dict[str, float]:
    """Accuracy of a student under a policy: on test samples, or on images of the train split without a role."""
    cell, found = cell_of(preset, name), PRESETS[preset]
    taught = list(torch.from_numpy(np.load(teacher_file(runs, preset, cell, seed))))
    model, mean = lambda_cells.student(found.setting, cell, seed, SETTINGS[policy], taught)
    experiment = Experiment.of(found.setting.config(cell, seed))
    if test:
        inputs, labels = experiment.data.test_inputs, experiment.data.test_labels
    else:
        inputs, labels = (each[: found.measured] for each in unused_samples(experiment.config))
    return {"accuracy": accuracy(model, inputs, labels), "mean_lambda": mean}


def stages(preset: str, seeds: Sequence[int], policies: Mapping[str, Sequence[str]], *, test: bool) -> list[Stage]:
    """What all policies share, and then a student for each of a cell's policies."""
    cells = PRESETS[preset].cells
    trained = sorted({(cell.alpha, cell.clients) for cell in cells})
    answers = [(preset, *each, seed, client) for each in trained for seed in seeds for client in range(each[1])]
    return [
        Stage("clients", answer, answers),
        Stage("teachers", teach, [(preset, cell.name, seed) for cell in cells for seed in seeds]),
        Stage(
            "students",
            distil,
            [(preset, cell.name, seed, each, test) for cell in cells for seed in seeds for each in policies[cell.name]],
        ),
    ]


Values = Mapping[str, Mapping[str, Sequence[float]]]
"""Accuracies in per cent by policy and cell, one per seed."""


def tuned(preset: str, seeds: Sequence[int], results: Results) -> Report:
    """Which setting of each family is best on the tuning seeds, and each cell's best fixed λ."""
    names = [cell.name for cell in PRESETS[preset].cells]
    values = {
        policy: {
            cell: [100 * results[preset, cell, seed, policy, False]["accuracy"] for seed in seeds] for cell in names
        }
        for policy in SETTINGS
    }
    means = {policy: {cell: float(np.mean(row)) for cell, row in by_cell.items()} for policy, by_cell in values.items()}
    overall = {policy: float(np.mean(list(by_cell.values()))) for policy, by_cell in means.items()}
    content = {
        "preset": preset,
        "seeds": seeds,
        "settings": SETTINGS,
        "chosen": {family: max(members, key=lambda each: overall[each]) for family, members in FAMILIES.items()},
        "best_fixed": best_fixed(means),
        "statements": statements(means),
        "mean": overall,
        "values": values,
    }
    best_first = sorted(overall, key=lambda policy: -overall[policy])
    rows = [{"policy": policy, "mean": f"{overall[policy]:.2f} %"} for policy in best_first]
    figure = regrets(
        {
            policy: {cell: max(means[each][cell] for each in FIXED) - means[policy][cell] for cell in names}
            for policy in best_first
        },
        f"Tuning ({len(seeds)} seeds): points behind the best fixed λ of each cell; mean in brackets",
    )
    return Report(content, aligned(rows), figures={"": figure})


def best_fixed(means: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """The fixed λ with the best mean in each cell, by its name."""
    return {cell: max(FIXED, key=lambda policy: means[policy][cell]) for cell in means["fixed 1"]}


def statements(means: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """What fixed λ say about the importance analysis' premises: points are means over cells."""
    best = best_fixed(means)
    behind = {
        policy: float(np.mean([means[own][cell] - means[policy][cell] for cell, own in best.items()]))
        for policy in FIXED
    }
    return {
        "cells": len(best),
        "best_fixed_above_half": sum(FIXED[own]["value"] > 0.5 for own in best.values()),
        "teacher_alone_behind_best_fixed": behind["fixed 1"],
        "labels_alone_behind_best_fixed": behind["fixed 0"],
        "one_fixed_for_all": min(behind, key=lambda policy: behind[policy]),
        "one_fixed_for_all_behind_best_fixed": min(behind.values()),
    }


def read_tuning(folder: Path, preset: str) -> dict[str, Any]:
    """What tuning chose; raises ``RunError`` where there is no tuning of the same settings and preset."""
    file = folder / f"{TUNING.name}.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if found.get("preset") != preset or found.get("settings") != json.loads(json.dumps(SETTINGS)):
        raise RunError(f"{file} must hold the tuning of this study's settings with --preset {preset}; run --tune first")
    return found


def rivals(tuning: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """By what a policy stands for in the comparison, and by cell: its name among the settings."""
    cells: Mapping[str, str] = tuning["best_fixed"]
    same = {"default": DEFAULT, "without_gradients": WITHOUT_GRADIENTS, "clock": tuning["chosen"]["clocks"]}
    return {part: dict.fromkeys(cells, policy) for part, policy in same.items()} | {"best_fixed": dict(cells)}


def compared(preset: str, seeds: Sequence[int], tuning: Mapping[str, Any], results: Results) -> Report:
    """The default against its rivals on test samples."""
    parts, cells = rivals(tuning), [cell.name for cell in PRESETS[preset].cells]
    values = {
        part: {
            cell: [100 * results[preset, cell, seed, by[cell], True]["accuracy"] for seed in seeds] for cell in cells
        }
        for part, by in parts.items()
    }
    unforeseeable = [cell.name for cell in PRESETS[preset].cells if cell.unforeseeable]
    regret = {
        part: {cell: float(np.mean(values["best_fixed"][cell]) - np.mean(row)) for cell, row in by_cell.items()}
        for part, by_cell in values.items()
        if part != "best_fixed"
    }
    content = {
        "default": DEFAULT,
        "clock": tuning["chosen"]["clocks"],
        "best_fixed": parts["best_fixed"],
        "versus_clock": versus(values, "clock", cells),
        "versus_clock_unforeseeable": versus(values, "clock", unforeseeable),
        "versus_without_gradients": versus(values, "without_gradients", cells),
        "versus_best_fixed": versus(values, "best_fixed", cells),
        "default_regret": regret["default"],
        "mean_regret": {part: float(np.mean(list(by_cell.values()))) for part, by_cell in regret.items()},
        "worst_regret": {part: max(by_cell.values()) for part, by_cell in regret.items()},
        "regret": regret,
        "mean": {
            part: {cell: float(np.mean(row)) for cell, row in by_cell.items()} for part, by_cell in values.items()
        },
        "mean_lambda": {
            part: {
                cell: float(np.mean([results[preset, cell, seed, by[cell], True]["mean_lambda"] for seed in seeds]))
                for cell in cells
            }
            for part, by in parts.items()
        },
        "teacher_accuracy": {cell: [results[preset, cell, seed] for seed in seeds] for cell in cells},
        "values": values,
        "preset": preset,
        "seeds": seeds,
        "settings": SETTINGS,
        "config": to_mapping(PRESETS[preset].setting.config(PRESETS[preset].cells[0], seeds[0])),
    }
    figure = regrets(
        {names_of(part, content): by_cell for part, by_cell in regret.items()},
        f"Points of test accuracy behind the best fixed λ of each cell, chosen on other seeds ({len(seeds)} seeds)",
    )
    return Report(content, text_of(content), csv=csv_rows(content), figures={"": figure})


def versus(values: Values, rival: str, cells: Sequence[str]) -> dict[str, Any]:
    """Default minus rival in points over cells and seeds; the interval is over the seeds' means over cells."""
    differences = np.array([np.subtract(values["default"][cell], values[rival][cell]) for cell in cells])
    by_seed = [float(column.mean()) for column in differences.T]
    mean, half = mean_and_ci(by_seed)
    return {"mean": mean, "low": mean - half, "high": mean + half, "cells": len(cells), "seeds": len(by_seed)}


def names_of(part: str, content: Mapping[str, Any]) -> str:
    return {"default": f"default ({DEFAULT})", "clock": f"clock ({content['clock']})"}.get(part, part.replace("_", " "))


def text_of(content: Mapping[str, Any]) -> str:
    rows = [
        {
            "default minus": names_of(rival, content) + only,
            "points (95 % CI)": f"{found['mean']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]",
            "cells": str(found["cells"]),
        }
        for rival, only, found in (
            ("clock", "", content["versus_clock"]),
            ("clock", ", unforeseeable teacher", content["versus_clock_unforeseeable"]),
            ("without_gradients", "", content["versus_without_gradients"]),
            ("best_fixed", "", content["versus_best_fixed"]),
        )
    ]
    worst = content["worst_regret"]["default"]
    return f"{aligned(rows)}\nregret of the default: {content['mean_regret']['default']:.2f}, worst {worst:.2f}"


def csv_rows(content: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {
            "policy": part,
            "cell": cell,
            **decimals(
                accuracy=content["mean"][part][cell],
                ci95=mean_and_ci(row)[1],
                regret=content["regret"].get(part, {}).get(cell, 0.0),
                mean_lambda=content["mean_lambda"][part][cell],
            ),
        }
        for part, by_cell in content["values"].items()
        for cell, row in by_cell.items()
    ]


def regrets(by_policy: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """A row per policy and a column per cell."""
    cells = list(next(iter(by_policy.values())))
    grid = np.array([[by_cell[cell] for cell in cells] for by_cell in by_policy.values()])
    figure = new_figure(16, 3.5 + 0.35 * len(by_policy))
    axes = figure.add_subplot()
    names = [f"{policy}  ({np.mean(list(by_cell.values())):+.2f})" for policy, by_cell in by_policy.items()]
    image = heat_map(axes, grid, cells, names, cmap="RdYlGn_r", vmin=-4, vmax=4)
    axes.set_xticks(range(len(cells)), cells, rotation=30, ha="right", fontsize=7)
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axes, label="points behind (negative: ahead)")
    return figure


def seeds_of(asked: Namespace) -> Sequence[int]:
    preset = PRESETS[asked.preset]
    seeds: Sequence[int] = asked.seeds or (preset.tuning_seeds if asked.tune else preset.seeds)
    return seeds


def _tuning_stages(asked: Namespace) -> list[Stage]:
    every = {cell.name: list(SETTINGS) for cell in PRESETS[asked.preset].cells}
    return stages(asked.preset, seeds_of(asked), every, test=False)


def _study_stages(asked: Namespace) -> list[Stage]:
    parts = rivals(read_tuning(asked.out, asked.preset))
    wanted = {
        cell.name: list(dict.fromkeys(by[cell.name] for by in parts.values())) for cell in PRESETS[asked.preset].cells
    }
    return stages(asked.preset, seeds_of(asked), wanted, test=True)


TUNING = Study(
    "lambda_tuning",
    _tuning_stages,
    lambda asked, results: tuned(asked.preset, seeds_of(asked), results),
)
STUDY = Study(
    "lambda_study",
    _study_stages,
    lambda asked, results: compared(asked.preset, seeds_of(asked), read_tuning(asked.out, asked.preset), results),
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = study_parser(__doc__, STUDY.name, PRESETS)
    parser.add_argument("--tune", action="store_true", help="choose the settings to compare, on the tuning seeds")
    arguments = parser.parse_args(argv)
    return (TUNING if arguments.tune else STUDY).carry_out(arguments)
