"""A round whose reports the server only knows the sum of: the protocol's steps as jobs of an engine."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedkd.errors import RunError
from fedkd.local.securing import directory_of, fixed_point_of, job_kind, terms_of
from fedkd.local.workspace import Workspace
from fedkd.records import Failure, SecureDropout, SecureRecord
from fedkd.secure import PHASES, Phase, ProtocolError, SecureServer
from fedkd.secure.messages import PREFIX
from fedkd.secure.server import Answer
from fedkd.types import Arrays, Job, Outcome, Traffic

RunJob = Callable[[Job, Sequence[int]], Iterable[Outcome]]

_WITHOUT_REPORT = PHASES[: PHASES.index("confirm")]
"""A client that drops out at one of these steps is not in the sum; at a later one it is."""


@dataclass(frozen=True)
class SecureResult:
    """The sum ``[samples, classes]`` in float64, whose reports are in it, and what the protocol cost each client."""

    total: Tensor
    survivors: tuple[int, ...]
    record: SecureRecord
    failures: tuple[Failure, ...]
    sent: Mapping[int, Traffic]
    received: Mapping[int, Traffic]


def sum_securely(place: Workspace, job: Job, queries: int, run: RunJob) -> SecureResult:
    """Have the clients sum their answers to a round's ``job``, on ``queries`` public samples.

    ``run`` does a job for some clients. A client that fails at any step, or whose message is refused, drops out; raises
    ``RunError`` when fewer than the threshold are left.
    """
    terms, classes = terms_of(place, job.round), place.data.classes
    fixed_point = fixed_point_of(place.config, queries=queries, classes=classes)
    server = SecureServer(terms, directory_of(place), queries * classes)
    post = _Post(job, run)
    try:
        server.take_keys(post.ask("advertise", server.alive))
        server.take_shares(post.ask("share", server.alive, server.share_request()))
        inboxes = {client: server.mask_request(client) for client in server.alive}
        server.take_masked(post.ask("mask", server.alive, personal=inboxes))
        server.take_confirmations(post.ask("confirm", server.alive, server.confirm_request()))
        server.take_revealed(post.ask("unmask", server.alive, server.unmask_request()))
        total = server.total()
    except ProtocolError as error:
        reasons = "; ".join(f"client {each.client}, {each.phase}: {each.reason}" for each in server.dropouts[:5])
        raise RunError(
            f"round {job.round}: the secure sum failed: {error}{f' ({reasons})' if reasons else ''}; "
            "the rounds before it are kept"
        ) from error
    dropouts = tuple(SecureDropout(each.client, each.phase, each.reason) for each in server.dropouts)
    return SecureResult(
        total=torch.from_numpy(fixed_point.decode(total).reshape(queries, classes)),
        survivors=server.survivors,
        record=SecureRecord(
            threshold=terms.threshold,
            survivors=server.survivors,
            dropouts=dropouts,
            rejected=tuple(SecureDropout(each.client, each.phase, each.reason) for each in server.rejected),
            error_bound=fixed_point.error_of(len(server.survivors)),
        ),
        failures=tuple(
            Failure(each.client, f"secure sum, {each.phase}: {each.reason}")
            for each in sorted(dropouts, key=lambda each: each.client)
            if each.phase in _WITHOUT_REPORT
        ),
        sent=post.sent,
        received=post.received,
    )


class _Post:
    """Carries requests to clients and answers back, and weighs them."""

    def __init__(self, job: Job, run: RunJob) -> None:
        self._job, self._run = job, run
        self.sent: dict[int, Traffic] = {}
        self.received: dict[int, Traffic] = {}

    def ask(
        self,
        phase: Phase,
        clients: Sequence[int],
        shared: Arrays | None = None,
        personal: Mapping[int, Arrays] | None = None,
    ) -> Iterator[Answer]:
        """Each client's answer to a step's request, as they come."""
        common, own = dict(shared or {}), dict(personal or {})
        for client in clients:
            weight = _bytes(common) + _bytes(own.get(client, {}))
            self.received[client] = self.received.get(client, Traffic()) + Traffic(other=weight)
        if phase == "mask":
            # The step in which clients do the round's work.
            common = {**self._job.parameters, **common}
            own = {client: {**self._job.personal.get(client, {}), **own.get(client, {})} for client in clients}
        job = Job(job_kind(phase), self._job.round, self._job.config, common, own, state_dir=self._job.state_dir)
        for outcome in self._run(job, clients):
            if outcome.error is not None:
                yield outcome.client, outcome.error
                continue
            masked = _bytes({name: array for name, array in outcome.arrays.items() if name == f"{PREFIX}masked"})
            rest = _bytes(outcome.arrays) - masked
            self.sent[outcome.client] = self.sent.get(outcome.client, Traffic()) + Traffic(logits=masked, other=rest)
            yield outcome.client, outcome.arrays


def _bytes(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())
