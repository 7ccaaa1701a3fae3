"""What clients of two classes forget of the others while they train, with their former selves as teachers or not.

    python scripts/former_self_study.py [--preset small|full] [--out docs/results] [--seeds 0]

The federation is that of configs/toolkit/federated_former_self.yaml: federated averaging on the digits, ten clients of
two classes each. Every client's model is measured on the test samples of the eight classes that the client does not
hold, as it comes from the server and after local training; the difference is what it forgets. The loss is plain
cross-entropy (β = 0), or with β·KL from the model as it came, over all classes or over those other than a sample's own
(FedNTD). The full preset has three seeds and takes minutes; the small one is one seed, of three rounds. Writes
former_self.json, former_self.csv and former_self.png.
"""

import copy
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fedkd.client.performer import CLIENT_FN
from fedkd.config.load import load_config, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.core.messages import Reply, parameter_prefix
from fedkd.engines.inline import InlineEngine
from fedkd.engines.resources import Workload
from fedkd.experiment import STUDENT, Experiment
from fedkd.models import hit_rate, predict
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import PALETTE, Figure, new_figure
from fedkd.server.server import Server
from studies.study import Report, Stage, Study, aligned, decimals, plus_minus, study_parser
from studies.tasks import Results

Setting = tuple[float, str]
"""β, and the classes that it is about."""

CONFIG = "configs/toolkit/federated_former_self.yaml"
PLAIN: Setting = (0.0, "all")
PRESETS: dict[str, dict[str, Any]] = {
    "full": {
        "seeds": (0, 1, 2),
        "settings": (
            PLAIN,
            (0.3, "all"),
            (1.0, "all"),
            (3.0, "all"),
            (0.3, "others"),
            (1.0, "others"),
            (3.0, "others"),
        ),
        "overrides": (),
    },
    "small": {
        "seeds": (0,),
        "settings": (PLAIN, (3.0, "all"), (3.0, "others")),
        "overrides": ("data.private_size=300", "clients.count=5", "rounds=3"),
    },
}
MEASURED = ("server", "absent_before", "absent_after", "own_before", "own_after")


def configured(preset: str, setting: Setting, seed: int) -> ExperimentConfig:
    """The configuration of one run."""
    weight, classes = setting
    changes = (f"clients.self_distillation={weight}", f"clients.self_classes={classes}", f"seed={seed}")
    return load_config(CONFIG, [*PRESETS[preset]["overrides"], *changes, "engine.kind=inline"])


def run(runs: Path, preset: str, seed: int, weight: float, classes: str) -> dict[str, list[float]]:
    """Shares of test samples that are classified rightly, in each round; those of clients are means over them."""
    experiment = Experiment.of(configured(preset, (weight, classes), seed))
    server = Server.build(experiment)
    found: dict[str, list[float]] = {name: [] for name in MEASURED}
    with InlineEngine(Workload(client_fn=CLIENT_FN, memory=None)) as engine:
        for round in range(1, experiment.config.rounds + 1):
            job, received = server.job(round), copy.deepcopy(_student(server))
            replies = list(engine.run(job, server.sampled(round)))
            trained = [_sent(experiment, reply) for reply in replies]
            for when, models in (("before", [received] * len(replies)), ("after", trained)):
                found[f"absent_{when}"].append(_mean_accuracy(experiment, models, own=False))
                found[f"own_{when}"].append(_mean_accuracy(experiment, models, own=True))
            server.finish_round(job, replies)
            data = experiment.data
            found["server"].append(hit_rate(predict(_student(server), data.test_inputs), data.test_labels))
    return found


def _student(server: Server) -> nn.Module:
    if server.rule.student is None:
        raise ValueError(f"{CONFIG} must have a student rule with a model on the server")
    return server.rule.student


def _sent(experiment: Experiment, reply: Reply) -> nn.Module:
    """The model that a client has after local training."""
    prefix = parameter_prefix(STUDENT)
    return experiment.model({name.removeprefix(prefix): array for name, array in reply.arrays.items()})


def _mean_accuracy(experiment: Experiment, models: Sequence[nn.Module], *, own: bool) -> float:
    """The mean over clients of their models' accuracy on the test samples of the classes that they hold, or do not."""
    data = experiment.data
    shares = []
    for model, roles in zip(models, data.clients, strict=True):
        chosen = torch.isin(data.test_labels, data.labels[roles.train]) == own
        shares.append(hit_rate(predict(model, data.test_inputs[chosen]), data.test_labels[chosen]))
    return float(np.mean(shares))


def rows_of(preset: str, seeds: Sequence[int], results: Results) -> list[dict[str, Any]]:
    """One row per setting: means over the second half of the rounds, with 95 % intervals over seeds; in per cent."""
    rows = []
    for setting in PRESETS[preset]["settings"]:
        runs = [results[preset, seed, *setting] for seed in seeds]
        late = {name: [100 * float(np.mean(each[name][len(each[name]) // 2 :])) for each in runs] for name in MEASURED}
        late["forgotten"] = [
            before - after for before, after in zip(late["absent_before"], late["absent_after"], strict=True)
        ]
        rows.append({"setting": setting, **{name: mean_and_ci(values) for name, values in late.items()}})
    return rows


def named(setting: Setting) -> str:
    weight, classes = setting
    return "β = 0" if weight == 0 else f"β = {weight:g}, {classes}"


def table(rows: Sequence[dict[str, Any]]) -> str:
    cells = [
        {
            "": named(row["setting"]),
            "absent, as received": plus_minus(row["absent_before"], ".1f"),
            "absent, trained": plus_minus(row["absent_after"], ".1f"),
            "forgotten": plus_minus(row["forgotten"], ".1f"),
            "own, trained": plus_minus(row["own_after"], ".1f"),
            "server's model": plus_minus(row["server"], ".1f"),
        }
        for row in rows
    ]
    return f"accuracy in %, second half of the rounds, mean ± 95 % CI over seeds\n{aligned(cells)}"


def csv_row(row: dict[str, Any]) -> dict[str, str]:
    weight, classes = row["setting"]
    cells = {"self_distillation": f"{weight:g}", "self_classes": classes}
    for name in (*MEASURED, "forgotten"):
        mean, half = row[name]
        cells |= decimals(**{name: mean, f"{name}_ci95": half})
    return cells


def draw(preset: str, seeds: Sequence[int], results: Results) -> Figure:
    """By round, what clients' models know of absent classes after local training, and how well the server's does."""
    figure = new_figure(9.5, 4.2)
    panels = {
        "absent_after": "clients' models on the classes they lack,\nafter local training",
        "server": "server's model on all classes",
    }
    for index, (name, title) in enumerate(panels.items()):
        axes = figure.add_subplot(1, 2, index + 1)
        for place, setting in enumerate(PRESETS[preset]["settings"]):
            curve = 100 * np.mean([results[preset, seed, *setting][name] for seed in seeds], axis=0)
            line = "--" if setting[1] == "others" else "-"
            colour = PALETTE[place % len(PALETTE)]
            axes.plot(range(1, len(curve) + 1), curve, line, color=colour, label=None if index else named(setting))
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("round")
        axes.set_ylabel("test accuracy (%)")
        axes.set_ylim(0, 100)
        axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", frameon=False)
    return figure


def stages(asked: Namespace) -> list[Stage]:
    seeds, settings = asked.seeds or PRESETS[asked.preset]["seeds"], PRESETS[asked.preset]["settings"]
    return [Stage("runs", run, [(asked.preset, seed, *setting) for seed in seeds for setting in settings])]


def reported(asked: Namespace, results: Results) -> Report:
    preset, seeds = asked.preset, asked.seeds or PRESETS[asked.preset]["seeds"]
    rows = rows_of(preset, seeds, results)
    content = {
        "preset": preset,
        "seeds": [*seeds],
        "rows": rows,
        "runs": {
            f"{named(setting)}, seed {seed}": results[preset, seed, *setting]
            for setting in PRESETS[preset]["settings"]
            for seed in seeds
        },
        "config": to_mapping(configured(preset, PLAIN, seeds[0])),
    }
    return Report(content, table(rows), csv=[*map(csv_row, rows)], figures={"": draw(preset, seeds, results)})


STUDY = Study("former_self", stages, reported)


def main(argv: Sequence[str] | None = None) -> int:
    return STUDY.carry_out(study_parser(__doc__, STUDY.name, PRESETS).parse_args(argv))
