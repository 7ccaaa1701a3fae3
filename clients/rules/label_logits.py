"""Mean logits per label instead of logits on public samples."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from fedkd import ClientContext, ClientRule, Upload
from fedkd.client.label_means import label_mean_specs, label_means, others_means
from fedkd.core.array_specs import ArraySpec
from fedkd.core.messages import INCLUDED, MEANS, SIZES
from fedkd.experiment import Experiment
from fedkd.models import predict


@dataclass(frozen=True)
class LabelLogits(ClientRule):
    """Federated distillation without public data (Jeong et al. 2018, arXiv 1811.11479, Algorithm 1).

    A client sends its model's mean logits over its private samples of each label. In the next round it trains with
    cross-entropy plus ``weight`` times the divergence of its answer to a sample from the softmax of the other clients'
    mean logits for the sample's label. The means are taken after local training (the paper: during it). They disclose
    which labels the client has, how many samples of each, and one average answer per label.
    """

    weight: Annotated[float, Field(ge=0)] = 1.0

    sends: ClassVar[str] = "label_means"
    remembers: ClassVar[bool] = True
    own_loss: ClassVar[bool] = True

    @property
    def receives(self) -> frozenset[str]:
        return frozenset({"label_means", INCLUDED})

    def arrays(self, experiment: Experiment, client: int, examples: int) -> Mapping[str, ArraySpec]:
        return label_mean_specs(experiment.data.classes, experiment.data.classes, examples)

    def respond(self, context: ClientContext) -> Upload:
        model = context.own_model()
        targets, known = torch.zeros(0), torch.zeros(0)
        if MEANS in context.received:
            mine = INCLUDED in context.received and MEANS in context.memory
            own = {name: context.memory[name].numpy() for name in (MEANS, SIZES)} if mine else None
            targets, known = others_means(context.received, own)

        def loss(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
            logits = model(inputs)
            loss = nn.functional.cross_entropy(logits, labels)
            if known.numel() == 0:
                return loss
            target = targets.to(inputs.device)[labels].softmax(dim=-1)
            apart = nn.functional.kl_div(logits.log_softmax(dim=-1), target, reduction="none").sum(dim=-1)
            return loss + self.weight * (known.to(inputs.device)[labels] * apart).mean()

        context.train(model, loss)
        context.keep(model)
        arrays = label_means(predict(model, context.inputs), context.labels, context.experiment.data.classes)
        context.memory |= {name: torch.from_numpy(array) for name, array in arrays.items()}
        return Upload(arrays=arrays, model=model)
