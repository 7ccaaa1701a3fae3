"""Does a student that is taught by its former self forget less than one that rehearses the same samples without it?

    python scripts/continual_study.py [--preset small|full] [--out docs/results] [--seeds 0]

Fashion-MNIST (the small preset: digits), whose ten classes come in two or in five tasks, with 5,300 labelled samples in
all; 20 of every old class are rehearsed, as often as new ones. Each run is `fedkd distill` with `data.tasks`, so that
everybody in it has the same first task, samples, order and steps: the student with its former self (λ fixed, T = 2),
the same without it, the same without rehearsal, and joint training on all tasks for as many steps. The former self is
compared at several λ, for it buys less forgetting with accuracy on the new task. The settings were fixed before, on
seed 100 with validation samples of the train split. Runs are done one per core, each in a directory under --runs;
finished ones are not repeated. Writes continual.json, continual.csv and continual.png.
"""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedkd.app.distil import learn_in_sequence
from fedkd.app.distil.continual import FINE_TUNING, FORMER_SELF, LEARNERS, REHEARSAL
from fedkd.config.load import load_config, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import PALETTE, Figure, dress, new_figure
from fedkd.results.retention import Retention
from studies.study import Report, Stage, Study, aligned, decimals, plus_minus, study_parser
from studies.tasks import Results

COUNTS = (2, 5)
LAMBDAS = (0.2, 0.5, 0.7)
MAIN = 0.5
BASE: dict[str, Any] = {
    "rounds": 1,
    "data": {"dataset": "fashion_mnist", "private_size": 5000, "public": {"size": 1000, "labelled": 1000}},
    "student": {"model": {"name": "mlp", "hidden": [128]}},
    "distillation": {"steps": 200, "batch_size": 32, "labelled_batch_size": 32, "temperature": 2.0},
    "engine": {"kind": "inline"},
}
PRESETS: dict[str, dict[str, Any]] = {
    "full": {"seeds": (0, 1, 2), "overrides": ()},
    "small": {
        "seeds": (0,),
        "overrides": (
            "data.dataset=digits",
            "data.private_size=1000",
            "data.public={size: 200, labelled: 200}",
            "student.model={name: mlp, hidden: [64]}",
        ),
    },
}
MEASURES = ("average", "new", "forgetting", "within")
"""Of all tasks after the last, of a new task just after it, what was lost since, and that among the task's classes."""


def configured(preset: str, count: int, lam: float, seed: int) -> ExperimentConfig:
    """The configuration of one run."""
    own = [
        f"seed={seed}",
        f"data.tasks={{count: {count}, rehearsed: 20}}",
        f"distillation.balancer={{name: fixed, value: {lam}}}",
    ]
    return load_config(BASE, [*PRESETS[preset]["overrides"], *own])


def run(runs: Path, preset: str, count: int, lam: float, seed: int) -> dict[str, Any]:
    """One run's result; its directory is kept, and gone on with where it was interrupted."""
    out = runs / preset / f"{count}-{lam}-{seed}"
    result = learn_in_sequence(configured(preset, count, lam, seed), out, resume=out.exists()).result
    return {key: result[key] for key in ("learners", "joint", "student_sha256", "seconds")}


def measured(found: Mapping[str, Any]) -> dict[str, float]:
    """The measures of one learner, in per cent."""
    retention = Retention.of(found)
    within = Retention(retention.within, retention.within, retention.untrained)
    values = (retention.average, retention.learned, retention.forgetting.mean(), within.forgetting.mean())
    return {name: 100 * float(value) for name, value in zip(MEASURES, values, strict=True)}


def seeds_of(asked: Namespace, results: Results) -> list[int]:
    """The seeds for which everything has been run."""
    seeds = PRESETS[asked.preset]["seeds"]
    return [
        seed
        for seed in seeds
        if all((asked.preset, count, lam, seed) in results for count in COUNTS for lam in LAMBDAS)
    ]


def rows_of(preset: str, seeds: Sequence[int], results: Results) -> list[dict[str, Any]]:
    """A row per number of tasks and learner: means with 95 % intervals over the seeds, in per cent.

    ``of_rehearsal`` is the forgetting as a share of that of rehearsal alone, ``new_lost`` what a new task costs more.
    """
    rows = []
    for count in COUNTS:
        learners = [(FINE_TUNING, MAIN), (REHEARSAL, MAIN), *((FORMER_SELF, lam) for lam in LAMBDAS)]
        found = {
            each: [measured(results[preset, count, each[1], seed]["learners"][each[0]]) for seed in seeds]
            for each in learners
        }
        alone = found[REHEARSAL, MAIN]
        for (name, lam), runs in found.items():
            row: dict[str, Any] = {"tasks": count, "learner": name, "lambda": lam if name == FORMER_SELF else None}
            row |= {measure: mean_and_ci([each[measure] for each in runs]) for measure in MEASURES}
            pairs = list(zip(runs, alone, strict=True))
            row["of_rehearsal"] = mean_and_ci([_share(own["forgetting"], other["forgetting"]) for own, other in pairs])
            row["new_lost"] = mean_and_ci([other["new"] - own["new"] for own, other in pairs])
            rows.append(row)
        joint = [100 * results[preset, count, MAIN, seed]["joint"]["average_accuracy"] for seed in seeds]
        rows.append({"tasks": count, "learner": "joint", "lambda": None, "average": mean_and_ci(joint)})
    return rows


def _share(part: float, whole: float) -> float:
    """In per cent; NaN of nothing."""
    return 100 * part / whole if whole > 0 else float("nan")


def _name(row: Mapping[str, Any]) -> str:
    name = str(row["learner"]).replace("_", " ")
    return name if row["lambda"] is None else f"{name}, λ = {row['lambda']}"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as text, and what they say to the question."""
    headings = {"average": "all tasks", "new": "new task", "forgetting": "forgotten", "within": "… task told"}
    more = {"of_rehearsal": "% of rehearsal's", "new_lost": "new task lost"}
    cells = [
        {"tasks": str(row["tasks"]), "": _name(row)}
        | {words: plus_minus(row.get(key), ".1f") for key, words in (headings | more).items()}
        for row in rows
    ]
    return f"mean ± 95 % CI over seeds, in per cent\n{aligned(cells)}\n" + "\n".join(answer(rows, n) for n in COUNTS)


def answer(rows: Sequence[Mapping[str, Any]], count: int) -> str:
    """What is still forgotten at each λ, and at what price."""
    parts = [
        f"{row['of_rehearsal'][0]:.0f} % at λ = {row['lambda']}, for {row['new_lost'][0]:.1f} points on a new task"
        for row in rows
        if row["tasks"] == count and row["learner"] == FORMER_SELF
    ]
    return f"{count} tasks: of what rehearsal forgets, the former self still forgets {'; '.join(parts)}"


def draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """What is forgotten against what is learned, a panel for each number of tasks."""
    figure = new_figure(9, 4)
    for axes, count in zip(figure.subplots(1, len(COUNTS), squeeze=False)[0], COUNTS, strict=True):
        dress(axes, f"{count} tasks", "accuracy on a new task (%)", "forgotten (points)")
        mine = [row for row in rows if row["tasks"] == count and "forgetting" in row]
        for index, name in enumerate((REHEARSAL, FORMER_SELF)):
            points = [row for row in mine if row["learner"] == name]
            x, y = ([row[key][0] for row in points] for key in ("new", "forgetting"))
            errors = {
                way: np.nan_to_num([row[key][1] for row in points], posinf=0.0)
                for way, key in (("xerr", "new"), ("yerr", "forgetting"))
            }
            label, colour = name.replace("_", " "), PALETTE[1 - index]
            axes.errorbar(x, y, **errors, marker="o", capsize=2, linewidth=1, color=colour, label=label)
            for row in points:
                if row["lambda"] is not None:
                    at = (row["new"][0], row["forgetting"][0])
                    axes.annotate(f" λ = {row['lambda']}", at, fontsize=8, va="bottom", ha="right")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=8)
    return figure


def csv_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The intervals as two columns each, empty where there is none."""
    cells: dict[str, Any] = {"tasks": row["tasks"], "learner": row["learner"], "lambda": row["lambda"]}
    for key in (*MEASURES, "of_rehearsal", "new_lost"):
        mean, half = row.get(key, (None, None))
        cells |= {key: "", f"{key}_ci95": ""} if mean is None else decimals(**{key: mean, f"{key}_ci95": half})
    return cells


def stages(asked: Namespace) -> list[Stage]:
    seeds = asked.seeds or PRESETS[asked.preset]["seeds"]
    tasks = [(asked.preset, count, lam, seed) for seed in seeds for count in COUNTS for lam in LAMBDAS]
    return [Stage("runs", run, tasks)]


def reported(asked: Namespace, results: Results) -> Report:
    preset, seeds = asked.preset, seeds_of(asked, results)
    rows = rows_of(preset, seeds, results)
    content = {
        "preset": preset,
        "seeds": seeds,
        "learners": dict(LEARNERS),
        "rows": rows,
        "runs": {
            f"{count}-{lam}-{seed}": results[preset, count, lam, seed]
            for count in COUNTS
            for lam in LAMBDAS
            for seed in seeds
        },
        "config": to_mapping(configured(preset, COUNTS[-1], MAIN, seeds[0])),
    }
    return Report(content, table(rows), csv=[*map(csv_row, rows)], figures={"": draw(rows)})


STUDY = Study("continual", stages, reported)


def main(argv: Sequence[str] | None = None) -> int:
    return STUDY.carry_out(study_parser(__doc__, STUDY.name, PRESETS).parse_args(argv))
