"""Reproduce Figure 2 of the importance analysis: how fast the loss falls, as a function of λ.

python scripts/figure2.py --trials 25 --seed 0
"""

import argparse
from math import cos, pi
from pathlib import Path

import numpy as np

from fedkd.distillation.geometry import GradientGeometry
from fedkd.results.report.style import Figure, drawing, dress, new_figure, save

WEIGHTS = np.linspace(0.0, 1.0, 201).tolist()
ANGLES = {"acute": ("tab:red", 0.0, pi / 2), "obtuse": ("tab:green", pi / 2, pi)}


def draw_geometry(generator: np.random.Generator, low: float, high: float) -> GradientGeometry:
    """Two gradients with norms uniform on [1e-5, 1e-1] and an angle uniform on [low, high], in radians."""
    dist, task = generator.uniform(1e-5, 1e-1, size=2)
    product = dist * task * cos(generator.uniform(low, high))
    return GradientGeometry(a=dist**2, b=product, c=task**2, loss_dist=0.0, loss_cls=0.0, step=0)


def curves(trials: int, seed: int) -> dict[str, list[list[float]]]:
    """q at ``WEIGHTS`` for each trial, by kind of angle."""
    generator = np.random.default_rng(seed)
    found: dict[str, list[list[float]]] = {kind: [] for kind in ANGLES}
    for kind, (_, low, high) in ANGLES.items():
        for _ in range(trials):
            geometry = draw_geometry(generator, low, high)
            found[kind].append([geometry.decrease(weight) for weight in WEIGHTS])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw q(λ) for random gradients.")
    parser.add_argument("--trials", type=int, default=25, help="curves per kind of angle")
    parser.add_argument("--seed", type=int, default=0, help="of the norms and angles")
    parser.add_argument("--out", type=Path, default=Path("docs/results/figure2.png"))
    arguments = parser.parse_args()

    with drawing():
        save(_figure(arguments.trials, arguments.seed), arguments.out)
    print(arguments.out)
    return 0


def _figure(trials: int, seed: int) -> Figure:
    figure = new_figure(7, 4.8)
    axes = figure.add_subplot()
    dress(
        axes,
        "First-order loss decrease q(λ) of random gradient pairs",
        "λ (0: labels only, 1: teacher only)",
        "q = −ΔL/η",
    )
    for kind, lines in curves(trials, seed).items():
        for number, line in enumerate(lines):
            label = None if number else f"{kind} angle between the gradients"
            axes.plot(WEIGHTS, line, color=ANGLES[kind][0], alpha=0.6, linewidth=1.1, label=label)
    axes.set(xlim=(0, 1), ylim=(0, None))
    axes.legend(frameon=False, loc="upper center")
    return figure
