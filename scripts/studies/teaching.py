"""What studies of one round share: a student that learns from a teacher that is given."""

from torch import nn

from fedkd.aggregation.types import Teacher
from fedkd.distillation.distiller import DistillationResult
from fedkd.distillation.validation import Validation
from fedkd.experiment import Experiment
from fedkd.server.setup import new_distiller


def distilled(experiment: Experiment, teacher: Teacher) -> tuple[nn.Module, DistillationResult]:
    """A new student after one round of distillation as the experiment says, and what was measured meanwhile."""
    public = experiment.data.public
    distiller = new_distiller(experiment, experiment.initial_model())
    held_out = Validation(public.validation, public.told[public.validation])
    result = distiller.distil(teacher, public.inputs, public.labels, round=1, validation=held_out)
    return distiller.student, result
