"""The base class of every aggregation strategy."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from fedkd.aggregation.report_buffer import release_pages
from fedkd.aggregation.types import ReportStack, ReportSum, Teacher
from fedkd.core.messages import UNKNOWN_LABEL
from fedkd.core.returned import returned


class LogitAggregator(ABC):
    """Turns the clients' reports on the public set into a teacher.

    A strategy implements ``aggregate``; callers call the instance, which checks what goes in and what comes out.
    ``needs_individual_reports`` is False when a sum over the clients is all that it uses; under secure aggregation it
    then gets that sum through ``aggregate_sum``, of what ``summand`` makes of each client's logits;
    ``needs_labels`` is True when it cannot work without labelled public samples; ``needs_examples`` is True when it
    weights clients by how many private samples they hold, ``needs_label_counts`` when they have to disclose how many of
    each class.
    """

    needs_individual_reports: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = False
    needs_examples: ClassVar[bool] = False
    needs_label_counts: ClassVar[bool] = False

    @property
    def summand_bound(self) -> float:
        """The largest absolute value that ``summand`` gives."""
        return 1.0

    @abstractmethod
    def aggregate(self, stack: ReportStack) -> Teacher:
        """The teacher for ``stack``; may assume a valid stack, and must not change it."""

    def summand(self, logits: Float[Tensor, "samples classes"]) -> Float[Tensor, "samples classes"]:
        """What a client adds to a secure sum, computed by itself: its probabilities, unless a strategy sums others."""
        return logits.softmax(dim=-1)

    def aggregate_sum(self, reports: ReportSum) -> Teacher:
        """The teacher from a sum of summands, equal to ``aggregate`` of the same reports up to rounding.

        Implement it where ``needs_individual_reports`` is False and the summands are bounded.
        """
        raise NotImplementedError(f"{type(self).__name__} makes no teacher of a sum")

    def state_dict(self) -> dict[str, Any]:
        """What has to survive an interruption; empty for a strategy without memory."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned."""

    @final
    def __call__(self, stack: ReportStack) -> Teacher:
        """Aggregate; raises ``ValueError`` for a malformed stack, or for a teacher that is not a distribution."""
        _check_stack(stack)
        if self.needs_labels and not bool((stack.labels != UNKNOWN_LABEL).any()):
            raise ValueError(
                f"{type(self).__name__} needs labelled public samples and got none; raise data.public.labelled"
            )
        if self.needs_label_counts and stack.label_counts is None:
            raise ValueError(f"{type(self).__name__} needs the clients' label counts; give the stack label_counts")
        teacher = returned(self.aggregate(stack), Teacher, self, "aggregate")
        _check_teacher(type(self).__name__, teacher, stack.logits)
        return teacher

    @final
    def from_sum(self, reports: ReportSum) -> Teacher:
        """The teacher from a secure sum; raises ``ValueError`` as a call does, for what goes in and what comes out."""
        if not sums(type(self)):
            raise ValueError(f"{type(self).__name__} makes no teacher of a sum; choose a strategy that does")
        _check_sum(reports)
        teacher = returned(self.aggregate_sum(reports), Teacher, self, "aggregate_sum")
        _check_teacher(type(self).__name__, teacher, reports.total.unsqueeze(0))
        return teacher


def sums(aggregator: type[LogitAggregator]) -> bool:
    """Whether the class makes a teacher of a secure sum."""
    return not aggregator.needs_individual_reports and aggregator.aggregate_sum is not LogitAggregator.aggregate_sum


def _check_sum(reports: ReportSum) -> None:
    if reports.total.ndim != 2 or 0 in reports.total.shape:
        raise ValueError(f"total must be [samples, classes], none of them 0; got {tuple(reports.total.shape)}")
    if reports.count < 1 or not bool(torch.isfinite(reports.total).all()):
        raise ValueError(f"total must be finite and the sum of at least one report, got one of {reports.count}")
    samples, classes = reports.total.shape
    if reports.labels.shape != (samples,):
        raise ValueError(f"labels must be one per sample, [{samples}]; got {tuple(reports.labels.shape)}")
    if bool(((reports.labels < UNKNOWN_LABEL) | (reports.labels >= classes)).any()):
        raise ValueError(f"labels must lie in [−1, {classes - 1}], −1 for unknown")


def _check_stack(stack: ReportStack) -> None:
    if stack.logits.ndim != 3 or 0 in stack.logits.shape:
        raise ValueError(f"logits must be [clients, samples, classes], none of them 0; got {tuple(stack.logits.shape)}")
    clients, samples, classes = stack.logits.shape
    finite = True
    for logits in stack.logits:
        # One at a time, for the check makes copies.
        finite = finite and bool(torch.isfinite(logits).all())
        release_pages(logits)
    if not finite:
        raise ValueError("logits must be finite; drop the reports with NaN or infinity before aggregating")
    if stack.examples.shape != (clients,) or bool((stack.examples < 0).any()):
        raise ValueError(f"examples must be {clients} counts ≥ 0, one per client; got {stack.examples.tolist()}")
    if stack.labels.shape != (samples,):
        raise ValueError(f"labels must be one per sample, [{samples}]; got {tuple(stack.labels.shape)}")
    if bool(((stack.labels < UNKNOWN_LABEL) | (stack.labels >= classes)).any()):
        raise ValueError(f"labels must lie in [−1, {classes - 1}], −1 for unknown")
    if len(stack.clients) != clients or list(stack.clients) != sorted(set(stack.clients)):
        raise ValueError(f"clients must be {clients} distinct ids in rising order; got {stack.clients}")
    counts = stack.label_counts
    if counts is not None and (counts.shape != (clients, classes) or bool((counts < 0).any())):
        raise ValueError(f"label_counts must be counts ≥ 0, [clients, classes] = {(clients, classes)}")
    if stack.mask is not None and stack.mask.shape != (clients, samples):
        raise ValueError(f"mask must be [clients, samples] = {(clients, samples)}; got {tuple(stack.mask.shape)}")


def _check_teacher(name: str, teacher: Teacher, logits: Tensor) -> None:
    """``logits`` are what the teacher was made of, ``[clients, samples, classes]``."""
    _, samples, classes = logits.shape
    target = teacher.log_probabilities
    if target.shape != (samples, classes):
        raise ValueError(f"{name} must return [samples, classes] = {(samples, classes)}; got {tuple(target.shape)}")
    if not bool(torch.isfinite(target).all()):
        raise ValueError(f"{name} returned log-probabilities that are not finite; build it with Teacher.from_...")
    if not torch.allclose(target.exp().sum(dim=-1), torch.ones(samples, dtype=target.dtype), atol=1e-4):
        raise ValueError(f"{name} returned rows that do not sum to one; build it with Teacher.from_...")
    personal = teacher.client_log_probabilities
    if personal is not None and (personal.shape != logits.shape or not bool(torch.isfinite(personal).all())):
        raise ValueError(f"{name} must return finite personal targets of the shape of the logits, or none")
    weight = teacher.sample_weight
    if weight.shape != (samples,) or not bool(torch.isfinite(weight).all()) or bool((weight < 0).any()):
        raise ValueError(f"{name} must return one finite sample weight ≥ 0 per sample, [{samples}]")
