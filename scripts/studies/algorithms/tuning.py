"""How the study of algorithms tunes: every algorithm with the same budget, on samples that the table does not use."""

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fedkd.config.load import load_config
from fedkd.config.overrides import put
from fedkd.config.schema import ExperimentConfig
from fedkd.core.errors import RunError
from studies.algorithms.settings import PRESETS, REFERENCE, SEARCH, Setting, Tuning, shipped
from studies.study import Report, Stage, aligned, run_afresh
from studies.tasks import Results
from studies.unused_data import unused_by

RULE = (
    "the highest mean accuracy over the tuning seeds on samples held out for it, of the student, or the clients' mean "
    "where there is no student; the first of equal ones; a run that fails counts as 0"
)


def configured(preset: str, name: str, setting: Setting, seed: int) -> ExperimentConfig:
    """A trial on samples that are private or test samples under none of the preset's seeds."""
    chosen = PRESETS[preset]
    settings = {**chosen.changes, **setting}
    reported, tuning = load_config(shipped(name), values=settings), chosen.tuning
    data = reported.data
    changes = {
        "data.dataset": unused_by(reported, chosen.seeds, tuning.test_size),
        "data.private_size": (data.private_size or 0) // tuning.private,
        "data.public.size": data.public.size // tuning.public,
        "data.public.round_size": data.public.round_size and data.public.round_size // tuning.public,
        **passes(reported, tuning),
        "rounds": tuning.rounds,
        "seed": seed,
        "controls": [],
        "engine.kind": "inline",
        "clients.measure_test": True,
    }
    return load_config(shipped(name), values={**settings, **changes})


def passes(reported: ExperimentConfig, tuning: Tuning) -> dict[str, Any]:
    """Passes over samples, as many times more as there are fewer of them."""
    client, student = reported.clients.rule, reported.student.rule
    changes: dict[str, Any] = {"clients.epochs": reported.clients.epochs * tuning.private}
    if client.name == "own_model":
        changes["clients.rule.digest_epochs"] = client.options.get("digest_epochs", 1) * tuning.public
    if client.name == "selective":
        changes["clients.rule.base_options"] = {"digest_epochs": tuning.public}
    if student.name == "features":
        changes["student.rule.epochs"] = student.options.get("epochs", 1) * tuning.private
    return changes


def run(runs: Path, preset: str, name: str, index: int, seed: int) -> dict[str, Any]:
    """A trial's accuracies on the samples held out for it."""
    begun = time.process_time()
    config = configured(preset, name, SEARCH[name][index], seed)
    try:
        summary = run_afresh(config, runs / preset / f"tuning-{name}-{index}-{seed}").summary or {}
    except RunError as error:
        return {"student": 0.0, "clients": 0.0, "failure": str(error), "cpu_seconds": time.process_time() - begun}
    return {
        "student": summary["student_accuracy"],
        "clients": summary["client_test_accuracy"],
        "cpu_seconds": time.process_time() - begun,
    }


def stages(preset: str, names: Sequence[str]) -> list[Stage]:
    """Every setting of the named algorithms with every seed."""
    seeds = PRESETS[preset].tuning.seeds
    tasks = [(preset, name, index, seed) for name in names for index in range(len(SEARCH[name])) for seed in seeds]
    return [Stage("trials", run, tasks)]


def report(preset: str, results: Results) -> Report:
    """All algorithms that have been tuned, with every trial and what was chosen."""
    plan = PRESETS[preset]
    tuned = {}
    for name, settings in SEARCH.items():
        tasks = [[(preset, name, index, seed) for seed in plan.tuning.seeds] for index in range(len(settings))]
        if all(task in results for row in tasks for task in row):
            tuned[name] = tuned_of(settings, [[results[task] for task in row] for row in tasks])
    content = {
        "preset": preset,
        "rule": RULE,
        "seeds": plan.tuning.seeds,
        "reporting_seeds": plan.seeds,
        "budget": dataclasses.asdict(plan.tuning),
        "algorithms": tuned,
    }
    rows = [
        {
            "": name,
            "setting": text_of(each["setting"]),
            "accuracy": f"{100 * each['mean']:.2f} %",
            "of the": found["of"],
            "CPU s": f"{np.mean(each['cpu_seconds']):.0f}",
            "chosen": "*" if each["setting"] == found["chosen"] else "",
        }
        for name, found in tuned.items()
        for each in found["trials"]
    ]
    return Report(content, aligned(rows))


def tuned_of(settings: Sequence[Setting], trials: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """What ``RULE`` chooses, given the trials of each setting, one per seed."""
    of = "clients" if any(each["student"] is None for seeds in trials for each in seeds) else "student"
    found: list[dict[str, Any]] = [
        {
            "setting": dict(setting),
            "accuracy": (accuracy := [each[of] for each in seeds]),
            "mean": float(np.mean(accuracy)),
            "cpu_seconds": [each["cpu_seconds"] for each in seeds],
            "failures": [each["failure"] for each in seeds if "failure" in each],
        }
        for setting, seeds in zip(settings, trials, strict=True)
    ]
    return {"of": of, "chosen": max(found, key=lambda each: each["mean"])["setting"], "trials": found}


def text_of(setting: Setting) -> str:
    """A setting in words."""
    return ", ".join(f"{key}={value}" for key, value in setting.items()) or "as shipped"


def write_configs(folder: Path, chosen: Mapping[str, Setting]) -> None:
    """A configuration for each algorithm that extends the shipped one by what was chosen."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, setting in chosen.items():
        path, changes = folder / f"{name}.yaml", dict[str, Any]()
        put(changes, setting)
        lines = [
            f"# fedkd run {path}",
            "#",
            f"# {'fashion_mnist' if name == REFERENCE else name} as tuned with the same budget as the other algorithms "
            "(`python scripts/algorithm_study.py --tune`,",
            f"# docs/results/algorithms_tuning.json): {text_of(setting)}.",
            "",
            f"extends: {os.path.relpath(shipped(name), folder)}",
        ]
        text = yaml.safe_dump(changes, sort_keys=False) if changes else ""
        path.write_text("\n".join([*lines, "", text]).rstrip() + "\n", encoding="utf-8")
