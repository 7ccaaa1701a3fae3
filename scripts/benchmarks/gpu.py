"""Everything that is to be checked and measured on a GPU, in one command of at most four minutes.

    python scripts/benchmark.py gpu [--preset full|small] [--device cuda|cpu] [--seconds 240] [--json]

A cohort's local epoch, vectorised and client by client: ``difference_*`` is the largest of any parameter, as a share of
its model's largest; ``agrees`` is 1 where none exceeds the tolerance; ``speed_up_*`` the loop's time over the cohort's;
``peak_mb_*`` the most memory that tensors took. Then a distillation step with the default balancer, in milliseconds and
over a plain one, and an epoch of DP-SGD over a plain one. Parts for which no time is left are counted in ``left_out``.
The small preset is for trying it out on the CPU.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from benchmarks.measuring import medians
from benchmarks.privacy import plain_epoch, private_epoch, problem_of
from benchmarks.ratios import balanced_step, plain_step
from benchmarks.vectorised import one_by_one, seconds_of, trainings_of
from fedkd.client.cohort import COHORT_BYTES
from fedkd.client.vectorised import Training, train_vectorised
from fedkd.config.schema import ClientsConfig, DistillationConfig
from fedkd.core.compute import fixed_arithmetic
from fedkd.core.samples import SampleSpec
from fedkd.models import training_bytes

TOLERANCE = 1e-3
"""How far a client's parameters may be from those of the same client trained alone, as a share of the largest."""

Shape = tuple[int, int, int]
Work = Callable[[Sequence[Training]], None]


@dataclass(frozen=True)
class Preset:
    """Networks with the shape of their images, sizes of cohorts, samples of a client, and how often sides are timed."""

    networks: Mapping[str, Shape]
    cohorts: tuple[int, ...]
    samples: int
    private_samples: int
    repeats: int
    steps: int


PRESETS = {
    "full": Preset({"cnn": (1, 28, 28), "resnet18": (3, 32, 32)}, (10, 100), 96, 512, 3, 50),
    "small": Preset({"cnn": (1, 8, 8), "resnet8": (3, 8, 8)}, (2, 3), 12, 32, 1, 2),
}


def main(argv: Sequence[str]) -> int:
    begun = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="full")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--seconds", type=float, default=240.0, help="no part begins after so many")
    parser.add_argument("--json", action="store_true", help="print one flat JSON object")
    arguments = parser.parse_args(argv)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error(
            "--device: cuda needs a GPU that torch can see, and there is none; try --device cpu --preset small"
        )
    device, preset = torch.device(arguments.device), PRESETS[arguments.preset]
    found: dict[str, float] = {"on_gpu": float(device.type == "cuda"), "left_out": 0.0}
    with fixed_arithmetic(device):
        for part in _parts(preset, device):
            if time.monotonic() - begun > arguments.seconds:
                found["left_out"] += 1
            else:
                found |= part()
    differences = [value for name, value in found.items() if name.startswith("difference_")]
    found["agrees"] = float(bool(differences) and max(differences) <= TOLERANCE)
    found["seconds"] = time.monotonic() - begun
    found = {name: float(f"{value:.4g}") for name, value in found.items()}
    if arguments.json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{name:36} {value:12.6g}" for name, value in found.items()))
    return 0 if found["agrees"] or not differences else 1


def _parts(preset: Preset, device: torch.device) -> list[Callable[[], dict[str, float]]]:
    """The parts, the most important first."""
    found: list[Callable[[], dict[str, float]]] = []
    for clients in preset.cohorts:
        found += [partial(_cohort, name, clients, preset, device) for name in preset.networks]
    found += [partial(_distillation, name, preset, device) for name in preset.networks]
    return found + [partial(_privacy, name, preset, device) for name in preset.networks]


def _cohort(name: str, clients: int, preset: Preset, device: torch.device) -> dict[str, float]:
    """The clients' local epoch in cohorts as large as fedkd makes them, and one by one."""
    shape, config = preset.networks[name], ClientsConfig()
    draw = partial(trainings_of, name, clients, device, shape, preset.samples)
    one = draw()[0].model
    room = max(COHORT_BYTES // training_bytes(one, SampleSpec(shape), config.batch_size, 1), 1)

    def together(trainings: Sequence[Training]) -> None:
        for start in range(0, len(trainings), room):
            train_vectorised(trainings[start : start + room])

    works: dict[str, Work] = {"loop": one_by_one, "vectorised": together}
    trained: dict[str, list[Training]] = {}
    seconds: dict[str, list[float]] = {side: [] for side in works}
    peaks: dict[str, float] = {}
    # The first time of each is not counted.
    for _ in range(preset.repeats + 1):
        for side, work in works.items():
            trained.pop(side, None)
            trained[side] = draw()
            peaks[side] = _peak_megabytes(device, partial(_timed, seconds[side], work, trained[side], device))
    difference = max(
        _difference(loop.model, cohort.model)
        for loop, cohort in zip(trained["loop"], trained["vectorised"], strict=True)
    )
    medians_of = {side: statistics.median(each[1:]) for side, each in seconds.items()}
    found = {
        f"difference_{name}_{clients}": difference,
        f"speed_up_{name}_{clients}": medians_of["loop"] / medians_of["vectorised"],
        f"clients_per_second_{name}_{clients}": clients / medians_of["vectorised"],
    }
    if device.type == "cuda":
        found |= {f"peak_mb_{side}_{name}_{clients}": peak for side, peak in peaks.items()}
    return found


def _difference(one: nn.Module, other: nn.Module) -> float:
    """The largest difference between two models' parameters, as a share of the first one's largest."""
    left, right = (torch.cat([each.detach().flatten() for each in model.parameters()]) for model in (one, other))
    return float((left - right).abs().max() / left.abs().max())


def _timed(into: list[float], work: Work, trainings: Sequence[Training], device: torch.device) -> None:
    into.append(seconds_of(work, trainings, device))


def _distillation(name: str, preset: Preset, device: torch.device) -> dict[str, float]:
    shape, balancer = preset.networks[name], DistillationConfig().balancer.name
    sides = {"plain": plain_step(name, shape, device), "default": balanced_step(name, balancer, shape, device)}
    return _compared(f"distillation_step_{name}", sides, preset.steps, device)


def _privacy(name: str, preset: Preset, device: torch.device) -> dict[str, float]:
    shape, samples = preset.networks[name], preset.private_samples
    sides = {
        "plain": plain_epoch(problem_of(name, shape, device, samples)),
        "private": private_epoch(problem_of(name, shape, device, samples)),
    }
    return _compared(f"dp_sgd_epoch_{name}", sides, preset.repeats, device)


def _compared(
    what: str, sides: Mapping[str, Callable[[], object]], repeats: int, device: torch.device
) -> dict[str, float]:
    """Milliseconds of the last side, and its ratio to the first."""
    seconds = medians(sides, repeats, 2)
    first, last = list(seconds.values())
    found = {f"{what}_ms": 1000 * last, f"{what}_ratio": last / first}
    if device.type == "cuda":
        found[f"{what}_peak_mb"] = _peak_megabytes(device, list(sides.values())[-1])
    return found


def _peak_megabytes(device: torch.device, work: Callable[[], object]) -> float:
    """The most memory that tensors took while it was done; 0 on the CPU, where nobody counts."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    work()
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else 0.0
