"""A stacked teacher: a log-linear pool whose weights are fitted on the labelled public samples."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fedkd import LogitAggregator, ReportStack, Teacher
from fedkd.aggregation.pooling import Array, Labels, fit, held_out_loss, out_of_fold, pool
from fedkd.aggregation.report_buffer import release_pages
from fedkd.core.messages import UNKNOWN_LABEL

LOG_FLOOR = -16.0
"""Smallest log-probability a client can claim, so that no report can dominate the pool by extreme logits."""

RIDGES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""Strengths tried by cross-validation, strongest first, each fit starting from the one before."""

PART_BYTES = 2**23
"""Beyond this, experts are made and pooled a stretch of samples at a time, so that memory grows with logits alone."""

Form = Literal["client", "class", "full", "mean"]


@dataclass
class Stacked(LogitAggregator):
    """log p(c) ∝ Σ_k w_kc · log p_k(c) + b_c, with w and b fitted by cross-entropy on the labelled public samples.

    Stacked generalisation (Wolpert 1992) over a log-linear opinion pool (Genest & Zidek 1986). The fit is convex:
    mean cross-entropy + ``ridge``·‖w − w₀‖², where w₀ is the plain mean, 1/K. ``ridge`` null chooses it by
    ``folds``-fold cross-validation on the same labelled samples. ``weights``: one per ``client``; one per client and
    ``class`` (the formula above); or ``full``, a matrix per client, log p(c) ∝ Σ_k Σ_e w_kec · log p_k(e) + b_c, which
    also learns what a client's belief in one class says about another; or ``mean``, one per client and one for the mean
    of the clients' probabilities, log p(c) ∝ w·log p̄(c) + Σ_k w_k · log p_k(c) + b_c, where w₀ is p̄ alone. With fewer
    labels than clients × classes, the cross-validation may choose ``mean`` instead of what is asked for.

    With ``cross_fit`` the target of a labelled sample comes from a fit to the other folds, so that a student does not
    learn the labels from the targets, and hand them on to clients whose answers then look better than they are.

    A defence too: whoever lies about the labelled samples gets weights near or below zero, however many lie alike, and
    however unlike one another the honest ones are. A client that knows which samples are labelled, and lies about the
    others only, goes unnoticed.

    Uses individual reports, and the fitted weights disclose which clients know which classes.
    """

    ridge: Annotated[float, Field(gt=0)] | None = None
    weights: Form = "class"
    folds: Annotated[int, Field(ge=2)] = 5
    cross_fit: bool = False

    needs_labels: ClassVar[bool] = True

    def aggregate(self, stack: ReportStack) -> Teacher:
        parts = _parts(stack)
        known = (stack.labels != UNKNOWN_LABEL).numpy()
        labels = stack.labels.numpy()[known]
        whole = _experts(stack, parts[0]) if len(parts) == 1 else None
        fit_on = _experts(stack, torch.from_numpy(known)) if whole is None else whole[:, known]
        form, ridge = (self.weights, self.ridge) if self.ridge is not None else self._cross_validated(fit_on, labels)
        heard = _heard(fit_on, form)
        prior = _unfitted(heard, form)
        weight, bias = fit(heard, labels, prior, ridge)
        strength = np.abs(weight).reshape(len(weight), -1).sum(axis=1)[: len(stack.clients)] + np.finfo(np.float64).tiny
        experts = (_experts(stack, part) if whole is None else whole for part in parts)
        pooled = np.concatenate([pool(_heard(found, form), weight, bias) for found in experts])
        folds = min(self.folds, labels.size)
        if self.cross_fit and folds > 1:
            pooled[known] = out_of_fold(heard, labels, prior, ridge, folds, (weight, bias))
        return Teacher.from_logits(
            torch.from_numpy(pooled).float(),
            client_weight=torch.from_numpy(strength / strength.sum()).float(),
        )

    def _cross_validated(self, experts: Array, labels: Labels) -> tuple[Form, float]:
        """Form and ridge with the lowest held-out cross-entropy; the strongest ridge where none can be held out."""
        clients, _, classes = _heard(experts, self.weights).shape
        forms: list[Form] = [self.weights]
        if labels.size < clients * classes and self.weights != "mean":
            forms.append("mean")
        folds = min(self.folds, labels.size)
        if folds < 2:
            return forms[-1], RIDGES[0]
        found = {}
        for form in forms:
            heard = _heard(experts, form)
            found[form] = held_out_loss(heard, labels, _unfitted(heard, form), folds, RIDGES)
        best = min(forms, key=lambda form: found[form][0])
        return best, found[best][1]


def _parts(stack: ReportStack) -> list[slice]:
    """The samples in stretches on which all experts together take at most ``PART_BYTES``."""
    clients, samples, classes = stack.logits.shape
    size = max(1, PART_BYTES // (8 * (clients + 1) * classes))
    return [slice(start, start + size) for start in range(0, samples, size)]


def _experts(stack: ReportStack, part: slice | Tensor) -> Array:
    """Log-probabilities ``[clients + 1, samples, classes]`` on some samples: the clients', and those of their mean."""
    logits, mask = stack.logits[:, part].contiguous(), None if stack.mask is None else stack.mask[:, part]
    release_pages(stack.logits)
    votes = replace(stack, logits=logits, mask=mask, labels=stack.labels[part]).votes.double().unsqueeze(-1)
    mean = (votes * logits.softmax(dim=-1).double()).sum(dim=0) / votes.sum(dim=0)
    reports = logits.double().log_softmax(dim=-1).clamp_min(LOG_FLOOR) * votes
    experts: Array = torch.cat([reports, mean.clamp_min(math.exp(LOG_FLOOR)).log().unsqueeze(0)]).numpy()
    return experts


def _heard(experts: Array, form: Form) -> Array:
    """The log-probabilities that a form weighs: the clients' and, if it is ``mean``, those of their mean at the end."""
    return experts if form == "mean" else experts[:-1]


def _unfitted(heard: Array, form: Form) -> Array:
    """w₀: ``[experts, 1]``, ``[experts, classes]`` or ``[experts, classes, classes]``, as ``form`` says."""
    experts, _, classes = heard.shape
    if form == "full":
        return np.broadcast_to(np.eye(classes) / experts, (experts, classes, classes)).copy()
    if form == "mean":
        return np.eye(experts)[:, -1:]
    return np.full((experts, classes if form == "class" else 1), 1.0 / experts)
