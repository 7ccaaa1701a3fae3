"""Every client keeps a model of its own."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fedkd import ClientContext, ClientRule, Upload
from fedkd.client.context import MODEL
from fedkd.client.training import SampleLoss
from fedkd.core.messages import CONSENSUS, LABELS, UNKNOWN_LABEL
from fedkd.distillation.divergence import divergences

Positive = Annotated[float, Field(gt=0)]
Natural = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class OwnModel(ClientRule):
    """Digests the last consensus, trains on its private data, and answers on the public samples; keeps its model.

    The model is of the client's own architecture and never leaves it: only answers travel (FedMD, Li and Wang 2019,
    arXiv 1910.03581; DS-FL, Itahara et al., arXiv 2008.06180). Digesting is training on the public samples with a
    target: ``digest_epochs`` passes by ``digest_loss``, which is the divergence from the target (kl, at
    ``temperature``) or, as FedMD has it, the mean absolute difference of the logits (l1, here of the log-probabilities,
    since a consensus says nothing about what is added to all logits). Before its first round a client may train for
    ``pretrain_epochs`` on the labelled public samples. Rates are ``clients.learning_rate`` where not given.
    """

    digest_loss: Literal["kl", "l1"] = "kl"
    digest_epochs: Natural = 1
    temperature: Positive = 1.0
    digest_learning_rate: Positive | None = None
    pretrain_epochs: Natural = 0

    remembers: ClassVar[bool] = True
    only_trains: ClassVar[bool] = True

    @property
    def receives(self) -> frozenset[str]:
        return frozenset({CONSENSUS, LABELS} if self.pretrain_epochs else {CONSENSUS})

    def respond(self, context: ClientContext) -> Upload:
        model = context.own_model()
        if not any(name.startswith(MODEL) for name in context.memory):
            self._pretrain(context, model)
        self._digest(context, model)
        context.train(model)
        context.keep(model)
        return Upload(logits=context.answer(model), model=model)

    def _pretrain(self, context: ClientContext, model: nn.Module) -> None:
        if LABELS not in context.received:
            return
        labels = torch.from_numpy(context.received[LABELS]).long()
        known = labels != UNKNOWN_LABEL
        context.trainer(
            model,
            context.experiment.resident.public.inputs[known],
            labels[known],
            context.experiment.config.clients,
            epochs=self.pretrain_epochs,
            generator=context.generator("training on public labels"),
        )

    def _digest(self, context: ClientContext, model: nn.Module) -> None:
        consensus, config = context.consensus, context.experiment.config.clients
        if consensus is None or self.digest_epochs == 0:
            return
        targets = consensus.log_probabilities[consensus.mask]
        if targets.shape[0] == 0:
            return

        context.trainer(
            model,
            context.experiment.resident.public.inputs[consensus.positions[consensus.mask]],
            torch.arange(targets.shape[0]),
            replace(config, proximal=0.0, learning_rate=self.digest_learning_rate or config.learning_rate),
            epochs=self.digest_epochs,
            generator=context.generator("digesting"),
            loss=SampleLoss(_Apart(self.digest_loss, self.temperature), (targets,)),
        )


@dataclass(frozen=True)
class _Apart:
    """How far from their targets, which are rows of a table, answers are; equal for clients that measure it alike."""

    kind: Literal["kl", "l1"]
    temperature: float

    def __call__(self, logits: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
        if self.kind == "l1":
            return nn.functional.l1_loss(logits.log_softmax(dim=-1), targets[rows], reduction="none")
        return divergences(logits, targets[rows], self.temperature)
