"""A round whose reports the server only knows the sum of: the protocol's steps as jobs of an engine."""

import hashlib
import io
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from pydantic import ConfigDict, TypeAdapter, with_config
from torch import Tensor

from fedkd.client.secure_terms import fixed_point_of, job_kind, terms_of
from fedkd.core.errors import RunError
from fedkd.core.files import replace_file, writing
from fedkd.core.messages import Arrays, Job, Reply, Traffic
from fedkd.core.texts import shown
from fedkd.experiment import Experiment
from fedkd.privacy.secure_noise import SecureNoise
from fedkd.privacy.secure_sum import ProtocolError
from fedkd.privacy.secure_sum.identities import Directory
from fedkd.privacy.secure_sum.messages import PREFIX, digest, named, number
from fedkd.privacy.secure_sum.server import Answer, SecureServer
from fedkd.privacy.secure_sum.terms import PHASES, Phase
from fedkd.results.records import Failure, SecureDropout, SecureRecord
from fedkd.server.reports import names_client, read_message

RunJob = Callable[[Job, Sequence[int]], Iterable[Reply]]

_WITHOUT_REPORT = PHASES[: PHASES.index("confirm")]
"""A client that drops out at one of these steps is not in the sum; at a later one it is."""

_WORD_BYTES = 4
_BYTES_PER_CLIENT = 1024
"""Several times what a message says about one client: a sealed share, keys, a signature."""

KEPT = 3
"""Sums kept: as many rounds as a run may go back to, and the one going on."""


@dataclass(frozen=True)
class Account:
    """How a secure sum went: its record, the clients whose reports are not in it, and what it cost each client."""

    record: SecureRecord
    failures: tuple[Failure, ...]
    sent: dict[int, Traffic]
    received: dict[int, Traffic]


@dataclass(frozen=True)
class SecureResult:
    """The sum ``[samples, classes]``, in float64, and how it came about."""

    total: Float[Tensor, "samples classes"]
    account: Account

    @property
    def survivors(self) -> tuple[int, ...]:
        """Whose reports are in the sum."""
        return self.account.record.survivors


class AnotherSumError(Exception):
    """A sum that was begun before cannot be made again: the clients that it was over are not all there any more."""


def sum_once(
    experiment: Experiment,
    job: Job,
    queries: int,
    run: RunJob,
    directory: Directory | None = None,
    charge: Callable[[int], None] = lambda attempt: None,
) -> SecureResult:
    """As ``sum_securely``, but a sum that is known already is taken from where it was kept, beside the clients' state.

    One that was begun, and got lost before it was kept, is made again over the same clients: it is the same release.
    Where that cannot be, it is another attempt, for which ``charge`` is called before anything of it is unmasked; the
    first is paid for with the round. Clients that add noise add new noise then, and others give no second sum.
    """
    terms, wanted = terms_of(experiment, job.round), _digest(job)
    store = None if job.state_dir is None else SumStore(job.state_dir)
    if store is None:
        return sum_securely(experiment, job, queries, run, directory)
    if (kept := store.load(terms.run, job.round)) is not None:
        return kept
    begun = store.begun(terms.run, job.round)
    attempt = 1 if begun is None else begun.attempt
    if begun is not None and begun.job != wanted:
        attempt, begun = attempt + 1, None

    over = None if begun is None else begun.survivors

    def begin(survivors: tuple[int, ...]) -> None:
        if attempt > 1:
            charge(attempt)
        store.begin(job.round, Begun(terms.run.hex(), attempt, wanted, survivors))

    try:
        result = sum_securely(experiment, job, queries, run, directory, attempt=attempt, over=over, begin=begin)
    except AnotherSumError:
        # Without noise an attempt is as good as another: what clients gave decides.
        attempt += int(isinstance(experiment.mechanism, SecureNoise))
        result = sum_securely(experiment, job, queries, run, directory, attempt=attempt, begin=begin)
    store.save(terms.run, job.round, result)
    return result


def sum_securely(
    experiment: Experiment,
    job: Job,
    queries: int,
    run: RunJob,
    directory: Directory | None = None,
    *,
    attempt: int = 1,
    over: tuple[int, ...] | None = None,
    begin: Callable[[tuple[int, ...]], None] = lambda survivors: None,
) -> SecureResult:
    """Have the clients sum their answers to a round's ``job``, on ``queries`` public samples.

    ``run`` does a job for some clients; ``directory`` has their public keys (None: those of simulations). A client that
    fails at any step, or whose message is refused, drops out; raises ``RunError`` when fewer than the threshold or
    ``clients.min_reports`` are left. Clients' noise belongs to an ``attempt``, counted from 1. ``over`` is whom the sum
    has to be over (None: whoever is there), and ``begin`` is told, before anything is unmasked, whom it will be over.
    Raises ``AnotherSumError`` where it cannot be over those.
    """
    terms, classes = terms_of(experiment, job.round, attempt), experiment.data.classes
    fixed_point = fixed_point_of(experiment, queries=queries, classes=classes)
    server = SecureServer(terms, directory or Directory.seeded(experiment.config.seed), queries * classes)
    post = _Post(job, run)
    try:
        server.take_keys(post.ask("advertise", server.alive, named(attempt=number(attempt))))
        server.take_shares(post.ask("share", server.alive, server.share_request()))
        if over is not None:
            _require(over, server.alive)
            server.leave_out(set(server.alive) - set(over))
        inboxes = {client: server.mask_request(client) for client in server.alive}
        server.take_masked(post.ask("mask", server.alive, personal=inboxes))
        if over is not None:
            _require(over, server.survivors)
        # Before anything is unmasked: no client helps to sum the same round over others.
        if len(server.survivors) < (needed := experiment.config.clients.min_reports):
            raise ProtocolError(f"{len(server.survivors)} valid reports, clients.min_reports is {needed}")
        begin(server.survivors)
        server.take_confirmations(post.ask("confirm", server.alive, server.confirm_request()))
        server.take_revealed(post.ask("unmask", server.alive, server.unmask_request()))
        total = server.total()
    except ProtocolError as error:
        reasons = "; ".join(f"client {each.client}, {each.phase}: {each.reason}" for each in server.dropouts[:5])
        raise RunError(
            f"round {job.round}: the secure sum failed: {error}{f' ({reasons})' if reasons else ''}; "
            "the rounds before it are kept"
        ) from error
    return SecureResult(
        torch.from_numpy(fixed_point.decode(total).reshape(queries, classes)),
        _account(server, post, terms.threshold, fixed_point.error_of(len(server.survivors)), attempt),
    )


def _require(over: tuple[int, ...], there: Collection[int]) -> None:
    if not set(over) <= set(there):
        raise AnotherSumError


def _account(server: SecureServer, post: "_Post", threshold: int, error_bound: float, attempt: int) -> Account:
    dropouts = tuple(SecureDropout(each.client, each.phase, each.reason) for each in server.dropouts)
    return Account(
        record=SecureRecord(
            threshold=threshold,
            survivors=server.survivors,
            dropouts=dropouts,
            rejected=tuple(SecureDropout(each.client, each.phase, each.reason) for each in server.rejected),
            error_bound=error_bound,
            attempt=attempt,
        ),
        failures=tuple(
            Failure(each.client, f"secure sum, {each.phase}: {each.reason}")
            for each in sorted(dropouts, key=lambda each: each.client)
            if each.phase in _WITHOUT_REPORT
        ),
        sent=post.sent,
        received=post.received,
    )


def _digest(job: Job) -> str:
    """Of everything that clients' reports of a round depend on in a run."""
    found = hashlib.sha256(json.dumps([job.round, sorted(job.accepted.items())]).encode())
    for owner, arrays in [(-1, job.parameters), *sorted(job.personal.items())]:
        found.update(f"{owner}:".encode() + digest(arrays))
    return found.hexdigest()


def secure_bytes(numbers: int, clients: int) -> int:
    """The most bytes of any message of a secure sum of so many numbers over so many clients."""
    return _WORD_BYTES * numbers + _BYTES_PER_CLIENT * (clients + 1)


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
        job = replace(self._job, kind=job_kind(phase), parameters=common, personal=own, probe=False)
        for reply in self._run(job, clients):
            if not names_client(reply):
                continue
            try:
                arrays = read_message(reply, job.most_bytes)
            except ValueError as reason:
                yield reply.client, shown(str(reason))
                continue
            masked = _bytes({name: array for name, array in arrays.items() if name == f"{PREFIX}masked"})
            rest = _bytes(arrays) - masked
            self.sent[reply.client] = self.sent.get(reply.client, Traffic()) + Traffic(logits=masked, other=rest)
            yield reply.client, arrays


def _bytes(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


@with_config(ConfigDict(strict=True, extra="forbid"))
@dataclass(frozen=True)
class Begun:
    """A sum that clients were about to unmask: of which run, in which attempt, of which job (digests), over whom."""

    run: str
    attempt: int
    job: str
    survivors: tuple[int, ...]


_ACCOUNT, _BEGUN = TypeAdapter(Account), TypeAdapter(Begun)


class SumStore:
    """The sums of the last rounds, a file each, and which of them was begun, on the server's side."""

    def __init__(self, state_dir: str) -> None:
        self._folder = Path(state_dir) / "round_sums"

    def load(self, run: bytes, round: int) -> SecureResult | None:
        """The sum of a round of a run; None where there is none, or not a whole one."""
        try:
            content = torch.load(self._path(round, "pt"), weights_only=True)
            if content["run"] != run.hex():
                return None
            return SecureResult(content["total"], _ACCOUNT.validate_json(content["account"]))
        except Exception:  # it can be made again, over the clients that it was begun with
            return None

    def save(self, run: bytes, round: int, result: SecureResult) -> None:
        """Keep a sum, on disk on return; raises ``RunError`` when it cannot be written."""
        account = _ACCOUNT.dump_json(result.account).decode()
        buffer = io.BytesIO()
        torch.save({"run": run.hex(), "total": result.total, "account": account}, buffer)
        self._write(self._path(round, "pt"), buffer.getvalue())

    def begun(self, run: bytes, round: int) -> Begun | None:
        """What was begun last in a round of a run, if anything was; raises ``RunError`` for a damaged file."""
        path = self._path(round, "json")
        if not path.exists():
            return None
        try:
            found = _BEGUN.validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise RunError(
                f"{path} cannot be read, and says over which clients a sum was begun; bring it back, or start a new run"
            ) from error
        return found if found.run == run.hex() else None

    def begin(self, round: int, begun: Begun) -> None:
        """Note what is about to be unmasked, on disk on return."""
        self._write(self._path(round, "json"), _BEGUN.dump_json(begun))

    def _write(self, path: Path, content: bytes) -> None:
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
        for old in sorted(self._folder.glob(f"round_*{path.suffix}"))[:-KEPT]:
            old.unlink(missing_ok=True)

    def _path(self, round: int, kind: str) -> Path:
        return self._folder / f"round_{round:05d}.{kind}"
