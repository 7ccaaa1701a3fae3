"""One client's work in one round."""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from fedkd.client.former_self import remembering
from fedkd.client.training import Loss, SampleLoss, Trainer, adjusted_cross_entropy, cross_entropy, train
from fedkd.core.messages import Arrays, Consensus, parameter_prefix
from fedkd.core.seeding import torch_generator
from fedkd.experiment import Experiment
from fedkd.models import batch_norm_entries, predict
from fedkd.privacy.mechanism import NoisyTraining
from fedkd.privacy.noise import seeded_noise, system_noise

MODEL, BATCH_NORM = "model/", "batch_norm/"
"""Where a client's own model, and its own part of the server's, is among what it remembers."""


@dataclass
class ClientContext:
    """What a client has and knows in a round, and what it can do with it.

    ``received`` is what the server sent, by name; ``consensus`` the last targets on public samples, where the rule
    receives them; ``queries`` the inputs the client is asked about; ``memory`` what it keeps between rounds: tensors by
    name, which the rule may change; ``labels`` those of its training samples, for it to train on. ``trainer`` is what
    the client trains models with, called like ``fedkd.client.training.train``: on a GPU it may train those of many
    clients at once. Inputs are on the experiment's device, everything else on the CPU. ``stream`` names a repetition
    that is to draw other random numbers. ``attempt`` names what the release follows from (``fedkd.privacy.attempts``);
    with ``system_noise`` noise comes from the operating system, whatever the configuration says. ``answered`` is a
    model whose logits on the queries are known already, with these.
    """

    experiment: Experiment
    client: int
    round: int
    received: Arrays
    queries: Shaped[Tensor, "queries ..."]
    labels: Int[Tensor, " train"]
    consensus: Consensus | None = None
    memory: dict[str, Tensor] = field(default_factory=dict)
    trainer: Trainer = train
    stream: str = ""
    attempt: str = ""
    system_noise: bool = False
    answered: tuple[nn.Module, Float[Tensor, "queries classes"]] | None = None

    @property
    def inputs(self) -> Shaped[Tensor, "train ..."]:
        """The client's private training inputs."""
        return self.experiment.resident.inputs[self.experiment.data.clients[self.client].train]

    def received_model(self) -> nn.Module:
        """A model with the parameters the server sent for the client's architecture.

        With ``clients.keep_batch_norm`` but for what the client kept of it when it last trained.
        """
        architecture = self.experiment.architecture_of(self.client)
        prefix = parameter_prefix(architecture)
        state = {name.removeprefix(prefix): value for name, value in self.received.items() if name.startswith(prefix)}
        if not state:
            raise ValueError(f"the server sent no parameters of model {architecture}; the student rule offers none")
        model = self.experiment.model(state, architecture)
        model.load_state_dict(self._remembered(BATCH_NORM), strict=False)
        return model

    def own_model(self) -> nn.Module:
        """The client's own model as ``keep`` left it; the initial one of its architecture before that."""
        model = self.experiment.initial_model(self.experiment.architecture_of(self.client))
        if state := self._remembered(MODEL):
            model.load_state_dict(state)
        return model

    def keep(self, model: nn.Module) -> None:
        """Remember ``model`` as the client's own, for the next round in which it takes part."""
        self.memory |= {MODEL + name: value.detach().cpu() for name, value in model.state_dict().items()}

    def _remembered(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in self.memory.items() if name.startswith(prefix)}

    def train(self, model: nn.Module, loss: Loss | None = None) -> nn.Module:
        """``model`` after this round's local epochs on the client's private training samples.

        By cross-entropy, adjusted as ``clients.logit_adjustment`` says, unless a rule brings a loss of its own; by
        DP-SGD where the privacy mechanism rests on it. With ``clients.self_distillation`` it learns from ``model`` as
        it is at the call, too; raises ``ValueError`` for a rule with a loss of its own then.
        """
        clients, labels = self.experiment.config.clients, self.labels
        if clients.self_distillation > 0:
            if loss is not None:
                raise ValueError(
                    "clients.self_distillation adds to the clients' cross-entropy, and this client rule trains by a "
                    "loss of its own; set clients.self_distillation=0, or choose another rule"
                )
            loss, labels = self._remembering(model), torch.arange(labels.numel())
        generator, private = self.generator("local training"), self.experiment.mechanism.training
        self.trainer(
            model,
            self.inputs,
            labels,
            clients,
            epochs=clients.epochs,
            generator=generator,
            loss=self._cross_entropy() if loss is None else loss,
            private=None
            if private is None
            else NoisyTraining(private, self.noise("private training"), clients.max_examples),
        )
        kept, state = batch_norm_entries(model, clients.keep_batch_norm), model.state_dict()
        self.memory |= {BATCH_NORM + name: state[name].detach().cpu().clone() for name in kept}
        return model

    def _cross_entropy(self) -> SampleLoss:
        adjustment = self.experiment.config.clients.logit_adjustment
        if adjustment > 0:
            return adjusted_cross_entropy(self.labels, self.experiment.data.classes, adjustment)
        return cross_entropy

    def _remembering(self, model: nn.Module) -> SampleLoss:
        """What clients train by, and the answers of ``model`` as it is now besides."""
        clients = self.experiment.config.clients
        return remembering(
            self._cross_entropy(),
            self.labels,
            predict(model, self.inputs),
            weight=clients.self_distillation,
            temperature=clients.self_temperature,
            others=clients.self_classes == "others",
            room=max(each.train.numel() for each in self.experiment.data.clients),
        )

    def answer(self, model: nn.Module) -> Float[Tensor, "queries classes"]:
        """The model's logits on the queries."""
        if self.answered is not None and self.answered[0] is model:
            return self.answered[1]
        return predict(model, self.queries)

    def noise(self, purpose: str) -> np.random.Generator:
        """Where the noise of privacy comes from, for one purpose in this attempt at the round."""
        config = self.experiment.config
        if self.system_noise or config.privacy.entropy == "system":
            return system_noise()
        named = purpose + self.stream
        return seeded_noise(config.seed, round=self.round, client=self.client, purpose=named, attempt=self.attempt)

    def generator(self, purpose: str) -> torch.Generator:
        """This client's own randomness for one purpose in this round; none of it hides anything."""
        seed, named = self.experiment.config.seed, purpose + self.stream
        return torch_generator(seed, round=self.round, client=self.client, purpose=named)
