"""A client that takes and does not give."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fedkd import ClientBehaviour, ClientContext, ClientRule, Upload
from fedkd.core.messages import ASKED


@dataclass(frozen=True)
class FreeRider(ClientBehaviour):
    """Keeps to its rule but for the training on its own data, which it leaves out.

    Free-riding (Lin et al. 2019, arXiv 1911.12560, on parameters). ``answer``: ``start`` sends what the starting model
    says, or its parameters, as they are; ``consensus`` sends the consensus it was sent, log p̄(x), where that covers the
    query, and otherwise the same as ``start``: in the first round, and under rules that receive no consensus.
    """

    answer: Literal["start", "consensus"] = "start"

    def respond(self, context: ClientContext, rule: ClientRule) -> Upload:
        config = context.experiment.config
        idle = replace(config, clients=replace(config.clients, epochs=0))
        upload = rule.respond(replace(context, experiment=replace(context.experiment, config=idle)))
        if self.answer == "start" or upload.logits is None or context.consensus is None:
            return upload
        return replace(upload, logits=with_consensus(upload.logits, context))


def with_consensus(
    logits: Float[Tensor, "queries classes"], context: ClientContext
) -> Float[Tensor, "queries classes"]:
    """``logits`` with the consensus in their place, where there is one on a query."""
    config, consensus = context.experiment.config, context.consensus
    if consensus is None:
        return logits
    asked = context.experiment.data.public.subset(config.data.public.round_size, config.seed, context.round)
    if (marks := context.received.get(ASKED)) is not None:
        # Of the round's samples the server asks for some only; their positions are what the bits say.
        asked = asked[torch.from_numpy(np.unpackbits(marks, count=asked.numel()).astype(bool))]
    places = {int(position): index for index, position in enumerate(asked)}
    answers = logits.clone()
    for position, target, known in zip(consensus.positions, consensus.log_probabilities, consensus.mask, strict=True):
        if bool(known) and int(position) in places:
            answers[places[int(position)]] = target
    return answers
