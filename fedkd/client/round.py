"""One client's part of a job, as a function of the job and the client's id alone."""

import numpy as np
import torch
from torch import Tensor

from fedkd.client.context import LocalWork
from fedkd.client.rule import ClientRule, Upload
from fedkd.client.secure import perform_step
from fedkd.client.secure_terms import is_secure
from fedkd.client.setup import asked_positions, build_behaviour
from fedkd.client.state import _history_of, _Notes, _recall
from fedkd.client.training import Trainer, train
from fedkd.core import plugins
from fedkd.core.messages import (
    CONSENSUS,
    EVALUATION,
    LABEL_COUNTS,
    LOGITS,
    TEST_LOGITS,
    TEST_MASK,
    Arrays,
    Consensus,
    Job,
    Outcome,
)
from fedkd.core.seeding import torch_generator
from fedkd.experiment import Workspace, codec, workspace
from fedkd.models import accuracy
from fedkd.privacy.mechanism import LogitMechanism
from fedkd.privacy.private import Private


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


def _round(place: Workspace, job: Job, client: int, trainer: Trainer) -> Outcome:
    work, upload, positions, notes = _work(place, job, client, trainer)
    arrays = {**upload.arrays, **_answers(place, work, upload, positions, notes)}
    if LABEL_COUNTS in job.wants:
        arrays[LABEL_COUNTS] = np.bincount(work.labels.numpy(), minlength=place.data.classes).astype(np.int32)
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


def _consensus(place: Workspace, round: int, received: Arrays, notes: _Notes) -> Consensus | None:
    """The targets of the round before, as far as the server sent some."""
    if CONSENSUS not in received:
        return None
    public, config = place.data.public, place.config
    positions = public.subset(config.data.public.round_size, config.seed, round - 1)
    decoded = codec(config.exchange.downlink).decode(
        received[CONSENSUS].tobytes(),
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
    arrays: Arrays = {LOGITS: np.frombuffer(encoded.data, dtype=np.uint8)}
    if upload.logits.shape[0] > count:
        generator = work.generator("privacy mechanism on test images")
        # As many at a time as were asked about: the noise of some mechanisms grows with the number of answers.
        parts = upload.logits[count:].split(max(count, 1))
        tests = torch.cat([mechanism.privatise(part, generator) for part in parts])
        arrays[TEST_LOGITS] = tests.numpy()
        if mask is not None:
            arrays[TEST_MASK] = mask[count:].numpy()
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
