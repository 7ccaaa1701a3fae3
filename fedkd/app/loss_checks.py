"""Whether the losses of distillation can be computed, and a temperature be chosen, before anything is trained."""

from collections.abc import Iterator

import torch
from torch import Tensor

from fedkd.config.rounding import held_out_count
from fedkd.core import plugins
from fedkd.core.faults import described
from fedkd.core.messages import UNKNOWN_LABEL
from fedkd.distillation.heads import split
from fedkd.distillation.loss import Answers, Batch, DistillationLoss
from fedkd.distillation.loss_sum import LossSum
from fedkd.distillation.network import NetworkTeacher
from fedkd.distillation.temperature import TemperatureSchedule
from fedkd.experiment import Experiment
from fedkd.models import tapped

SAMPLES = 4
"""Of a trial: losses between samples look at three at a time."""


def loss_faults(experiment: Experiment, network: NetworkTeacher | None = None) -> Iterator[str]:
    """What is wrong with the losses between the student and its teacher, one message each; each is tried out once."""
    for index, spec in enumerate(experiment.config.distillation.loss):
        try:
            loss: DistillationLoss = experiment.new(plugins.LOSS, spec)
            _try(experiment, loss, network)
        except ValueError as error:
            yield f"distillation.loss.{index}: {spec.name}: {error}"
        except Exception as error:  # a loss of the user's own raises what it likes
            yield f"distillation.loss.{index}: {spec.name}: cannot be computed: {described(error)}; mend it there"


def choice_faults(experiment: Experiment) -> Iterator[str]:
    """What keeps a temperature from being chosen, where the configuration asks for that."""
    spec, public = experiment.config.distillation.temperature, experiment.config.data.public
    schedule: TemperatureSchedule = experiment.new(plugins.TEMPERATURE, spec)
    if schedule.contenders and public.size > 0 and held_out_count(public) == 0:
        yield (
            f"distillation.temperature: {spec.name} chooses on the server's validation samples, of which there are "
            f"none with data.public.labelled = {public.labelled} and data.public.validation = {public.validation:g}, "
            f"got {spec.name}; raise these, or name a temperature"
        )


def _try(experiment: Experiment, loss: DistillationLoss, network: NetworkTeacher | None) -> None:
    student = experiment.initial_model()
    whole = LossSum([loss], student, network, experiment.config.distillation, torch.Generator().manual_seed(0))
    like = next(student.parameters())
    inputs = experiment.data.spec.made_up(SAMPLES, like)
    student.eval()
    with tapped(student, whole.student_layers) as features:
        logits = student(inputs)
    if network is None:
        made_up = torch.rand(logits.shape, generator=torch.Generator().manual_seed(1)).to(logits)
        teacher = Answers(made_up.log_softmax(dim=-1))
    else:
        teacher = network.answers(inputs, whole.teacher_layers)
    heads = experiment.data.head_sizes
    by_head = [torch.arange(SAMPLES, device=like.device) % part.shape[1] for part in split(logits, heads)]
    labels = torch.stack(by_head, dim=1) if heads else by_head[0]
    labels[-1] = UNKNOWN_LABEL
    batch = Batch(2.0, labels, torch.ones_like(logits[:, 0]), heads)
    found: object = whole(Answers(logits, features), teacher, batch)
    if not isinstance(found, Tensor) or found.ndim > 0 or not bool(found.isfinite()):
        raise ValueError(f"value() must return one finite number as a tensor, got {found}; average over the samples")
