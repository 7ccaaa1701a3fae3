"""What each distillation loss costs beside KL: the time of a step, and the memory of features."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measuring import medians
from fedkd.config.schema import DistillationConfig
from fedkd.config.values import Plugin
from fedkd.core.samples import SampleSpec
from fedkd.core.seeding import torch_generator
from fedkd.distillation.balancer import build_balancer
from fedkd.distillation.distiller import Distiller
from fedkd.distillation.loss import DistillationLoss, build_loss
from fedkd.distillation.network import NetworkTeacher
from fedkd.distillation.temperature import build_temperature
from fedkd.models import build_model, tapped

SAMPLES, LABELLED, STEPS, BATCH, CLASSES = 96, 32, 5, 32, 10


@dataclass(frozen=True)
class Case:
    """A teacher and a student, and the losses that are timed between them, by what the benchmark calls them."""

    sample: SampleSpec
    teacher: Plugin
    student: Plugin
    losses: dict[str, Plugin]


IMAGES = Case(
    SampleSpec((1, 28, 28)),
    Plugin("resnet8"),
    Plugin("cnn"),
    {
        **{name: Plugin(name) for name in ("reverse_kl", "jensen_shannon", "mse", "dkd", "standardised", "relational")},
        "fitnets": Plugin("fitnets", {"layers": {"5": "5"}}),
        "attention_transfer": Plugin("attention_transfer", {"layers": {"5": "5"}}),
        "relational_layers": Plugin("relational", {"layers": {"8": "7"}}),
    },
)
SERIES = Case(
    SampleSpec((3, 64)),
    Plugin("transformer", {"depth": 4, "width": 64}),
    Plugin("transformer", {"depth": 2, "width": 32}),
    {"transformer_layers": Plugin("transformer_layers")},
)


def losses(repeats: int) -> dict[str, float]:
    """By loss: its step over one with KL, between the same networks, and the kilobytes of its features, if it has any.

    Images go from resnet8 to cnn, series from a transformer to one of half the depth and width. A step is that of
    ``fedkd distill``: losses between layers ask the teacher about every batch, while its logits are known before.
    """
    found: dict[str, float] = {}
    for case in (IMAGES, SERIES):
        sides = {name: _steps(case, spec) for name, spec in {"kl": Plugin("kl"), **case.losses}.items()}
        seconds = medians(sides, repeats, warm_up=3)
        for name, spec in case.losses.items():
            found[f"loss_ratio_{name}"] = seconds[name] / seconds["kl"]
            loss = build_loss(spec.name, **spec.options)
            if loss.needs_network:
                found[f"loss_kilobytes_{name}"] = extra_bytes(loss, *_networks(case), case.sample.made_up(BATCH)) / 1e3
    return found


def extra_bytes(loss: DistillationLoss, student: nn.Module, teacher: NetworkTeacher, inputs: Tensor) -> int:
    """What a loss keeps of a batch: the teacher's features and the projected ones; of projections their weights, too.

    Weights count three times, with their gradients and momenta. The student's own features are kept for its own
    gradients anyway.
    """
    pairs, total = loss.pairs(student, teacher.model), 0
    with torch.no_grad(), tapped(student, set(pairs)) as own:
        student(inputs)
    its = teacher.answers(inputs, set(pairs.values())).features
    for name, other in pairs.items():
        total += its[other].nbytes
        projection = loss.projection(own[name].shape, its[other].shape)
        if projection is not None:
            total += projection(own[name]).nbytes + 3 * sum(each.nbytes for each in projection.parameters())
    return total


def _networks(case: Case) -> tuple[nn.Module, NetworkTeacher]:
    made = [
        build_model(spec, case.sample, CLASSES, torch_generator(0, purpose="benchmark"))
        for spec in (case.student, case.teacher)
    ]
    return made[0], NetworkTeacher(made[1], case.sample)


def _steps(case: Case, loss: Plugin) -> Callable[[], object]:
    student, network = _networks(case)
    options: dict[str, Any] = {"steps": STEPS, "batch_size": BATCH, "learning_rate": 1e-4}
    config = replace(DistillationConfig(**options), loss=(loss,))
    distiller = Distiller(
        student,
        build_balancer(config.balancer.name),
        config,
        temperature=build_temperature("constant"),
        seed=0,
        network=network,
    )
    inputs = case.sample.made_up(SAMPLES)
    labels = torch.full((SAMPLES,), -1)
    labels[:LABELLED] = torch.arange(LABELLED) % CLASSES
    teacher = network.on(inputs)
    return lambda: distiller.distil(teacher, inputs, labels, round=1)
