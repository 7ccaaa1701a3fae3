"""What the simulator measures after a round, for its user alone: no algorithm sees any of it."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fedkd.aggregation.report_buffer import joined
from fedkd.aggregation.strategy import LogitAggregator
from fedkd.core.messages import UNKNOWN_LABEL, ClientReport, Measurement
from fedkd.distillation.diagnosis import ValidationReport, validate_student
from fedkd.experiment import Experiment
from fedkd.models import accuracy, hit_rate, predict
from fedkd.server.setup import teacher_of
from fedkd.server.target_cache import Targets


def accuracy_on_test(experiment: Experiment, model: nn.Module) -> float:
    """A model's share of right answers on the test samples."""
    data = experiment.resident
    return accuracy(model, data.test_inputs, data.test_labels)


def asks_for_tests(experiment: Experiment, student: nn.Module | None) -> bool:
    """Whether clients are measured on the test samples in the last round, beside ``student``.

    Where the server has none, or where that is asked for: by a control that is compared with them or made of their
    answers, or by ``clients.measure_test``.
    """
    config = experiment.config
    compared = {"teacher_only", "local_only"} & set(config.controls)
    return student is None or bool(compared) or config.clients.measure_test


def validation_of(
    experiment: Experiment, student: nn.Module, targets: Targets, taught_at: float | None
) -> ValidationReport | None:
    """Student and teacher on the server's validation samples; None where no target is on one.

    ``taught_at`` is the temperature of the student's last step (None: it was not distilled).
    """
    public = experiment.resident.public
    mask = public.validation[targets.positions]
    held_out = targets.positions[mask]
    if held_out.numel() == 0:
        return None
    logits = predict(student, public.inputs[held_out])
    told = public.told[held_out]
    return validate_student(logits, targets.teacher.log_probabilities[mask], told, taught_at=taught_at)


def teacher_accuracy(experiment: Experiment, targets: Targets) -> float | None:
    """The targets' share of right classes where the server does not know the class and the simulator does."""
    public, known = experiment.data.public, targets.positions
    hidden = (public.labels[known] == UNKNOWN_LABEL) & (public.truth[known] != UNKNOWN_LABEL)
    if not bool(hidden.any()):
        return None
    return hit_rate(targets.teacher.log_probabilities[hidden], public.truth[known][hidden])


def reports_on_test(reports: Sequence[ClientReport], measured: Mapping[int, Measurement]) -> dict[int, ClientReport]:
    """The valid clients' logits on the test samples, where they measured them."""
    found = {}
    for report in reports:
        own = measured.get(report.client, Measurement())
        if own.test_logits is not None:
            found[report.client] = replace(
                report,
                logits=_tensor(own.test_logits),
                mask=None if own.test_mask is None else _tensor(own.test_mask),
            )
    return found


def features_on_test(measured: Mapping[int, Measurement]) -> dict[int, Float[Tensor, "tests dims"]]:
    """The clients' embeddings of the test samples, where they measured them."""
    return {client: _tensor(own.test_features) for client, own in measured.items() if own.test_features is not None}


def _tensor(array: npt.NDArray[Any]) -> Tensor:
    # What came through a message cannot be written to.
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def teacher_accuracy_on_test(
    experiment: Experiment,
    strategy: LogitAggregator,
    reports: Sequence[ClientReport],
    tests: Mapping[int, ClientReport],
    *,
    labels: Int[Tensor, " asked"],
    round: int,
) -> float | None:
    """The share of test samples that a teacher of the clients in ``tests`` gets right; None where there is none.

    The strategy's state is left alone.
    """
    answered = [report for report in reports if report.client in tests]
    if not answered:
        return None
    targets = teacher_elsewhere(experiment, strategy, answered, tests, labels=labels, round=round)
    return hit_rate(targets, experiment.data.test_labels)


def teacher_elsewhere(
    experiment: Experiment,
    strategy: LogitAggregator,
    reports: Sequence[ClientReport],
    others: Mapping[int, ClientReport],
    *,
    labels: Int[Tensor, " asked"],
    round: int,
) -> Float[Tensor, "others classes"]:
    """What the teacher of these reports says, as log-probabilities, of other samples, which ``others`` are on.

    The strategy gets them behind the public samples, without labels, and its state is left alone.
    """
    longer = [_appended(report, others[report.client]) for report in reports]
    count = longer[0].logits.shape[0] - labels.numel()
    unknown = torch.cat([labels, labels.new_full((count,), UNKNOWN_LABEL)])
    teacher = teacher_of(experiment, copy.deepcopy(strategy), longer, labels=unknown, round=round)
    return teacher.log_probabilities[labels.numel() :]


def _appended(report: ClientReport, more: ClientReport) -> ClientReport:
    """The report with further rows."""
    mask = None
    if report.mask is not None or more.mask is not None:
        mask = torch.cat([_mask(report), _mask(more)])
    return replace(report, logits=joined(report.logits, more.logits), mask=mask)


def _mask(report: ClientReport) -> Tensor:
    return torch.ones(report.logits.shape[0], dtype=torch.bool) if report.mask is None else report.mask
