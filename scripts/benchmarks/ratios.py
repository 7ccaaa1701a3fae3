"""Ratios of cost, each measured side by side in one run: what the machine does meanwhile hits both sides alike.

python scripts/benchmark.py balancer|engine|flower|privacy|start|vectorised [--json]
"""

import argparse
import json
from collections.abc import Callable, Sequence

import torch
from torch import nn

from benchmarks.engine import engine
from benchmarks.flower import flower
from benchmarks.losses import losses
from benchmarks.measuring import medians
from benchmarks.privacy import privacy
from benchmarks.start import start
from benchmarks.vectorised import vectorised
from fedkd.config.schema import DistillationConfig
from fedkd.config.values import Plugin
from fedkd.core.compute import fixed_threads
from fedkd.core.optimisers import SGD
from fedkd.core.samples import SampleSpec
from fedkd.core.seeding import torch_generator
from fedkd.distillation.balanced_step import BalancedStep, Losses
from fedkd.distillation.balancer import build_balancer
from fedkd.distillation.divergence import classification_loss, distillation_loss
from fedkd.distillation.validation import StudentError
from fedkd.models import build_model

BATCH, LABELLED, VALIDATION, TEMPERATURE = 32, 16, 400, 3.0
WARM_UP = 20


def balancer(repeats: int) -> dict[str, float]:
    """A distillation step with the default balancer, and with exact geometry, over a plain step with a fixed λ.

    What is done at some steps only is added to the step by its share: the predicted decrease, every 10 steps, and where
    the default balancer asks for it a validation pass (400 samples, every 25 steps).
    The plain step is what one would write by hand: one forward pass over both batches together, one backward pass over
    λ·L_dist + (1−λ)·L_cls. ``mixed`` is exact geometry on one mixed batch, where both losses share one graph. What
    other losses cost beside KL is with them.
    """
    found: dict[str, float] = {}
    usual = DistillationConfig()
    for name in ("cnn", "resnet8"):
        seconds = medians(
            {
                "plain": plain_step(name),
                "default": balanced_step(name, usual.balancer.name),
                "default_measured": balanced_step(name, usual.balancer.name, measure=True),
                "exact": balanced_step(name, "energy_share"),
                "exact_measured": balanced_step(name, "energy_share", measure=True),
                "mixed_exact": balanced_step(name, "energy_share", mixed=True),
                "mixed_exact_measured": balanced_step(name, "energy_share", mixed=True, measure=True),
                "validation": _validation_pass(name),
            },
            repeats,
            WARM_UP,
        )
        for side in ("default", "exact", "mixed_exact"):
            seconds[side] += (seconds[f"{side}_measured"] - seconds[side]) / usual.measure_geometry_every
        if build_balancer(usual.balancer.name).asks_for != "nothing":
            seconds["default"] += seconds["validation"] / usual.validate_every
        for side in ("default", "exact", "mixed_exact"):
            found[f"{side}_ratio_{name}"] = seconds[side] / seconds["plain"]
    found["default_ratio"] = max(found["default_ratio_cnn"], found["default_ratio_resnet8"])
    found["exact_ratio"] = max(value for key, value in found.items() if "exact_ratio" in key)
    # Each side of these makes several steps at once.
    return found | losses(max(repeats // 5, 1))


Shape = tuple[int, int, int]
SHAPE: Shape = (1, 28, 28)
CPU = torch.device("cpu")


def _problem(
    name: str, shape: Shape, device: torch.device
) -> tuple[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch_generator(0, purpose="benchmark")
    model = build_model(Plugin(name), SampleSpec(shape), 10, draw)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    inputs = torch.randn(BATCH + LABELLED, *shape, generator=draw).contiguous(memory_format=torch.channels_last)
    target = torch.randn(BATCH + LABELLED, 10, generator=draw).log_softmax(1)
    return model, inputs.to(device), target.to(device), (torch.arange(LABELLED) % 10).to(device)


def plain_step(name: str, shape: Shape = SHAPE, device: torch.device = CPU) -> Callable[[], object]:
    """A step as one would write it by hand, of the model of that name; it ends when the device has finished."""
    model, inputs, target, labels = _problem(name, shape, device)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def step() -> None:
        logits = model(inputs)
        dist = distillation_loss(logits[:BATCH], target[:BATCH], TEMPERATURE)
        loss = 0.5 * dist + 0.5 * classification_loss(logits[BATCH:], labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        # Where a GPU computes, this waits for the whole step.
        next(model.parameters()).flatten()[0].item()

    return step


def balanced_step(
    name: str,
    balancer: str,
    shape: Shape = SHAPE,
    device: torch.device = CPU,
    *,
    mixed: bool = False,
    measure: bool = False,
) -> Callable[[], object]:
    """A step of fedkd's with that balancer; it ends when the device has finished."""
    model, inputs, target, labels = _problem(name, shape, device)
    parameters = list(model.parameters())
    balanced = BalancedStep(parameters, SGD(parameters, 1e-4, momentum=0.9), build_balancer(balancer))

    def step() -> None:
        if mixed:
            logits = model(inputs)
            dist = distillation_loss(logits, target, TEMPERATURE)
            losses = Losses(dist, classification_loss(logits[BATCH:], labels), logits, logits)
        else:
            public, labelled = model(inputs[:BATCH]), model(inputs[BATCH:])
            dist = distillation_loss(public, target[:BATCH], TEMPERATURE)
            losses = Losses(dist, classification_loss(labelled, labels), public, labelled)
        balanced.step(losses, round=1, step=0, steps=1, temperature=TEMPERATURE, measure=measure)
        parameters[0].flatten()[0].item()

    return step


def _validation_pass(name: str) -> Callable[[], object]:
    model, _, _, _ = _problem(name, SHAPE, CPU)
    inputs = torch.randn(VALIDATION, 1, 28, 28, generator=torch_generator(0, purpose="validation"))
    labels = torch.zeros(VALIDATION, dtype=torch.long)
    return StudentError(model, inputs, labels).measure


BENCHMARKS = {
    "balancer": (balancer, 300),
    "engine": (engine, 9),
    "flower": (flower, 3),
    "privacy": (privacy, 5),
    "start": (start, 5),
    "vectorised": (vectorised, 5),
}
"""Each with how often its sides are timed, unless told otherwise."""


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=sorted(BENCHMARKS))
    parser.add_argument("--json", action="store_true", help="print one flat JSON object")
    parser.add_argument("--repeats", type=int, help="how often each side is timed; medians are compared")
    arguments = parser.parse_args(argv)
    benchmark, usual = BENCHMARKS[arguments.what]
    with fixed_threads(1):
        found = {name: round(value, 3) for name, value in benchmark(arguments.repeats or usual).items()}
    if arguments.json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{name:28} {value:8.3f}" for name, value in found.items()))
    return 0
