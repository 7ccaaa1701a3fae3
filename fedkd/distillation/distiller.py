"""The student's trainer."""

import copy
from collections.abc import Callable, Mapping
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
from fedkd.distillation.augmentation import NO_SAMPLES, PublicBatch, changer
from fedkd.distillation.balanced_step import BalancedStep, Losses, StepRow, last_layer
from fedkd.distillation.balancer import LambdaBalancer
from fedkd.distillation.by_class import ClassMeter
from fedkd.distillation.divergence import Temperatures, at, column, mean, of_all
from fedkd.distillation.early_stopping import best_student
from fedkd.distillation.heads import all_known, labels_by_head, main_head, main_task, top_classes, unlabelled
from fedkd.distillation.loss import Answers, Batch, build_loss
from fedkd.distillation.loss_sum import LossSum
from fedkd.distillation.network import NetworkTeacher
from fedkd.distillation.scope import Scope
from fedkd.distillation.targets import consensus_target
from fedkd.distillation.temperature import TemperatureSchedule
from fedkd.distillation.temperature_choice import TemperatureChoice, choose
from fedkd.distillation.validation import Validation, annotator
from fedkd.distillation.weight_average import WeightAverage
from fedkd.models import endless_batches, make_optimiser, set_rate, tapped

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DistillationResult:
    """A round of distillation, one row per step, and how its temperature was chosen if it was."""

    rows: tuple[StepRow, ...]
    choice: TemperatureChoice | None = None

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
        """The temperature of the round's last step; the mean over its batch where samples have their own."""
        return self.rows[-1].temperature


class Distiller:
    """Distils teachers into one student, round after round, with one optimiser and one balancer.

    Each step draws a batch of public samples for L_dist and, independently, a batch of labelled ones for L_cls; with
    ``distillation.mixed`` the two together are one batch, of which only a part is labelled, and L_dist is over all of
    it. The learning rate rises linearly over the warm-up steps and falls to 0 at the end of the round, linearly or
    along half a cosine, or stays. The optimiser's momenta go on from round to round unless it is to be a fresh one.
    ``distillation.patience`` ends a round early, with the student as it was best on the validation samples;
    ``distillation.average`` ends it with the mean of the student's weights. ``rounds`` is the length of the whole
    training, which temperature schedules refer to. Of a schedule with contenders one is taken in the first round, when
    each is tried on a copy of the student in the same batches. Where the teacher is one ``network``, it answers on what
    the student sees, changed images and all, and losses may compare the layers of the two. ``scope`` says which classes
    the losses are about, where not all are known yet, and which heads there are: with several, labels are [samples,
    heads], and what is measured, but for the losses, is of the main task.
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
        self._chosen: str | None = None
        self._first_round = 1
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
            last_layer=last_layer(student),
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
        that asks how teacher and student do on them, and to choose a temperature. Without any label, L_cls is the
        cross-entropy to the teacher's top class if pseudo-labels are asked for, else λ is 1. Raises ``ValueError`` when
        no public sample is left, or when a temperature is to be chosen and there is no validation sample.
        """
        config, heads = self._config, self.scope.heads
        usable = torch.ones(labels.shape[0], dtype=torch.bool) if validation is None else ~validation.mask
        public = usable.nonzero().squeeze(1)
        if public.numel() == 0:
            raise ValueError("every public sample is held out and none is left to distil on; raise data.public.size")
        choice = self._choose(teacher, inputs, labels, round, validation, progress)
        schedule = self._temperature.contenders[self._chosen] if self._chosen is not None else self._temperature
        known = self._labels_to_train_on(teacher, labels)
        labelled = (usable & all_known(known)).nonzero().squeeze(1)
        public_batches = endless_batches(public, config.batch_size, self._draw(round, "distillation batches"))
        labelled_batches = endless_batches(labelled, config.labelled_batch_size, self._draw(round, "labelled batches"))
        self._begin_round()
        self._descent.begin_round()
        # One tensor for the whole round: schedules that look at the teacher look once.
        main = main_task(teacher.log_probabilities, heads)
        targets = main[public]
        change = changer(config.augment, self._draw(round, "augmentation"))
        notes = annotator(self.balancer.asks_for, self.main, main, inputs, validation)
        # From here on for batches alone, which are where the student is.
        teacher = replace(
            teacher,
            log_probabilities=to_device(teacher.log_probabilities, self._device),
            sample_weight=to_device(teacher.sample_weight, self._device),
        )
        best = best_student(self.main, inputs, validation, config.patience)
        average = WeightAverage(self.student, config.average)
        main, named = main_task(teacher.log_probabilities, heads), labels_by_head(known, heads)[0]
        meter = ClassMeter(self.main, inputs, main, named, public, loss=self._loss_on)
        rows = []
        self.student.train()
        with ambient_randomness(self._draw(round, "distillation layers")):
            for step in range(config.steps):
                set_rate(self._optimiser, config, step, config.steps)
                temperature = of_all(schedule(self._progress(round, step), targets), public, labels.shape[0])
                batch = PublicBatch(
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
                    temperature=mean(compared[2].temperature),
                    annotate=notes if notes is not None and step % config.validate_every == 0 else None,
                    measure=_is_due(step, config.measure_geometry_every),
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
        return DistillationResult(tuple(rows), choice)

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
        labelled_batches = endless_batches(labelled, size, self._draw(round, "labelled batches"))
        change = changer(self._config.augment, self._draw(round, "augmentation"))
        count = self._config.steps if steps is None else steps
        average = WeightAverage(self.student, self._config.average)
        self._begin_round()
        self.student.train()
        with ambient_randomness(self._draw(round, "distillation layers")):
            for step in range(count):
                set_rate(self._optimiser, self._config, step, count)
                batch = next(labelled_batches)
                loss = self.scope.task(self._answers(change(inputs[batch])).logits, labels[batch].to(self._device))
                self._optimiser.zero_grad()
                loss.backward()
                self._optimiser.step()
                average.update()
                progress(step + 1, count)
        average.settle()

    def state_dict(self) -> dict[str, Any]:
        """Student, optimiser, balancer, what the losses have learned, and the temperature that was chosen."""
        return {
            "student": self.student.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "balancer": self.balancer.state_dict(),
            "loss": self._loss.state_dict(),
            "temperature": self._chosen,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned."""
        self.student.load_state_dict(state["student"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.balancer.load_state_dict(state["balancer"])
        self._loss.load_state_dict(state["loss"])
        self._chosen = state["temperature"]

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
        return min(((round - self._first_round) * self._config.steps + step) / max(total - 1, 1), 1.0)

    def _labels_to_train_on(self, teacher: Teacher, labels: Tensor) -> Tensor:
        if self._pseudo_labels and not bool((labels != UNKNOWN_LABEL).any()):
            return top_classes(teacher.log_probabilities, self.scope.heads)
        return labels

    def _choose(
        self, teacher: Teacher, inputs: Tensor, labels: Tensor, round: int, held_out: Validation | None, show: Progress
    ) -> TemperatureChoice | None:
        """Settle on one of the schedule's contenders, if it has any and this was not done before."""
        if self._chosen is not None or not (contenders := self._temperature.contenders):
            return None

        def taught(schedule: TemperatureSchedule, progress: Progress) -> nn.Module:
            trial = self._trial(schedule, round)
            trial.distil(teacher, inputs, labels, round=round, validation=held_out, progress=progress)
            return trial.main

        main = main_task(teacher.log_probabilities, self.scope.heads)
        choice = choose(contenders, taught, main, inputs, held_out, show)
        self._chosen = choice.chosen
        return choice

    def _trial(self, schedule: TemperatureSchedule, round: int) -> "Distiller":
        """A copy that tries a schedule in a round, in which this goes through all its values."""
        trial = copy.deepcopy(self, {id(self._network): self._network})
        trial._temperature, trial._first_round, trial._rounds = schedule, round, 1
        steps = self._temperature.trial_steps or self._config.steps
        trial._config = replace(
            self._config, steps=steps, measure_every=0, measure_classes_every=0, measure_geometry_every=0
        )
        return trial

    def _losses(
        self, teacher: Teacher, known: Tensor, batch: PublicBatch, temperature: Temperatures
    ) -> tuple[Losses, tuple[Answers, Answers, Batch]]:
        """Both losses of a step, and what L_dist compares."""
        both = torch.cat([batch.chosen, batch.labelled]) if self._config.mixed else batch.chosen
        seen = torch.cat([batch.inputs, batch.labelled_inputs]) if self._config.mixed else batch.inputs
        student, heat = self._answers(seen), at(temperature, both)
        compared = (
            student,
            self._taught(teacher, known, both, seen, heat),
            Batch(heat, known[both].to(self._device), teacher.sample_weight[both], self.scope.heads),
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

    def _taught(
        self, teacher: Teacher, known: Tensor, samples: Tensor, seen: Tensor, temperature: Temperatures
    ) -> Answers:
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
        return replace(taught, logits=target * column(temperature))

    def _loss_on(self, samples: Tensor, inputs: Tensor, target: Tensor, temperature: Temperatures) -> Tensor:
        """L_dist on some samples, of which each counts the same."""
        network, layers = self._network, self._loss.teacher_layers
        taught = Answers(target)
        if network is not None and (layers or self.scope.heads):
            taught = network.answers(inputs, layers)
        unknown = unlabelled(samples, self.scope.heads).to(self._device)
        return self._loss(self._answers(inputs), taught, Batch(temperature, unknown, heads=self.scope.heads))

    def _remeasure(
        self, teacher: Teacher, known: Tensor, batch: PublicBatch, temperature: Temperatures
    ) -> Callable[[], tuple[float, float]]:
        def again() -> tuple[float, float]:
            with torch.no_grad():
                losses, _ = self._losses(teacher, known, batch, temperature)
            return losses.dist.item(), 0.0 if losses.cls is None else losses.cls.item()

        return again

    def _begin_round(self) -> None:
        if self._config.fresh_optimiser:
            self._optimiser.forget()

    def _answers(self, inputs: Tensor) -> Answers:
        with tapped(self.student, self._loss.student_layers) as features:
            logits: Tensor = self.student(laid_out_for(self.student, to_device(inputs, self._device)))
        return Answers(logits, features)


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
