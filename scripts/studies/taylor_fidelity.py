"""Accuracy of the first-order prediction of a step's loss decrease: measured over predicted, by learning rate.

    python scripts/taylor_fidelity.py [--out docs/results]

Plain SGD without momentum on the digits, a fresh student per learning rate; writes taylor_fidelity.json and .png.
"""

import argparse
import itertools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from fedkd.aggregation.types import Teacher
from fedkd.config.load import load_config
from fedkd.config.schema import DistillationConfig
from fedkd.core.compute import fixed_threads
from fedkd.distillation.balancer import build_balancer
from fedkd.distillation.distiller import Distiller
from fedkd.distillation.temperature import build_temperature
from fedkd.experiment import Experiment
from fedkd.results.report.style import Figure, drawing, new_figure
from studies.study import Report

RATES = np.logspace(-4, 0, 17).tolist()
TOLERANCE = 0.02


def ratios(experiment: Experiment, rate: float, steps: int) -> list[float]:
    """Measured over predicted decrease of the total loss at every step."""
    public = experiment.data.public
    teacher = Teacher.from_probabilities(torch.nn.functional.one_hot(public.truth, 10).float() * 0.8 + 0.02)
    config = DistillationConfig(steps=steps, learning_rate=rate, momentum=0.0, warmup=0, measure_every=1)
    distiller = Distiller(
        experiment.initial_model(),
        build_balancer("energy_share"),
        config,
        temperature=build_temperature("constant"),
        seed=0,
    )
    rows = distiller.distil(teacher, public.inputs, public.labels, round=1).rows
    return [
        row.measured_decrease / row.predicted_decrease
        for row in rows
        if row.measured_decrease is not None and row.predicted_decrease is not None
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args(argv)
    experiment = Experiment.of(load_config({"engine": {"kind": "inline"}}))
    with fixed_threads(1):
        found = {rate: ratios(experiment, rate, arguments.steps) for rate in RATES}
    medians = {rate: statistics.median(values) for rate, values in found.items()}
    # Beyond the first failure a good ratio is chance: a student that has diverged hardly moves.
    held = list(itertools.takewhile(lambda rate: abs(medians[rate] - 1) <= TOLERANCE, RATES))
    content = {
        "rates": RATES,
        "median_ratio": list(medians.values()),
        "worst_error": [max(abs(value - 1) for value in values) for values in found.values()],
        "holds_to": held[-1] if held else 0.0,
    }
    text = f"the median step is predicted within {TOLERANCE:.0%} up to a learning rate of {content['holds_to']:.2g}"
    with drawing():
        Report(content, text, figures={"": draw(found)}).write(arguments.out, "taylor_fidelity")
    return 0


def draw(found: Mapping[float, Sequence[float]]) -> Figure:
    """The median ratio and a band of the steps, over the learning rate."""
    figure = new_figure(7.5, 4.2)
    axes = figure.add_subplot()
    low, middle, high = (np.array([np.percentile(values, share) for values in found.values()]) for share in (5, 50, 95))
    axes.fill_between(RATES, low, high, alpha=0.2, linewidth=0, label="5th to 95th percentile of the steps")
    axes.plot(RATES, middle, marker="o", markersize=3, label="median step")
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.axhspan(1 - TOLERANCE, 1 + TOLERANCE, color="green", alpha=0.15, label="within 2 %")
    axes.set_xscale("log")
    axes.set_ylim(-0.2, 1.3)
    axes.set_xlabel("learning rate (plain SGD)")
    axes.set_ylabel("measured / predicted decrease")
    axes.set_title("Where the first-order prediction of a distillation step ends", fontsize=10)
    axes.legend(frameon=False, loc="lower left")
    return figure
