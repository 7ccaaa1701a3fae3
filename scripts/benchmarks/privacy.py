"""What DP-SGD costs: the part of benchmark.py that trains privately."""

import importlib.util
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.measuring import medians
from fedkd.config.values import Plugin
from fedkd.core.optimisers import SGD
from fedkd.core.samples import SampleSpec
from fedkd.core.seeding import torch_generator
from fedkd.models import build_model
from fedkd.privacy.dp_sgd import PrivateSchedule, train_privately
from fedkd.privacy.mechanism import PrivateTraining
from fedkd.privacy.noise import seeded_noise

SAMPLES, BATCH, WARM_UP = 512, 32, 2
PRIVATE = PrivateTraining(noise_multiplier=1.0, clip_norm=1.0)

Side = Callable[[], object]
Shape = tuple[int, int, int]
SHAPE: Shape = (1, 28, 28)
CPU = torch.device("cpu")
Problem = tuple[nn.Module, Tensor, Tensor, torch.Generator]


def privacy(repeats: int) -> dict[str, float]:
    """An epoch of DP-SGD over a plain one with as many steps: fedkd's and, where it is installed, Opacus'.

    In processor time, of which one thread takes as much however busy the machine is.
    """
    found: dict[str, float] = {}
    for name in ("cnn", "resnet8"):
        sides = {"plain": plain_epoch(problem_of(name)), "dp_sgd": private_epoch(problem_of(name))}
        if importlib.util.find_spec("opacus") is not None:
            sides["opacus"] = _opacus(name)
        seconds = medians(sides, repeats, WARM_UP, time.process_time)
        found |= {f"{side}_ratio_{name}": seconds[side] / seconds["plain"] for side in sides if side != "plain"}
    found |= {key.removesuffix("_cnn"): value for key, value in found.items() if key.endswith("_cnn")}
    return found


def problem_of(name: str, shape: Shape = SHAPE, device: torch.device = CPU, samples: int = SAMPLES) -> Problem:
    """A model of that name, and samples to train it on; the generator shuffles them."""
    draw = torch_generator(0, purpose="privacy benchmark")
    model = build_model(Plugin(name), SampleSpec(shape), 10, draw)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    inputs = torch.randn(samples, *shape, generator=draw).to(device)
    labels = torch.randint(10, (samples,), generator=draw).to(device)
    model.train()
    return model, inputs, labels, draw


def _of_torch(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)


def _step(model: nn.Module, optimiser: torch.optim.Optimizer, inputs: Tensor, labels: Tensor) -> None:
    loss = nn.functional.cross_entropy(model(inputs.contiguous(memory_format=torch.channels_last)), labels)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def plain_epoch(problem: Problem) -> Side:
    """An epoch without privacy; it ends when the device has finished."""
    model, inputs, labels, draw = problem
    optimiser = _of_torch(model)

    def epoch() -> None:
        for batch in torch.randperm(len(labels), generator=draw).split(BATCH):
            _step(model, optimiser, inputs[batch], labels[batch])
        next(model.parameters()).flatten()[0].item()

    return epoch


def private_epoch(problem: Problem) -> Side:
    """An epoch of DP-SGD; it ends when the device has finished."""
    model, inputs, labels, _ = problem
    optimiser = SGD(model.parameters(), 1e-4, momentum=0.9)
    noise = seeded_noise(0, round=1, client=0, purpose="privacy benchmark", attempt="")

    def epoch() -> None:
        train_privately(model, inputs, labels, optimiser, PRIVATE, PrivateSchedule(1, BATCH), noise)
        next(model.parameters()).flatten()[0].item()

    return epoch


def _opacus(name: str) -> Side:
    from opacus import PrivacyEngine

    model, inputs, labels, _ = problem_of(name)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, labels), batch_size=BATCH)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that its noise is not from a cryptographic generator
        wrapped, private, poisson = PrivacyEngine().make_private(
            module=model, optimizer=_of_torch(model), data_loader=loader, noise_multiplier=1.0, max_grad_norm=1.0
        )

    def epoch() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for given, truth in poisson:
                if truth.numel() > 0:
                    _step(wrapped, private, given, truth)

    return epoch
