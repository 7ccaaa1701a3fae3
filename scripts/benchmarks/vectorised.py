"""What it saves to train a cohort as one vectorised model; see benchmark.py."""

import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch

from fedkd.client.training import train
from fedkd.client.vectorised import Training, train_vectorised
from fedkd.config.schema import ClientsConfig
from fedkd.config.values import Plugin
from fedkd.core.compute import fixed_arithmetic
from fedkd.core.samples import SampleSpec
from fedkd.core.seeding import torch_generator
from fedkd.models import build_model

SHAPE, CLASSES, SAMPLES = (1, 28, 28), 10, 96
CLIENTS = {"cuda": (10, 100), "cpu": (4,)}
MODELS = {"cuda": ("cnn", "mlp", "lenet5", "resnet8"), "cpu": ("cnn", "mlp")}


def vectorised(repeats: int) -> dict[str, float]:
    """How many times faster a cohort's local epoch is vectorised than client by client, on the GPU if there is one.

    ``MODEL_N`` is for N clients of 64 to 128 samples each, in batches of 32; ``on_gpu`` is 0 where there is none, and
    the figures are then of the CPU, where fedkd does not vectorise.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        print("no GPU that torch can see: these are figures of the CPU", file=sys.stderr)
    found = {"on_gpu": float(device.type == "cuda")}
    with fixed_arithmetic(device):
        for name in MODELS[device.type]:
            for clients in CLIENTS[device.type]:
                found[f"{name}_{clients}"] = _speed_up(name, clients, repeats, device)
    return found


def _speed_up(name: str, clients: int, repeats: int, device: torch.device) -> float:
    loop: list[float] = []
    together: list[float] = []
    # The first time of each is not counted.
    for _ in range(repeats + 1):
        loop.append(seconds_of(one_by_one, trainings_of(name, clients, device), device))
        together.append(seconds_of(train_vectorised, trainings_of(name, clients, device), device))
    return statistics.median(loop[1:]) / statistics.median(together[1:])


def seconds_of(
    work: Callable[[Sequence[Training]], None], trainings: Sequence[Training], device: torch.device
) -> float:
    """What the work takes until the device has finished."""
    _finish(device)
    begun = time.perf_counter()
    work(trainings)
    _finish(device)
    return time.perf_counter() - begun


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def one_by_one(trainings: Sequence[Training]) -> None:
    """The loop that vectorised training takes the place of."""
    for training in trainings:
        train(**training.arguments)


def trainings_of(
    name: str, clients: int, device: torch.device, shape: tuple[int, int, int] = SHAPE, samples: int = SAMPLES
) -> list[Training]:
    """The clients' models and data, which are on the device already; shuffles are drawn on the CPU.

    They have ``samples`` each, or a third more or fewer.
    """
    config = ClientsConfig()
    found = []
    for client in range(clients):
        draw = torch_generator(0, client=client, purpose="benchmark")
        count = samples + samples // 3 * (client % 3 - 1)
        model = build_model(Plugin(name), SampleSpec(shape), CLASSES, torch_generator(0, purpose="model"))
        inputs = torch.randn(count, *shape, generator=draw).to(device)
        labels = torch.randint(CLASSES, (count,), generator=draw)
        placed = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        found.append(Training(placed, inputs, labels, config, config.epochs, draw))
    return found
