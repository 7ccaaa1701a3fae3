"""The student's trainer."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fedkd.balancing import LambdaBalancer
from fedkd.config import DistillationConfig
from fedkd.distillation.losses import classification_loss, distillation_loss
from fedkd.distillation.step import StepRow, balanced_step
from fedkd.local.training import batches, make_optimiser
from fedkd.seeding import ambient_randomness, torch_generator
from fedkd.types import UNKNOWN_LABEL, Teacher


@dataclass(frozen=True)
class DistillationResult:
    """A round of distillation, one row per step."""

    rows: tuple[StepRow, ...]

    @property
    def mean_lambda(self) -> float:
        return sum(row.weight for row in self.rows) / len(self.rows)

    @property
    def loss_dist(self) -> float:
        """Mean distillation loss over the round's steps."""
        return sum(row.loss_dist for row in self.rows) / len(self.rows)

    @property
    def loss_cls(self) -> float:
        """Mean task loss over the round's steps; 0 without labels."""
        return sum(row.loss_cls for row in self.rows) / len(self.rows)


class Distiller:
    """Distils teachers into one student, round after round, with one optimiser and one balancer.

    Each step draws a batch of public samples for L_dist and, independently, a batch of labelled ones for L_cls. The
    learning rate falls linearly to 0 within a round.
    """

    def __init__(
        self,
        student: nn.Module,
        balancer: LambdaBalancer,
        config: DistillationConfig,
        *,
        seed: int,
        pseudo_labels: bool = False,
    ) -> None:
        self.student = student
        self.balancer = balancer
        self._config = config
        self._seed = seed
        self._pseudo_labels = pseudo_labels
        self._parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
        self._optimiser = make_optimiser(self._parameters, config)

    def distil(
        self,
        teacher: Teacher,
        images: Float[Tensor, "samples channels height width"],
        labels: Int[Tensor, " samples"],
        *,
        round: int,
        held_out: Tensor | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> DistillationResult:
        """Train the student in place on one round's teacher.

        ``labels`` are −1 where unknown; samples in the boolean ``held_out`` are used for neither loss. Without any
        label, L_cls is the cross-entropy to the teacher's top class if pseudo-labels are asked for, else λ is 1.
        """
        usable = torch.ones(labels.shape[0], dtype=torch.bool) if held_out is None else ~held_out
        if bool((labels != UNKNOWN_LABEL).any()):
            known = labels
        elif self._pseudo_labels:
            known = teacher.log_probabilities.argmax(dim=-1)
        else:
            known = labels
        public = usable.nonzero().squeeze(1)
        if public.numel() == 0:
            raise ValueError(
                "every public sample is held out, so there is nothing to distil on; raise data.public.size"
            )
        labelled = (usable & (known != UNKNOWN_LABEL)).nonzero().squeeze(1)
        draw = torch_generator(self._seed, round=round, purpose="distillation batches")
        draw_labelled = torch_generator(self._seed, round=round, purpose="labelled batches")
        public_batches = _endless(public, self._config.batch_size, draw)
        labelled_batches = _endless(labelled, self._config.labelled_batch_size, draw_labelled)
        device = self._parameters[0].device
        rows = []
        self.student.train()
        with ambient_randomness(torch_generator(self._seed, round=round, purpose="distillation layers")):
            for step in range(self._config.steps):
                self._set_rate(step)
                batch = next(public_batches)
                loss_dist = distillation_loss(
                    self._logits(images, batch),
                    teacher.log_probabilities[batch].to(device),
                    self._config.temperature,
                    teacher.sample_weight[batch].to(device),
                )
                loss_cls = None
                if labelled.numel() > 0:
                    batch = next(labelled_batches)
                    loss_cls = classification_loss(self._logits(images, batch), known[batch].to(device))
                rows.append(
                    balanced_step(
                        loss_dist,
                        loss_cls,
                        self._parameters,
                        self._optimiser,
                        self.balancer,
                        round=round,
                        step=step,
                        steps=self._config.steps,
                    )
                )
                progress(step + 1, self._config.steps)
        return DistillationResult(tuple(rows))

    def fit_labels(
        self,
        images: Float[Tensor, "samples channels height width"],
        labels: Int[Tensor, " samples"],
        *,
        round: int,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """A round without a teacher: as many steps, on the labelled samples (label not −1) alone."""
        labelled = (labels != UNKNOWN_LABEL).nonzero().squeeze(1)
        if labelled.numel() == 0:
            raise ValueError("fit_labels needs labelled samples and got none; raise data.public.labelled")
        draw = torch_generator(self._seed, round=round, purpose="labelled batches")
        labelled_batches = _endless(labelled, self._config.labelled_batch_size, draw)
        device = self._parameters[0].device
        self.student.train()
        with ambient_randomness(torch_generator(self._seed, round=round, purpose="distillation layers")):
            for step in range(self._config.steps):
                self._set_rate(step)
                batch = next(labelled_batches)
                loss = classification_loss(self._logits(images, batch), labels[batch].to(device))
                self._optimiser.zero_grad()
                loss.backward()
                self._optimiser.step()
                progress(step + 1, self._config.steps)

    def state_dict(self) -> dict[str, Any]:
        """Student, optimiser and balancer."""
        return {
            "student": self.student.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "balancer": self.balancer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned."""
        self.student.load_state_dict(state["student"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.balancer.load_state_dict(state["balancer"])

    def _set_rate(self, step: int) -> None:
        rate = self._config.learning_rate * (1.0 - step / self._config.steps)
        for group in self._optimiser.param_groups:
            group["lr"] = rate

    def _logits(self, images: Tensor, batch: Tensor) -> Tensor:
        inputs = images[batch].to(self._parameters[0].device).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.student(inputs)
        return logits


def _endless(samples: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Shuffled passes over ``samples``, one after the other, in batches of ``size`` or of all if there are fewer."""
    while True:
        for batch in batches(samples, size, generator):
            if batch.numel() == min(size, samples.numel()):
                yield batch
