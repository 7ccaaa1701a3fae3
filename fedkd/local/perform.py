"""One client's part of a job, as a function of the job and the client's id alone."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from fedkd import plugins
from fedkd.aggregation import LogitAggregator
from fedkd.codecs import CodeHistory, Codes, LogitCodec
from fedkd.config import Plugin
from fedkd.errors import RunError
from fedkd.evaluation import accuracy
from fedkd.local._behaviour import ClientBehaviour
from fedkd.local._rule import ClientRule, Upload
from fedkd.local._work import LocalWork
from fedkd.local.securing import is_secure, perform_step
from fedkd.local.store import ClientStore, Memory
from fedkd.local.training import Trainer, train
from fedkd.local.workspace import Workspace, workspace
from fedkd.privacy import LogitMechanism, Private
from fedkd.seeding import torch_generator
from fedkd.types import EVALUATION, Arrays, Consensus, Job, Outcome

if TYPE_CHECKING:
    from fedkd.students import StudentRule

SENT, RECEIVED = "sent/", "received/"
"""Where the codes last sent and received are among what a client remembers."""


def perform(job: Job, client: int, trainer: Trainer = train) -> Outcome:
    """The client's outcome; raises what goes wrong, for the engine to turn into a failed outcome.

    ``trainer`` is what trains its models.
    """
    place = workspace(job.config)
    if is_secure(job):
        return perform_step(place, job, client, lambda: _released(place, job, client))
    match job.kind:
        case "round":
            return _round(place, job, client, trainer)
        case "local":
            return _local(place, client, trainer)
        case _:
            raise ValueError(f"job kind must be round, local or a step of a secure sum, got {job.kind!r}")


def asked_positions(place: Workspace, job: Job) -> Int[Tensor, " asked"]:
    """The public samples a round's clients answer on: all of the round's subset, or those the server marked in it."""
    config = place.config
    chosen = place.data.public.subset(config.data.public.round_size, config.seed, job.round)
    if (marks := job.parameters.get("asked")) is None:
        return chosen
    return chosen[torch.from_numpy(np.unpackbits(marks, count=chosen.numel()).astype(bool))]


def keeps_state(place: Workspace) -> bool:
    """Whether clients keep anything between rounds or steps: a memory, codes to take differences from, or secrets."""
    config = place.config
    rule: ClientRule = plugins.build(plugins.CLIENT_RULE, config.clients.rule.name, config.clients.rule.options)
    specs = [config.clients.behaviour, *([config.clients.attackers.behaviour] if place.attackers else [])]
    behaviours: list[ClientBehaviour] = [plugins.build(plugins.CLIENT, spec.name, spec.options) for spec in specs]
    delta = codec(config.exchange.uplink).delta or codec(config.exchange.downlink).delta
    secrets = config.privacy.secure_aggregation is not None
    return secrets or delta or rule.remembers or any(behaviour.remembers for behaviour in behaviours)


def build_behaviour(place: Workspace, client: int) -> ClientBehaviour:
    """How the client behaves: as ``clients.attackers`` says if it is one of them."""
    clients = place.config.clients
    spec = clients.attackers.behaviour if client in place.attackers else clients.behaviour
    behaviour: ClientBehaviour = plugins.build(plugins.CLIENT, spec.name, spec.options)
    return behaviour


def _round(place: Workspace, job: Job, client: int, trainer: Trainer) -> Outcome:
    work, upload, positions, notes = _work(place, job, client, trainer)
    arrays = {**upload.arrays, **_answers(place, work, upload, positions, notes)}
    if _needs_label_counts(place):
        arrays["label_counts"] = np.bincount(work.labels.numpy(), minlength=place.data.classes).astype(np.int32)
    notes.save(job.round)
    return Outcome(client, arrays, _metrics(place, job, work, upload))


def _released(place: Workspace, job: Job, client: int) -> Tensor:
    """The client's logits in a secure sum, after the mechanism."""
    work, upload, _, notes = _work(place, job, client, train)
    if upload.logits is None or upload.mask is not None:
        raise ValueError("a secure sum takes logits on all samples, and this client abstains or sends something else")
    logits = place.mechanism.privatise(upload.logits, work.generator("privacy mechanism"))
    notes.save(job.round)
    return logits


def _work(place: Workspace, job: Job, client: int, trainer: Trainer) -> "tuple[LocalWork, Upload, Tensor, _Notes]":
    """What the client does in a round, before anything of it is written down."""
    data, config = place.resident, place.config
    positions = asked_positions(place, job)
    queries = data.public.images[positions]
    if job.probe:
        queries = torch.cat([queries, data.test_images])
    rule: ClientRule = plugins.build(plugins.CLIENT_RULE, config.clients.rule.name, config.clients.rule.options)
    behaviour = build_behaviour(place, client)
    received = {**job.parameters, **job.personal.get(client, {})}
    notes = _recall(place, job, client, rule.remembers or behaviour.remembers)
    own = data.clients[client]
    work = LocalWork(
        place,
        client,
        job.round,
        received,
        queries,
        data.labels[own.train],
        memory=notes.memory,
        probe=job.probe,
        trainer=trainer,
    )
    work.consensus = _consensus(place, job.round, received, notes)
    work.labels = behaviour.labels(work)
    upload = behaviour.respond(work, rule)
    _check_covered(place.mechanism, upload)
    return work, upload, positions, notes


@dataclass
class _Notes:
    """What a client remembers, and the codes of the last messages that it and the server both know of.

    It goes on from the end of the round ``after``, the last one of which its report was accepted (0: none): a round
    whose report was dropped or never came is as if it had not taken part. ``sent`` and ``received`` are None where
    messages are not coded as differences.
    """

    store: ClientStore | None
    after: int
    memory: Memory
    sent: CodeHistory | None
    received: CodeHistory | None

    def save(self, round: int) -> None:
        if self.store is None:
            return
        for prefix, history in ((SENT, self.sent), (RECEIVED, self.received)):
            if history is not None:
                self.memory |= {prefix + name: value for name, value in history.state_dict().items()}
        self.store.save(round, self.memory, after=self.after)


def _recall(place: Workspace, job: Job, client: int, remembers: bool) -> _Notes:
    up, down = codec(place.config.exchange.uplink), codec(place.config.exchange.downlink)
    if not (remembers or up.delta or down.delta):
        return _Notes(None, 0, {}, None, None)
    if job.state_dir is None:
        raise RunError("these clients keep something between rounds, and the job has no state_dir to keep it in")
    store = ClientStore(job.state_dir, client)
    after = job.accepted.get(client, 0)
    memory = store.load(after) if after in store.rounds(job.round) else {}
    return _Notes(
        store,
        after,
        {name: value for name, value in memory.items() if not name.startswith((SENT, RECEIVED))},
        _history(place, memory, SENT) if up.delta else None,
        _history(place, memory, RECEIVED) if down.delta else None,
    )


def _history(place: Workspace, memory: Memory, prefix: str) -> CodeHistory:
    history = CodeHistory(place.data.public.labels.numel())
    history.load_state_dict(
        {name.removeprefix(prefix): value for name, value in memory.items() if name.startswith(prefix)}
    )
    return history


def _history_of(place: Workspace, positions: Tensor, codes: Codes, mask: Tensor | None) -> CodeHistory:
    history = CodeHistory(place.data.public.labels.numel())
    history.update(positions, codes, mask)
    return history


def codec(spec: Plugin) -> LogitCodec:
    """The codec that a part of the configuration names."""
    built: LogitCodec = plugins.build(plugins.CODEC, spec.name, spec.options)
    return built


def _consensus(place: Workspace, round: int, received: Arrays, notes: _Notes) -> Consensus | None:
    """The targets of the round before, as far as the server sent some."""
    if "consensus" not in received:
        return None
    public, config = place.data.public, place.config
    positions = public.subset(config.data.public.round_size, config.seed, round - 1)
    decoded = codec(config.exchange.downlink).decode(
        received["consensus"].tobytes(),
        samples=positions.numel(),
        classes=place.data.classes,
        previous=None if notes.received is None else notes.received.previous(positions),
    )
    if notes.received is not None:
        notes.received = _history_of(place, positions, decoded.codes, decoded.mask)
    mask = torch.ones(positions.numel(), dtype=torch.bool) if decoded.mask is None else decoded.mask
    return Consensus(positions, decoded.logits.log_softmax(dim=-1), mask)


def _answers(place: Workspace, work: LocalWork, upload: Upload, positions: Tensor, notes: _Notes) -> Arrays:
    """The client's logits after mechanism and codec, and those on the test images for evaluation."""
    if upload.logits is None:
        return {}
    config, count, mechanism = place.config, positions.numel(), place.mechanism
    # By themselves: what is released must depend neither on the test images nor on whether they were asked about.
    released = mechanism.privatise(upload.logits[:count], work.generator("privacy mechanism"))
    mask = upload.mask
    encoded = codec(config.exchange.uplink).encode(
        released,
        None if mask is None else mask[:count],
        None if notes.sent is None else notes.sent.previous(positions),
    )
    if notes.sent is not None:
        notes.sent = _history_of(place, positions, encoded.codes, None if mask is None else mask[:count])
    arrays: Arrays = {"logits": np.frombuffer(encoded.data, dtype=np.uint8)}
    if upload.logits.shape[0] > count:
        generator = work.generator("privacy mechanism on test images")
        # As many at a time as were asked about: the noise of some mechanisms grows with the number of answers.
        parts = upload.logits[count:].split(max(count, 1))
        tests = torch.cat([mechanism.privatise(part, generator) for part in parts])
        arrays[f"{EVALUATION}/logits"] = tests.numpy()
        if mask is not None:
            arrays[f"{EVALUATION}/mask"] = mask[count:].numpy()
    return arrays


def _check_covered(mechanism: LogitMechanism, upload: Upload) -> None:
    """Raises ``ValueError`` for an upload with something in it about which the mechanism proves nothing."""
    if not isinstance(mechanism, Private):
        return
    name = type(mechanism).__name__
    if upload.mask is not None:
        raise ValueError(f"privacy.mechanism: {name} proves nothing about masks; choose a rule that never abstains")
    sent = {array.partition("/")[0] for array in upload.arrays} - {EVALUATION}
    if uncovered := sorted(sent - mechanism.covers):
        raise ValueError(f"privacy.mechanism: {name} proves nothing about {', '.join(uncovered)}; choose another rule")


def _metrics(place: Workspace, job: Job, work: LocalWork, upload: Upload) -> dict[str, float | int | str]:
    data, own = place.resident, place.data.clients[work.client]
    metrics: dict[str, float | int | str] = {
        "round": job.round,
        "examples": own.train.numel(),
        "public_digest": place.data.public.digest,
    }
    if upload.model is not None and own.validation.numel() > 0:
        held_out = own.validation
        metrics["validation_accuracy"] = accuracy(upload.model, data.images[held_out], data.labels[held_out])
    if upload.model is not None and job.probe:
        metrics["test_accuracy"] = accuracy(upload.model, data.test_images, data.test_labels)
    return metrics


def _needs_label_counts(place: Workspace) -> bool:
    config = place.config
    teacher: type[LogitAggregator] = plugins.resolve(plugins.TEACHER, config.teacher.name)
    rule: type[StudentRule] = plugins.resolve(plugins.STUDENT_RULE, config.student.rule.name)
    return teacher.needs_label_counts and rule.teaches


def _local(place: Workspace, client: int, trainer: Trainer) -> Outcome:
    """Train alone for as many epochs as all rounds together have, and measure on the test set."""
    config, data = place.config, place.resident
    model = place.initial_model(place.architecture_of(client))
    own = data.clients[client].train
    trainer(
        model,
        data.images[own],
        data.labels[own],
        config.clients,
        epochs=config.clients.epochs * config.rounds,
        generator=torch_generator(config.seed, client=client, purpose="local only"),
    )
    return Outcome(client, metrics={"accuracy": accuracy(model, data.test_images, data.test_labels)})
