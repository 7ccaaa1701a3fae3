"""The clients of a finished run as they were in its last round, and the teacher that they made."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from fedkd.aggregation.types import ReportSum
from fedkd.client.behaviour import ClientBehaviour
from fedkd.client.context import ClientContext
from fedkd.client.measurement import answer_again
from fedkd.client.release import release
from fedkd.client.round import train_and_answer
from fedkd.client.rule import ClientRule, Upload
from fedkd.client.secure_terms import summing_strategy
from fedkd.client.setup import behaviour_of, client_rule
from fedkd.core.compute import fixed_threads
from fedkd.core.messages import LOGITS, UNKNOWN_LABEL, ClientReport, Job, Reply
from fedkd.core.wording import cut
from fedkd.experiment import Experiment
from fedkd.privacy.private import Private
from fedkd.server.colluding_attackers import collude
from fedkd.server.evaluation import teacher_elsewhere
from fedkd.server.server import Server
from fedkd.server.setup import strategy_generator, strategy_noise, teacher_of

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class _Client:
    """One client after its part of the round, which can be asked about other samples."""

    context: ClientContext
    upload: Upload
    rule: ClientRule
    behaviour: ClientBehaviour

    def answer(self, inputs: Shaped[Tensor, "samples ..."]) -> Upload:
        return answer_again(self.context, self.upload, self.rule, self.behaviour, inputs)


class LastRound:
    """The last round, done again as it was: what clients trained, what they say of any samples, what is made of it.

    Clients that fail take no part. ``reports`` are on the public samples that clients were asked about; there are none
    where a secure sum hides them. What is asked of clients here, nobody sees but the simulator's user.
    """

    def __init__(self, experiment: Experiment, server: Server, progress: Progress) -> None:
        """``server`` is as it was before the round; raises ``ValueError`` where no client takes part."""
        if experiment.config.data.at_home:
            raise ValueError("the clients' private data are at home, where their part of the last round was done")
        self.experiment, self._server, self.round = experiment, server, experiment.config.rounds
        self.secret = experiment.config.privacy.secure_aggregation is not None
        job = server.job(self.round)
        clients: dict[int, _Client] = {}
        replies: list[Reply] = []
        sampled = experiment.sampled(self.round)
        for done, client in enumerate(sampled, start=1):
            with fixed_threads(experiment.resources_of(client).threads):
                reply = _attempted(experiment, job, client, clients, secret=self.secret)
            replies += [] if reply is None else [reply]
            progress("clients of the last round", done, len(sampled))
        self.reports: list[ClientReport] = [] if self.secret else server.collect(job, replies).reports
        taking_part = set(clients) if self.secret else {report.client for report in self.reports}
        self._clients = {client: clients[client] for client in sorted(taking_part)}
        if not self._clients:
            reason = next((reply.error for reply in replies if reply.error is not None), "no valid report")
            raise ValueError(f"no client's part of the last round could be done again ({cut(reason)})")

    @property
    def networks(self) -> Mapping[int, nn.Module]:
        """The clients' models after their training, by client, where they have some."""
        return {client: found.upload.model for client, found in self._clients.items() if found.upload.model is not None}

    @property
    def answers_samples(self) -> bool:
        """Whether clients send logits, and can be asked about samples."""
        return client_rule(self.experiment).sends == LOGITS

    @property
    def teaches(self) -> bool:
        """Whether a strategy makes a teacher of the clients' logits."""
        return self._server.rule.strategy is not None

    def answers(self, inputs: Shaped[Tensor, "samples ..."]) -> Float[Tensor, "clients samples classes"]:
        """What each client would have released of these samples; attackers answer as they do."""
        _, others = self._elsewhere(inputs)
        return torch.stack([others[client].logits for client in sorted(others)])

    def client_weights(self) -> Mapping[int, float] | None:
        """The clients' weights in the teacher of the public samples; None where the strategy names none."""
        strategy = self._server.rule.strategy
        if strategy is None or self.secret:
            return None
        labels = self.experiment.data.public.labels[self._server.asked(self.round)]
        reports, _ = collude(self.experiment, self.round, self.reports, {})
        made = teacher_of(self.experiment, copy.deepcopy(strategy), reports, labels=labels, round=self.round)
        if made.client_weight is None:
            return None
        return {report.client: float(weight) for report, weight in zip(reports, made.client_weight, strict=True)}

    def teacher(self, inputs: Shaped[Tensor, "samples ..."]) -> Float[Tensor, "samples classes"]:
        """What the teacher says of samples, as log-probabilities; they stand beside the public ones, without labels."""
        strategy = self._server.rule.strategy
        if strategy is None:
            raise ValueError("this algorithm makes no teacher of logits")
        if self.secret:
            return self._of_sum(inputs)
        reports, others = self._elsewhere(inputs)
        labels = self.experiment.data.public.labels[self._server.asked(self.round)]
        return teacher_elsewhere(self.experiment, strategy, reports, others, labels=labels, round=self.round)

    def _elsewhere(self, inputs: Shaped[Tensor, "samples ..."]) -> tuple[list[ClientReport], dict[int, ClientReport]]:
        others = {}
        for report in self.reports:
            again = self._clients[report.client].answer(inputs)
            if again.logits is None:
                raise ValueError("these clients send no logits")
            others[report.client] = replace(report, logits=again.logits, mask=again.mask)
        return collude(self.experiment, self.round, self.reports, others)

    def _of_sum(self, inputs: Shaped[Tensor, "samples ..."]) -> Float[Tensor, "samples classes"]:
        """The teacher of what clients would add up in a secure sum, but for the steps of its fixed point."""
        adding = summing_strategy(self.experiment)
        total = torch.zeros(len(inputs), self.experiment.data.classes, dtype=torch.float64)
        for client in self._clients.values():
            logits = client.answer(inputs).logits
            if logits is None:
                raise ValueError("these clients send no logits")
            total += adding.summand(logits).double()
        labels = torch.full((len(inputs),), UNKNOWN_LABEL)
        generator = strategy_generator(self.experiment, self.round)
        noise = None
        if isinstance(adding, Private):
            noise = strategy_noise(self.experiment, self.round, tuple(self._clients), total)
        summed = ReportSum(total, len(self._clients), labels, self.round, generator, noise)
        return adding.from_sum(summed).log_probabilities


def _attempted(
    experiment: Experiment, job: Job, client: int, clients: dict[int, _Client], *, secret: bool
) -> Reply | None:
    """A client's release, after its part is noted in ``clients``; None where it fails, as it did in the run."""
    try:
        context, upload, notes = train_and_answer(experiment, job, client)
        clients[client] = _Client(context, upload, client_rule(experiment), behaviour_of(experiment, client))
        return None if secret else release(context, upload, job, notes)
    except Exception as error:
        return Reply(client, error=f"{type(error).__name__}: {error}")
