"""What several dishonest behaviours share."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from fedkd.client.behaviour import AdversaryView
from fedkd.client.rule import Upload

Confidence = Annotated[float, Field(gt=0, le=1e4)]
"""How far the logit of a forged top class is above the others; from about 20 on the probability rounds to 1."""


def one_hot(classes: Int[Tensor, " samples"], count: int, confidence: float) -> Float[Tensor, "samples classes"]:
    """Logits that are ``confidence`` at one class per sample and 0 at the others."""
    return torch.nn.functional.one_hot(classes, count).float() * confidence


def forged(
    upload: Upload, change: Callable[[Float[Tensor, "queries classes"]], Float[Tensor, "queries classes"]]
) -> Upload:
    """The upload with changed logits; raises ``ValueError`` when the client's rule does not send any."""
    if upload.logits is None:
        raise ValueError(
            "clients.attackers.behaviour forges logits, and the clients' rule sends none; "
            "choose label_noise, free_rider, stale or not_a_number, or a rule that answers with logits"
        )
    return replace(upload, logits=change(upload.logits))


def honest_probabilities(view: AdversaryView) -> Float[Tensor, "honest samples classes"]:
    """What the honest clients believe; what the attacker would honestly answer where no honest client takes part."""
    logits = view.honest if len(view.honest) > 0 else view.own.unsqueeze(0)
    return logits.double().softmax(dim=-1)


def class_covariance(mean: Float[Tensor, "samples classes"]) -> Float[Tensor, "classes classes"]:
    """S, how similar the honest clients think two classes: the covariance, over the samples, of their mean's shares."""
    centred = mean - mean.mean(dim=0)
    return centred.T @ centred / len(mean)
