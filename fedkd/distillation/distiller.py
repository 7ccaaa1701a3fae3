"""The student's trainer."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn

from fedkd.aggregation.types import Teacher
from fedkd.config.schema import DistillationConfig
from fedkd.core.compute import laid_out_for, to_device
from fedkd.core.messages import UNKNOWN_LABEL
from fedkd.core.seeding import ambient_randomness, torch_generator
from fedkd.distillation.augmentation import augment
from fedkd.distillation.balanced_step import BalancedStep, Losses, StepRow
from fedkd.distillation.balancer import LambdaBalancer
from fedkd.distillation.by_class import ClassMeter
from fedkd.distillation.early_stopping import BestStudent
from fedkd.distillation.heads import all_known, labels_by_head, main_head, main_task, top_classes, unlabelled
from fedkd.distillation.loss import Answers, Batch, build_loss
from fedkd.distillation.loss_sum import LossSum
from fedkd.distillation.network import NetworkTeacher
from fedkd.distillation.scope import Scope
from fedkd.distillation.targets import consensus_target
from fedkd.distillation.temperature import TemperatureSchedule
from fedkd.distillation.validation import Validation, annotator
from fedkd.distillation.weight_average import WeightAverage
from fedkd.models import batches, make_optimiser, tapped

Progress = Callable[[int, int], None]
Change = Callable[[Tensor], Tensor]
NO_SAMPLES = torch.empty(0, dtype=torch.long)
_FALL: Mapping[str, Callable[[float], float]] = {
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    "constant": lambda done: 1.0,
}
"""From the share of a round's steps that is done to the share of the learning rate that is left."""


class _Batch:
    """The public samples of one step, and its labelled ones: where they are, and their inputs, changed or not."""

    def __init__(self, chosen: Tensor, labelled: Tensor, inputs: Tensor, change: Change) -> None:
        self.chosen, self.labelled = chosen, labelled
        self.inputs = change(inputs[chosen])
        self.labelled_inputs = change(inputs[labelled]) if labelled.numel() > 0 else inputs[labelled]


@dataclass(frozen=True)
class DistillationResult:
    """A round of distillation, one row per step."""

    rows: tuple[StepRow, ...]

    @property
    def mean_lambda(self) -> float:
        return sum(row.lam for row in self.rows) / len(self.rows)

    @property
    def loss_dist(self) -> float:
        """Mean distillation loss over the round's steps."""
        return sum(row.loss_dist for row in self.rows) / len(self.rows)

    @property
    def loss_cls(self) -> float:
        """Mean task loss over the round's steps; 0 without labels."""
        return sum(row.loss_cls for row in self.rows) / len(self.rows)

    @property
    def temperature(self) -> float:
        """The temperature of the round's last step."""
        return self.rows[-1].temperature


class Distiller:
    """Distils teachers into one student, round after round, with one optimiser and one balancer.

    Each step draws a batch of public samples for L_dist and, independently, a batch of labelled ones for L_cls; with
    ``distillation.mixed`` the two together are one batch, of which only a part is labelled, and L_dist is over all of
    it. The learning rate rises linearly over the warm-up steps and falls to 0 at the end of the round, linearly or
    along half a cosine, or stays. The optimiser's momenta go on from round to round unless it is to be a fresh one.
    ``distillation.patience`` ends a round early, with the student as it was best on the validation samples;
    ``distillation.average`` ends it with the mean of the student's weights. ``rounds`` is the length of the whole
    training, which temperature schedules refer to. Where the teacher is one ``network``, it answers on what the student
    sees, changed images and all, and losses may compare the layers of the two. ``scope`` says which classes the losses
    are about, where not all are known yet, and which heads there are: with several, labels are [samples, heads], and
    what is measured, but for the losses, is of the main task.
    """

    def __init__(
        self,
        student: nn.Module,
        balancer: LambdaBalancer,
        config: DistillationConfig,
        *,
        temperature: TemperatureSchedule,
        seed: int,
        rounds: int = 1,
        pseudo_labels: bool = False,
        network: NetworkTeacher | None = None,
    ) -> None:
        self.student = student
        self.balancer = balancer
        self._config = config
        self._temperature = temperature
        self._seed = seed
        self._rounds = rounds
        self._pseudo_labels = pseudo_labels
        self._network = network
        self.scope = Scope()
        self._loss = LossSum(
            [build_loss(each.name, **each.options) for each in config.loss],
            student,
            network,
            config,
            torch_generator(seed, purpose="projections between layers"),
        )
        self._parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
        self._optimiser = make_optimiser(self._parameters, config)
        self._descent = BalancedStep(
            self._parameters,
            self._optimiser,
            balancer,
            mode=config.geometry.mode,
            every=config.geometry.every,
            clip_norm=config.clip_norm,
            last_layer=_last_layer(student),
        )

    def distil(
        self,
        teacher: Teacher,
        inputs: Shaped[Tensor, "samples ..."],
        labels: Int[Tensor, "samples *heads"],
        *,
        round: int,
        validation: Validation | None = None,
        progress: Progress = lambda done, total: None,
    ) -> DistillationResult:
        """Train the student in place on one round's teacher.

        ``labels`` are −1 where unknown; the samples of ``validation`` are used for neither loss, only to tell a policy
        that asks how teacher and student do on them. Without any label, L_cls is the cross-entropy to the teacher's top
        class if pseudo-labels are asked for, else λ is 1. Raises ``ValueError`` when no public sample is left.
        """
        config, heads = self._config, self.scope.heads
        usable = torch.ones(labels.shape[0], dtype=torch.bool) if validation is None else ~validation.mask
        public = usable.nonzero().squeeze(1)
        if public.numel() == 0:
            raise ValueError("every public sample is held out and none is left to distil on; raise data.public.size")
        known = self._labels_to_train_on(teacher, labels)
        labelled = (usable & all_known(known)).nonzero().squeeze(1)
        public_batches = _endless(public, config.batch_size, self._draw(round, "distillation batches"))
        labelled_batches = _endless(labelled, config.labelled_batch_size, self._draw(round, "labelled batches"))
        self._begin_round()
        self._descent.begin_round()
        # One tensor for the whole round: schedules that look at the teacher look once.
        main = main_task(teacher.log_probabilities, heads)
        targets = main[public]
        change = self._augmentation(round)
        notes = annotator(self.balancer.asks_for, self.main, main, inputs, validation)
        # From here on for batches alone, which are where the student is.
        teacher = replace(
            teacher,
            log_probabilities=to_device(teacher.log_probabilities, self._device),
            sample_weight=to_device(teacher.sample_weight, self._device),
        )
        best = _best_student(self.main, inputs, validation, config.patience)
        average = WeightAverage(self.student, config.average)
        main, named = main_task(teacher.log_probabilities, heads), labels_by_head(known, heads)[0]
        meter = ClassMeter(self.main, inputs, main, named, public, loss=self._loss_on)
        rows = []
        self.student.train()
        with ambient_randomness(self._draw(round, "distillation layers")):
            for step in range(config.steps):
                self._set_rate(step, config.steps)
                temperature = self._temperature(self._progress(round, step), targets)
                batch = _Batch(
                    next(public_batches), next(labelled_batches) if labelled.numel() > 0 else NO_SAMPLES, inputs, change
                )
                by_class = meter.measure(temperature) if _is_due(step, config.measure_classes_every) else None
                losses, compared = self._losses(teacher, known, batch, temperature)
                measured = _is_due(step, config.measure_every)
                row = self._descent.step(
                    losses,
                    round=round,
                    step=step,
                    steps=config.steps,
                    temperature=temperature,
                    annotate=notes if notes is not None and step % config.validate_every == 0 else None,
                    again=self._remeasure(teacher, known, batch, temperature) if measured else None,
                )
                self._loss.learn(*compared, row.learning_rate)
                if by_class is not None:
                    row = replace(row, cos_by_class=by_class.cosine, gap_by_class=by_class.gap)
                rows.append(row)
                average.update()
                progress(step + 1, config.steps)
                due = (step + 1) % config.validate_every == 0 or step + 1 == config.steps
                if best is not None and due and best.given_up(step + 1):
                    break
        average.settle()
        if best is not None:
            best.restore()
        return DistillationResult(tuple(rows))

    def fit_labels(
        self,
        inputs: Shaped[Tensor, "samples ..."],
        labels: Int[Tensor, "samples *heads"],
        *,
        round: int,
        steps: int | None = None,
        batch_size: int | None = None,
        progress: Progress = lambda done, total: None,
    ) -> None:
        """A round without a teacher: as many steps, or ``steps``, on the labelled samples (label not −1) alone.

        In batches of ``distillation.labelled_batch_size``, or ``batch_size``.
        """
        labelled = all_known(labels).nonzero().squeeze(1)
        if labelled.numel() == 0:
            raise ValueError("fit_labels needs labelled samples and got none; raise data.public.labelled")
        size = self._config.labelled_batch_size if batch_size is None else batch_size
        labelled_batches = _endless(labelled, size, self._draw(round, "labelled batches"))
        change = self._augmentation(round)
        count = self._config.steps if steps is None else steps
        average = WeightAverage(self.student, self._config.average)
        self._begin_round()
        self.student.train()
        with ambient_randomness(self._draw(round, "distillation layers")):
            for step in range(count):
                self._set_rate(step, count)
                batch = next(labelled_batches)
                loss = self.scope.task(self._answers(change(inputs[batch])).logits, labels[batch].to(self._device))
                self._optimiser.zero_grad()
                loss.backward()
                self._optimiser.step()
                average.update()
                progress(step + 1, count)
        average.settle()

    def state_dict(self) -> dict[str, Any]:
        """Student, optimiser, balancer, and what the losses have learned."""
        return {
            "student": self.student.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "balancer": self.balancer.state_dict(),
            "loss": self._loss.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned."""
        self.student.load_state_dict(state["student"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.balancer.load_state_dict(state["balancer"])
        self._loss.load_state_dict(state["loss"])

    @property
    def main(self) -> nn.Module:
        """The student, of whose outputs those for the main task alone are seen."""
        return main_head(self.student, self.scope.heads)

    @property
    def _device(self) -> torch.device:
        return self._parameters[0].device

    def _draw(self, round: int, purpose: str) -> torch.Generator:
        return torch_generator(self._seed, round=round, purpose=purpose)

    def _progress(self, round: int, step: int) -> float:
        """How far the whole training is, from 0 at its first step to 1 at its last."""
        total = self._rounds * self._config.steps
        return min(((round - 1) * self._config.steps + step) / max(total - 1, 1), 1.0)

    def _labels_to_train_on(self, teacher: Teacher, labels: Tensor) -> Tensor:
        if self._pseudo_labels and not bool((labels != UNKNOWN_LABEL).any()):
            return top_classes(teacher.log_probabilities, self.scope.heads)
        return labels

    def _augmentation(self, round: int) -> Change:
        draw, changes = self._draw(round, "augmentation"), self._config.augment
        return (lambda inputs: augment(inputs, changes, draw)) if changes else (lambda inputs: inputs)

    def _losses(
        self, teacher: Teacher, known: Tensor, batch: _Batch, temperature: float
    ) -> tuple[Losses, tuple[Answers, Answers, Batch]]:
        """Both losses of a step, and what L_dist compares."""
        both = torch.cat([batch.chosen, batch.labelled]) if self._config.mixed else batch.chosen
        seen = torch.cat([batch.inputs, batch.labelled_inputs]) if self._config.mixed else batch.inputs
        student = self._answers(seen)
        compared = (
            student,
            self._taught(teacher, known, both, seen, temperature),
            Batch(temperature, known[both].to(self._device), teacher.sample_weight[both], self.scope.heads),
        )
        dist, logits = self.scope.dist(self._loss, *compared, both), student.logits
        if batch.labelled.numel() == 0:
            return Losses(dist, None, logits, None), compared
        labels = known[batch.labelled].to(self._device)
        if self._config.mixed:
            task = self.scope.task(logits[batch.chosen.numel() :], labels)
            return Losses(dist, task, logits, logits), compared
        labelled = self._answers(batch.labelled_inputs).logits
        return Losses(dist, self.scope.task(labelled, labels), logits, labelled), compared

    def _taught(self, teacher: Teacher, known: Tensor, samples: Tensor, seen: Tensor, temperature: float) -> Answers:
        """What the teacher says of some samples, which the student has seen so."""
        config, network = self._config, self._network
        taught = Answers(teacher.log_probabilities[samples])
        if network is not None and (config.augment or self._loss.teacher_layers):
            taught = network.answers(seen, self._loss.teacher_layers)
        if config.label_share == 0:
            return taught
        target = consensus_target(
            taught.logits,
            known[samples],
            alpha=config.label_share,
            epsilon=config.label_smoothing,
            temperature=temperature,
            heads=self.scope.heads,
        )
        # A consensus is already soft; the loss softens what it is given once more.
        return replace(taught, logits=target * temperature)

    def _loss_on(self, samples: Tensor, inputs: Tensor, target: Tensor, temperature: float) -> Tensor:
        """L_dist on some samples, of which each counts the same."""
        network, layers = self._network, self._loss.teacher_layers
        taught = Answers(target)
        if network is not None and (layers or self.scope.heads):
            taught = network.answers(inputs, layers)
        unknown = unlabelled(samples, self.scope.heads).to(self._device)
        return self._loss(self._answers(inputs), taught, Batch(temperature, unknown, heads=self.scope.heads))

    def _remeasure(
        self, teacher: Teacher, known: Tensor, batch: _Batch, temperature: float
    ) -> Callable[[], tuple[float, float]]:
        def again() -> tuple[float, float]:
            with torch.no_grad():
                losses, _ = self._losses(teacher, known, batch, temperature)
            return losses.dist.item(), 0.0 if losses.cls is None else losses.cls.item()

        return again

    def _begin_round(self) -> None:
        if self._config.fresh_optimiser:
            self._optimiser.state.clear()

    def _set_rate(self, step: int, steps: int) -> None:
        config = self._config
        rise = min((step + 1) / config.warmup, 1.0) if config.warmup > 0 else 1.0
        fall = _FALL[config.schedule](step / steps)
        for group in self._optimiser.param_groups:
            group["lr"] = config.learning_rate * rise * fall

    def _answers(self, inputs: Tensor) -> Answers:
        with tapped(self.student, self._loss.student_layers) as features:
            logits: Tensor = self.student(laid_out_for(self.student, to_device(inputs, self._device)))
        return Answers(logits, features)


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _best_student(
    student: nn.Module, inputs: Tensor, validation: Validation | None, patience: int | None
) -> BestStudent | None:
    if patience is None or validation is None or validation.empty:
        return None
    return BestStudent(student, inputs[validation.mask], validation.labels, patience)


def _last_layer(student: nn.Module) -> list[nn.Parameter]:
    """The parameters of the last module that has trainable ones of its own."""
    own = [list(module.parameters(recurse=False)) for module in student.modules()]
    trainable = [[parameter for parameter in found if parameter.requires_grad] for found in own]
    return next((found for found in reversed(trainable) if found), [])


def _endless(samples: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Shuffled passes over ``samples``, one after the other, in batches of ``size`` or of all if there are fewer."""
    size = min(size, samples.numel())
    while True:
        for batch in batches(samples, size, generator):
            if batch.numel() >= size:
                yield batch[:size]
