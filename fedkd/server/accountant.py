"""What rounds take of clients' privacy: charged by attempts, and written down before anything is released."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fedkd.client.release import release_of
from fedkd.client.setup import keeps_state
from fedkd.core.messages import Job, Reply
from fedkd.experiment import Experiment
from fedkd.privacy.attempts import Part, name_of
from fedkd.privacy.ledger import PrivacyLedger
from fedkd.privacy.private import Private
from fedkd.privacy.secure_noise import SecureNoise
from fedkd.server.setup import attempt_name, private_part_of

Keep = Callable[[Mapping[str, Any]], None]
"""Writes down the state of a ledger, on disk on return."""


class Accountant:
    """Charges what the part of an experiment with a proof (``private``) releases to ``ledger``, if there is one.

    ``keep`` is called before anything is released that is charged for the first time. A mechanism releases when clients
    answer, so that an attempt is what they are sent and what they started from; a strategy when it draws its noise, and
    its attempt is the reports that are in. Before that, when clients are asked, one attempt is owed.
    """

    def __init__(self, experiment: Experiment, keep: Keep) -> None:
        self.private = private_part_of(experiment)
        self.ledger = PrivacyLedger()
        self._experiment, self._keep = experiment, keep
        self._at_clients = isinstance(experiment.mechanism, Private)
        self._remembered = keeps_state(experiment)
        self._asked: dict[int, str] = {}
        self._accepted: dict[int, str] = {}
        self._told: dict[int, float] = {}

    def ask(self, job: Job, clients: Sequence[int], queries: int) -> None:
        """Charge what asking ``clients`` about ``queries`` samples takes, before they are asked."""
        if not self._at_clients:
            self._charge(job.round, dict.fromkeys(clients), queries)
            return
        if isinstance(self._experiment.mechanism, SecureNoise):
            self.sum(job.round, clients, queries, 1)
            return
        shared = name_of(job.parameters)
        for client in clients:
            # What a client remembers follows from the last of its attempts whose report was accepted.
            before = self._accepted.get(client) if self._remembered else None
            self._asked[client] = attempt_name(
                self._experiment, job.round, client, shared, job.personal.get(client), before
            )
        self._charge(job.round, {client: self._asked[client] for client in clients}, queries)

    def combine(self, round: int, clients: Sequence[int], queries: int, *reports: Part) -> None:
        """Charge what a teacher of these reports takes of all that were asked, before its noise is drawn.

        Whether a client's report is in depends on its data too.
        """
        if self.private is not None and not self._at_clients:
            self._charge(round, dict.fromkeys(clients, attempt_name(self._experiment, round, *reports)), queries)

    def sum(self, round: int, clients: Sequence[int], queries: int, attempt: int) -> None:
        """Charge an attempt at a secure sum, whose noise clients add for its number, counted from 1."""
        if self.private is not None and self._at_clients:
            self._charge(round, dict.fromkeys(clients, f"sum {attempt}"), queries)

    def accept(self, client: int) -> None:
        """Take note that a client's report was good, from whose end the client goes on."""
        if client in self._asked:
            self._accepted[client] = self._asked[client]

    def take(self, reply: Reply) -> None:
        """Take note of the ε that a client says it has spent, by the ledger that it keeps at home."""
        if type(reply.epsilon) is float and 0 <= reply.epsilon < math.inf:
            self._told[reply.client] = reply.epsilon

    @property
    def told(self) -> dict[int, float]:
        """What clients last said of the ε that they have spent, by client, for those that said something."""
        return dict(sorted(self._told.items()))

    def attempts(self, round: int) -> int | None:
        """How many attempts at a round were charged; None where nothing is proved."""
        return None if self.private is None else self.ledger.attempts(round)

    def state_dict(self) -> dict[str, Any]:
        """Everything the next round depends on."""
        return {"ledger": self.ledger.state_dict(), "accepted": dict(self._accepted), "told": self.told}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned; what was charged before stays charged."""
        self.ledger.load_state_dict(state["ledger"])
        self._accepted = dict(state["accepted"])
        self._told = dict(state["told"])

    def _charge(self, round: int, attempts: Mapping[int, str | None], queries: int) -> None:
        if self.private is None:
            return
        for client, attempt in attempts.items():
            event = self.private.dp_event(release_of(self._experiment, client, queries))
            self.ledger.charge(client, round, event, attempt)
        self._keep(self.ledger.state_dict())
