"""Features of private samples instead of logits on public ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from fedkd import ClientContext, ClientRule, Upload
from fedkd.core.array_specs import ArraySpec
from fedkd.core.messages import FEATURE_LABELS, FEATURE_LOGITS, FEATURE_VALUES, LOGIT_BOUND
from fedkd.distillation.divergence import distillation_loss
from fedkd.experiment import Experiment
from fedkd.models import embeddings


@dataclass(frozen=True)
class Features(ClientRule):
    """The client's part of FedGKT (He et al. 2020, arXiv 2007.14513, Algorithm 1).

    A client keeps a small model of its own; it sends, for every private training sample, the embedding (the input of
    the last linear layer), the logits and the label, and gets back the logits of the server's model, which looks at the
    embeddings. It trains by cross-entropy plus ``weight`` times T²·KL from the server's answers at ``temperature`` T.
    No public data; but labels and a representation of every private sample leave the client, so it protects little.
    """

    weight: Annotated[float, Field(ge=0)] = 1.0
    temperature: Annotated[float, Field(gt=0)] = 3.0

    sends: ClassVar[str] = "features"
    remembers: ClassVar[bool] = True
    own_loss: ClassVar[bool] = True

    @property
    def receives(self) -> frozenset[str]:
        return frozenset({"server_logits"})

    def arrays(self, experiment: Experiment, client: int, examples: int) -> Mapping[str, ArraySpec]:
        classes = experiment.data.classes
        width = experiment.embedding_width(experiment.architecture_of(client))
        return {
            FEATURE_VALUES: ArraySpec("float32", (examples, width), -LOGIT_BOUND, LOGIT_BOUND),
            FEATURE_LOGITS: ArraySpec("float32", (examples, classes), -LOGIT_BOUND, LOGIT_BOUND),
            FEATURE_LABELS: ArraySpec("int16", (examples,), 0, classes - 1),
        }

    def respond(self, context: ClientContext) -> Upload:
        model = context.own_model()
        answers = context.received.get("server_logits")
        targets = None if answers is None else torch.from_numpy(answers.copy()).log_softmax(dim=-1)
        labels, config = context.labels, context.experiment.config.clients

        def loss(model: nn.Module, inputs: Tensor, rows: Tensor) -> Tensor:
            logits = model(inputs)
            loss = nn.functional.cross_entropy(logits, labels.to(rows.device)[rows])
            if targets is None:
                return loss
            return loss + self.weight * distillation_loss(logits, targets.to(rows.device)[rows], self.temperature)

        everything = torch.arange(labels.numel())
        generator = context.generator("local training")
        context.trainer(model, context.inputs, everything, config, epochs=config.epochs, generator=generator, loss=loss)
        context.keep(model)
        seen, logits = embeddings(model, context.inputs)
        arrays = {
            FEATURE_VALUES: seen.numpy(),
            FEATURE_LOGITS: logits.numpy(),
            FEATURE_LABELS: labels.numpy().astype(np.int16),
        }
        return Upload(arrays=arrays, model=model)

    def respond_again(self, context: ClientContext, upload: Upload) -> Upload:
        seen = {} if upload.model is None else {FEATURE_VALUES: embeddings(upload.model, context.queries)[0].numpy()}
        return Upload(arrays=seen, model=upload.model)
