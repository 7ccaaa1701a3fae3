"""Prototypes: mean embeddings per label."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from fedkd import ClientContext, ClientRule, Upload
from fedkd.client.label_means import label_mean_specs, label_means
from fedkd.core.array_specs import ArraySpec
from fedkd.core.messages import MEANS, SIZES
from fedkd.experiment import Experiment
from fedkd.models import embed, embeddings


@dataclass(frozen=True)
class Prototypes(ClientRule):
    """FedProto (Tan et al. 2022, arXiv 2105.00243, Algorithm 1).

    A client sends the mean embedding of its private samples of each label, a prototype; the server averages them. In
    the next round it trains with cross-entropy plus ``weight`` times the mean squared distance of a sample's embedding
    from the global prototype of its label. The embedding is the input of the last linear layer, so architectures may
    differ as long as that is of one width. Prototypes disclose which labels a client has, and how many samples of each.
    """

    weight: Annotated[float, Field(ge=0)] = 1.0

    sends: ClassVar[str] = "label_means"
    remembers: ClassVar[bool] = True
    own_loss: ClassVar[bool] = True

    @property
    def receives(self) -> frozenset[str]:
        return frozenset({"label_means"})

    def arrays(self, experiment: Experiment, client: int, examples: int) -> Mapping[str, ArraySpec]:
        width = experiment.embedding_width(experiment.architecture_of(client))
        return label_mean_specs(experiment.data.classes, width, examples)

    def respond(self, context: ClientContext) -> Upload:
        model = context.own_model()
        targets = known = None
        if MEANS in context.received:
            targets = torch.from_numpy(context.received[MEANS].copy())
            known = torch.from_numpy(context.received[SIZES] > 0).float()

        def loss(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
            seen, logits = embed(model, inputs)
            loss = nn.functional.cross_entropy(logits, labels)
            if targets is None or known is None:
                return loss
            apart = (seen - targets.to(inputs.device)[labels]).square().mean(dim=-1)
            return loss + self.weight * (known.to(inputs.device)[labels] * apart).mean()

        context.train(model, loss)
        context.keep(model)
        seen, _ = embeddings(model, context.inputs)
        return Upload(arrays=label_means(seen, context.labels, context.experiment.data.classes), model=model)
