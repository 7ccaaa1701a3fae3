"""What there is of a finished run to look into."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from fedkd.analysis.last_round import LastRound
from fedkd.core.seeding import torch_generator
from fedkd.distillation.heads import main_head
from fedkd.experiment import Experiment
from fedkd.models import predict

STUDENT, ALONE, TEACHER = "student", "without teacher", "teacher"
MOST_TESTS = 10_000
"""Test samples that analyses look at, at most."""


class NotKnown(Exception):  # noqa: N818  # nothing is wrong
    """A run cannot be asked something; the text says why."""


@dataclass(frozen=True)
class Samples:
    """Samples with their true classes."""

    inputs: Shaped[Tensor, "samples ..."]
    labels: Int[Tensor, " samples"]

    def some(self, most: int, generator: torch.Generator) -> "Samples":
        """All of them, or so many drawn without replacement."""
        if len(self.labels) <= most:
            return self
        chosen = torch.randperm(len(self.labels), generator=generator)[:most].sort().values
        return Samples(self.inputs[chosen], self.labels[chosen])


class Subject:
    """The networks of a finished run, what taught them, and samples to ask them about; all on the CPU.

    ``networks`` are, as far as there are any, the ``student``, the same network ``without teacher``, and, where one
    network taught, the ``teacher``; they put out the main task's logits, in evaluation mode. ``temperature`` is that of
    the last distillation step. Test samples are there to be measured on: nothing may be fitted on them.
    """

    def __init__(
        self,
        experiment: Experiment,
        networks: Mapping[str, nn.Module],
        round: Callable[[], LastRound] | None = None,
        *,
        temperature: float = 1.0,
    ) -> None:
        """``round`` does the last round of clients again; it raises ``NotKnown`` where that cannot be done."""
        self.experiment, self.temperature = experiment, temperature
        heads = experiment.data.head_sizes
        self.networks = {name: main_head(network, heads) for name, network in networks.items()}
        self._round = round
        self._answers: list[tuple[str, Tensor, Tensor]] = []

    def generator(self, purpose: str) -> torch.Generator:
        """Random numbers of one purpose."""
        return torch_generator(self.experiment.config.seed, purpose=f"analysis: {purpose}")

    def network(self, name: str) -> nn.Module:
        """One of ``networks``; raises ``NotKnown`` where there is none of that name."""
        if (found := self.networks.get(name)) is None:
            raise NotKnown(_MISSING[name])
        return found

    @cached_property
    def test(self) -> Samples:
        """Test samples, at most ``MOST_TESTS`` of them."""
        data = self.experiment.data
        chosen = torch.arange(len(data.test_labels))
        if len(chosen) > MOST_TESTS:
            draw = self.generator("test samples")
            chosen = torch.randperm(len(chosen), generator=draw)[:MOST_TESTS].sort().values
        return Samples(data.test_inputs[chosen], data.test_labels[chosen])

    @cached_property
    def validation(self) -> Samples:
        """The public samples on which the server validates; raises ``NotKnown`` where there are none."""
        public = self.experiment.data.public
        held_out = public.validation & (public.told >= 0)
        if not bool(held_out.any()):
            raise NotKnown("there are no validation samples; set data.public.validation and data.public.labelled")
        return Samples(public.inputs[held_out], public.told[held_out])

    @cached_property
    def train(self) -> Samples:
        """The labelled public samples that students learn from; raises ``NotKnown`` where there are none."""
        public = self.experiment.data.public
        if public.labelled.numel() == 0:
            raise NotKnown("there are no labelled public samples; raise data.public.labelled")
        return Samples(public.inputs[public.labelled], public.labels[public.labelled])

    @cached_property
    def taught_on(self) -> Shaped[Tensor, "public ..."]:
        """The public samples on which a teacher is heard: all but those for validation; raises ``NotKnown``."""
        public = self.experiment.data.public
        if not bool((~public.validation).any()):
            raise NotKnown("there are no public samples on which a teacher could be heard; raise data.public.size")
        return public.inputs[~public.validation]

    @property
    def clients(self) -> Mapping[int, nn.Module]:
        """The clients' networks after their last training; {} where there are none, or none that can be known."""
        try:
            last = self._last
        except NotKnown:
            return {}
        if last.secret:
            return {}
        heads = self.experiment.data.head_sizes
        return {client: main_head(model.cpu().eval(), heads) for client, model in last.networks.items()}

    @cached_property
    def client_weights(self) -> Mapping[int, float] | None:
        """How much each client counts in the teacher, where the strategy says so."""
        try:
            return self._last.client_weights()
        except NotKnown:
            return None

    def client_answers(self, inputs: Shaped[Tensor, "samples ..."]) -> Float[Tensor, "clients samples classes"]:
        """The logits that each client would have released of samples; raises ``NotKnown`` where nobody sees them."""
        if self._round is None:
            raise NotKnown("one network taught, and there are no clients")
        last = self._last
        if last.secret:
            raise NotKnown("a secure sum hides each client's answers")
        if not last.answers_samples:
            raise NotKnown("these clients send no logits")
        return self._kept("clients", inputs, last.answers)

    def teacher(self, inputs: Shaped[Tensor, "samples ..."]) -> Float[Tensor, "samples classes"]:
        """What taught the student says of samples, as log-probabilities; noise that is part of it is drawn anew."""
        if (network := self.networks.get(TEACHER)) is not None:
            return self._kept("teacher", inputs, lambda inputs: predict(network, inputs).log_softmax(dim=-1))
        if self._round is None:
            raise NotKnown("this run has no teacher")
        last = self._last
        if not last.teaches:
            raise NotKnown("this algorithm makes no teacher of the clients' answers")
        return self._kept("teacher", inputs, last.teacher)

    @cached_property
    def _last(self) -> LastRound:
        if self._round is None:
            raise NotKnown("this run has no clients")
        return self._round()

    def _kept(self, who: str, inputs: Tensor, ask: Callable[[Tensor], Tensor]) -> Tensor:
        """Answers about the same samples are worked out once; a few of the last are kept."""
        for name, asked, answers in self._answers:
            if name == who and asked is inputs:
                return answers
        self._answers = [*self._answers[-3:], (who, inputs, ask(inputs).float())]
        return self._answers[-1][2]


_MISSING = {
    STUDENT: "the algorithm has no student on the server",
    ALONE: "the run kept no student without a teacher; add public_only to controls, with labelled public samples",
    TEACHER: "no single network taught",
}
