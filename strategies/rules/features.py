"""A server's model that looks at the clients' features."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from fedkd import StudentRule
from fedkd.client.training import train
from fedkd.config.values import Plugin
from fedkd.core.errors import RunError
from fedkd.core.messages import FEATURE_LABELS, FEATURE_LOGITS, FEATURE_VALUES, Arrays, ClientReport
from fedkd.core.samples import SampleSpec
from fedkd.core.seeding import torch_generator
from fedkd.distillation.divergence import distillation_loss
from fedkd.experiment import Experiment
from fedkd.models import Widths, build_model, hit_rate, predict
from fedkd.server.student_rule import RoundReports, ServerUpdate


@dataclass
class Features(StudentRule):
    """The server's part of FedGKT (He et al. 2020, arXiv 2007.14513, Algorithm 1).

    A multilayer perceptron with ``hidden`` layers on the clients' embeddings, trained by cross-entropy plus T²·KL from
    the clients' answers for ``epochs`` passes a round, with the optimiser of ``clients``; its logits go back to the
    clients, each its own samples'. ``student.model`` is not used. The student's accuracy is the mean, over clients, of
    that of the server's model on the client's embeddings of the test samples, measured in the last round.
    """

    hidden: Widths = (200, 200)
    epochs: Annotated[int, Field(ge=1)] = 1
    temperature: Annotated[float, Field(gt=0)] = 3.0

    needs: ClassVar[str] = "features"
    offers: ClassVar[frozenset[str]] = frozenset({"server_logits"})
    teaches: ClassVar[bool] = False
    needs_examples: ClassVar[bool] = True

    _experiment: Experiment = field(init=False, repr=False)
    _head: nn.Module | None = field(init=False, repr=False, default=None)
    _answers: dict[int, Arrays] = field(init=False, repr=False, default_factory=dict)

    def begin(self, experiment: Experiment) -> None:
        self._experiment = experiment

    def personal(self, client: int) -> Arrays:
        return self._answers.get(client, {})

    def fault(self, report: ClientReport) -> str | None:
        return None if report.examples else f"{FEATURE_VALUES} must hold a sample at least, the server learns from them"

    def update(self, received: RoundReports) -> ServerUpdate:
        widths = {report.arrays[FEATURE_VALUES].shape[1] for report in received.reports} | self._width
        if len(widths) > 1:
            raise RunError(
                f"{FEATURE_VALUES}: all clients must send as many values per sample, got {sorted(widths)}; "
                "give their models one width"
            )
        features, logits, labels = (
            torch.from_numpy(np.concatenate([report.arrays[name] for report in received.reports]))
            for name in (FEATURE_VALUES, FEATURE_LOGITS, FEATURE_LABELS)
        )
        head = self._build(features.shape[1]) if self._head is None else self._head
        self._train(head, features, logits, labels.long(), received.round)
        self._head = head
        for report in received.reports:
            own = torch.from_numpy(report.arrays[FEATURE_VALUES])
            self._answers[report.client] = {"server_logits": self._predict(head, own).numpy()}
        return ServerUpdate(student_accuracy=self._accuracy(head, received))

    def state_dict(self) -> dict[str, Any]:
        head, width = self._head, next(iter(self._width), None)
        return {"head": None if head is None else head.state_dict(), "width": width, "answers": dict(self._answers)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._answers = dict(state["answers"])
        if state["head"] is not None:
            self._head = self._build(state["width"])
            self._head.load_state_dict(state["head"])

    @property
    def _width(self) -> set[int]:
        return set() if self._head is None else {next(self._head.parameters()).shape[1]}

    def _build(self, width: int) -> nn.Module:
        spec = Plugin("mlp", {"hidden": list(self.hidden)})
        generator = torch_generator(self._experiment.config.seed, purpose="student initialisation")
        return build_model(spec, SampleSpec((width, 1, 1)), self._experiment.data.classes, generator)

    def _train(self, head: nn.Module, features: Tensor, logits: Tensor, labels: Tensor, round: int) -> None:
        config = self._experiment.config
        targets = logits.log_softmax(dim=-1)

        def loss(head: nn.Module, inputs: Tensor, rows: Tensor) -> Tensor:
            found = head(inputs)
            apart = distillation_loss(found, targets[rows], self.temperature)
            return nn.functional.cross_entropy(found, labels[rows]) + apart

        train(
            head,
            features[:, :, None, None],
            torch.arange(labels.numel()),
            config.clients,
            epochs=self.epochs,
            generator=torch_generator(config.seed, round=round, purpose="training on features"),
            loss=loss,
        )

    def _predict(self, head: nn.Module, features: Tensor) -> Tensor:
        return predict(head, features[:, :, None, None])

    def _accuracy(self, head: nn.Module, received: RoundReports) -> float | None:
        found = [
            hit_rate(self._predict(head, received.test_features[report.client]), self._experiment.data.test_labels)
            for report in received.reports
            if report.client in received.test_features
        ]
        return float(np.mean(found)) if found else None
