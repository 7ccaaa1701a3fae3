"""What travels between server and clients: what is sent down, how it is written, and what it costs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from pydantic import NonNegativeInt, TypeAdapter
from torch import Tensor

from fedkd.client.rule import ClientRule
from fedkd.core.array_specs import ArraySpec
from fedkd.core.coding.history import CodeHistory
from fedkd.core.coding.types import Decoded
from fedkd.core.messages import (
    ASKED,
    CONSENSUS,
    FEATURE_VALUES,
    LABEL_COUNTS,
    LABELS,
    LOGITS,
    PARAMETERS,
    Arrays,
    ClientReport,
    Consensus,
    Job,
    Traffic,
    parameter_prefix,
    traffic_of,
)
from fedkd.experiment import Experiment
from fedkd.server.student_rule import StudentRule, sent_by

SEED_BYTES = 8
"""What telling a client the seed of a round's public subset costs."""

ACCEPTED_BYTES = 8
"""What telling a client which of its reports differences start from costs."""


_ROUNDS, _CLIENTS = TypeAdapter(dict[NonNegativeInt, NonNegativeInt]), TypeAdapter(list[NonNegativeInt])


class Exchange:
    """The server's end of all exchanges with clients.

    Remembers, per client, the last round whose report was accepted and the codes it then sent, so that messages can be
    coded as differences: the client is told that round, and takes its differences from what it had sent then, if it
    still knows. A report that was lost therefore costs bytes, and nothing else.
    """

    def __init__(self, experiment: Experiment, client_rule: ClientRule) -> None:
        self._experiment = experiment
        self._rule = client_rule
        self._up = experiment.uplink
        self._down = experiment.downlink
        self._samples = experiment.data.public.labels.numel()
        self._accepted: dict[int, int] = {}
        self._received: dict[int, CodeHistory] = {}
        self._sent = CodeHistory(self._samples)
        self._sent_to: frozenset[int] = frozenset()
        self._sending: tuple[CodeHistory, frozenset[int]] | None = None

    def outgoing(
        self,
        round: int,
        clients: tuple[int, ...],
        rule: StudentRule,
        consensus: Consensus | None,
        asked: Bool[Tensor, " chosen"],
    ) -> tuple[Arrays, dict[int, Arrays]]:
        """What all clients are sent in a round, and what single ones are sent besides."""
        receives = self._rule.receives
        shared = {name: array for name, array in sent_by(rule).items() if name.partition("/")[0] in receives}
        personal: dict[int, Arrays] = {
            client: {name: array for name, array in sent_by(rule, client).items() if name.partition("/")[0] in receives}
            for client in clients
        }
        if not bool(asked.all()):
            shared[ASKED] = np.packbits(asked.numpy())
        if LABELS in receives:
            labels = self._experiment.data.public.labels.numpy().astype(np.int16)
            for client in clients:
                if client not in self._accepted:
                    personal[client][LABELS] = labels
        if CONSENSUS in receives and consensus is not None:
            self._send_consensus(round, clients, consensus, shared, personal)
        return shared, {client: arrays for client, arrays in personal.items() if arrays}

    def accepted(self, clients: tuple[int, ...]) -> dict[int, int]:
        """The last round of which a client's report was accepted, for those of whom there is one."""
        return {client: self._accepted[client] for client in clients if client in self._accepted}

    def arrays(self, job: Job, client: int, examples: int, asked: int) -> dict[str, ArraySpec]:
        """What the arrays are that a client answers a job with which claims so many private samples.

        It was asked about so many public samples.
        """
        classes = self._experiment.data.classes
        specs = dict(self._rule.arrays(self._experiment, client, examples))
        if self._rule.sends == LOGITS:
            specs[LOGITS] = ArraySpec("uint8", (self._up.most_bytes(asked, classes),), shorter=True)
        if LABEL_COUNTS in job.wants:
            specs[LABEL_COUNTS] = ArraySpec("int32", (classes,), 0, examples, total=examples)
        return specs

    def measured(self, job: Job, client: int) -> dict[str, ArraySpec]:
        """What the arrays are that a simulated client may have measured for a job, by the names of ``Measurement``."""
        if not job.probe:
            return {}
        tests = self._experiment.data.test_labels.numel()
        specs = {
            "test_logits": ArraySpec("float32", (tests, self._experiment.data.classes), optional=True),
            "test_mask": ArraySpec("bool", (tests,), optional=True),
        }
        sent = self._rule.arrays(self._experiment, client, 0)
        if FEATURE_VALUES in sent:
            width = sent[FEATURE_VALUES].shape[1]
            specs["test_features"] = ArraySpec("float32", (tests, width), optional=True)
        return specs

    def decode(self, client: int, data: bytes, asked: Int[Tensor, " asked"]) -> Decoded:
        """The logits in a client's message; raises ``ValueError`` when it is malformed."""
        previous = self._received[client].previous(asked) if self._up.delta and client in self._received else None
        return self._up.decode(data, samples=asked.numel(), classes=self._experiment.data.classes, previous=previous)

    @property
    def keeps_codes(self) -> bool:
        """Whether ``accept`` needs the codes of reports."""
        return self._up.delta

    def delivered(self) -> None:
        """Take note that a round's messages are out: those of the next are differences to them."""
        if self._sending is not None:
            self._sent, self._sent_to = self._sending
            self._sending = None

    def accept(self, report: ClientReport, asked: Int[Tensor, " asked"]) -> None:
        """Take note that a client's report arrived and was good."""
        self._accepted[report.client] = report.round
        if self._up.delta and report.codes is not None:
            self._received[report.client] = self._sent.of(asked, report.codes, report.mask)

    def sent_down(self, job: Job, client: int) -> Traffic:
        """What a client was sent: of the parameters, only those of its own architecture."""
        own = parameter_prefix(self._experiment.architecture_of(client))
        shared = {
            name: array
            for name, array in job.parameters.items()
            if not name.startswith(f"{PARAMETERS}/") or name.startswith(own)
        }
        numbers = SEED_BYTES if self._rule.sends == LOGITS else 0
        numbers += ACCEPTED_BYTES if self._up.delta or self._down.delta else 0
        return Traffic(other=numbers) + traffic_of({**shared, **job.personal.get(client, {})})

    def state_dict(self) -> dict[str, Any]:
        """Everything the next round depends on."""
        return {
            "accepted": dict(self._accepted),
            "received": {client: history.state_dict() for client, history in self._received.items()},
            "sent": self._sent.state_dict(),
            "sent_to": sorted(self._sent_to),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned; raises ``ValueError`` for anything else."""
        self._accepted = _ROUNDS.validate_python(state["accepted"], strict=True)
        self._received = {}
        for client, history in state["received"].items():
            self._received[client] = CodeHistory(self._samples)
            self._received[client].load_state_dict(history)
        self._sent.load_state_dict(state["sent"])
        self._sent_to = frozenset(_CLIENTS.validate_python(state["sent_to"], strict=True))

    def _send_consensus(
        self,
        round: int,
        clients: tuple[int, ...],
        consensus: Consensus,
        shared: Arrays,
        personal: dict[int, Arrays],
    ) -> None:
        """To clients that have the last consensus the differences to it; to the others all of it."""
        previous = self._sent.previous(consensus.positions) if self._down.delta else None
        encoded = self._down.encode(consensus.log_probabilities, consensus.mask, previous)
        shared[CONSENSUS] = np.frombuffer(encoded.data, dtype=np.uint8)
        for client in clients:
            if client in consensus.personal:
                own = self._down.encode(consensus.personal[client], consensus.mask)
                personal[client][CONSENSUS] = np.frombuffer(own.data, dtype=np.uint8)
        if not self._down.delta:
            return
        in_step = {client for client in self._sent_to if self._accepted.get(client, 0) == round - 1}
        late = [client for client in clients if client not in in_step and client not in consensus.personal]
        if previous is not None and late:
            whole = self._down.encode(consensus.log_probabilities, consensus.mask)
            for client in late:
                personal[client][CONSENSUS] = np.frombuffer(whole.data, dtype=np.uint8)
        common = frozenset(client for client in clients if client not in consensus.personal)
        self._sending = self._sent.of(consensus.positions, encoded.codes, consensus.mask), common
