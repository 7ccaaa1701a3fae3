"""One client's part of a job, as a function of the job and the client's id alone."""

import numpy as np
import torch
from torch import Tensor

from fedkd.client.context import ClientContext
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
    Reply,
)
from fedkd.core.seeding import torch_generator
from fedkd.experiment import Experiment, codec
from fedkd.models import accuracy
from fedkd.privacy.mechanism import LogitMechanism
from fedkd.privacy.private import Private


def perform(job: Job, client: int, trainer: Trainer = train) -> Reply:
    """The client's reply; raises what goes wrong, for the engine to turn into a failed reply.

    ``trainer`` is what trains its models.
    """
    experiment = Experiment.of(job.config)
    if is_secure(job):
        return perform_step(experiment, job, client, lambda: _released(experiment, job, client))
    match job.kind:
        case "round":
            return _round(experiment, job, client, trainer)
        case "local":
            return _local(experiment, client, trainer)
        case _:
            raise ValueError(f"job kind must be round, local or a step of a secure sum, got {job.kind!r}")


def _round(experiment: Experiment, job: Job, client: int, trainer: Trainer) -> Reply:
    context, upload, positions, notes = _train_and_answer(experiment, job, client, trainer)
    arrays = {**upload.arrays, **_answers(experiment, context, upload, positions, notes)}
    if LABEL_COUNTS in job.wants:
        arrays[LABEL_COUNTS] = np.bincount(context.labels.numpy(), minlength=experiment.data.classes).astype(np.int32)
    notes.save(job.round)
    return Reply(client, arrays, _metrics(experiment, job, context, upload))


def _released(experiment: Experiment, job: Job, client: int) -> Tensor:
    """The client's logits in a secure sum, after the mechanism."""
    context, upload, _, notes = _train_and_answer(experiment, job, client, train)
    if upload.logits is None or upload.mask is not None:
        raise ValueError("a secure sum takes logits on all samples, and this client abstains or sends something else")
    logits = experiment.mechanism.privatise(upload.logits, context.generator("privacy mechanism"))
    notes.save(job.round)
    return logits


def _train_and_answer(
    experiment: Experiment, job: Job, client: int, trainer: Trainer
) -> "tuple[ClientContext, Upload, Tensor, _Notes]":
    """What the client does in a round, before anything of it is written down."""
    data, config = experiment.resident, experiment.config
    positions = asked_positions(experiment, job)
    queries = data.public.inputs[positions]
    if job.probe:
        queries = torch.cat([queries, data.test_inputs])
    rule: ClientRule = plugins.build(plugins.CLIENT_RULE, config.clients.rule.name, config.clients.rule.options)
    behaviour = build_behaviour(experiment, client)
    received = {**job.parameters, **job.personal.get(client, {})}
    notes = _recall(experiment, job, client, rule.remembers or behaviour.remembers)
    own = data.clients[client]
    context = ClientContext(
        experiment,
        client,
        job.round,
        received,
        queries,
        data.labels[own.train],
        memory=notes.memory,
        probe=job.probe,
        trainer=trainer,
    )
    context.consensus = _consensus(experiment, job.round, received, notes)
    context.labels = behaviour.labels(context)
    upload = behaviour.respond(context, rule)
    _check_covered(experiment.mechanism, upload)
    return context, upload, positions, notes


def _consensus(experiment: Experiment, round: int, received: Arrays, notes: _Notes) -> Consensus | None:
    """The targets of the round before, as far as the server sent some."""
    if CONSENSUS not in received:
        return None
    public, config = experiment.data.public, experiment.config
    positions = public.subset(config.data.public.round_size, config.seed, round - 1)
    decoded = codec(config.communication.downlink).decode(
        received[CONSENSUS].tobytes(),
        samples=positions.numel(),
        classes=experiment.data.classes,
        previous=None if notes.received is None else notes.received.previous(positions),
    )
    if notes.received is not None:
        notes.received = _history_of(experiment, positions, decoded.codes, decoded.mask)
    mask = torch.ones(positions.numel(), dtype=torch.bool) if decoded.mask is None else decoded.mask
    return Consensus(positions, decoded.logits.log_softmax(dim=-1), mask)


def _answers(
    experiment: Experiment, context: ClientContext, upload: Upload, positions: Tensor, notes: _Notes
) -> Arrays:
    """The client's logits after mechanism and codec, and those on the test samples for evaluation."""
    if upload.logits is None:
        return {}
    config, count, mechanism = experiment.config, positions.numel(), experiment.mechanism
    # By themselves: what is released must depend neither on the test samples nor on whether they were asked about.
    released = mechanism.privatise(upload.logits[:count], context.generator("privacy mechanism"))
    mask = upload.mask
    encoded = codec(config.communication.uplink).encode(
        released,
        None if mask is None else mask[:count],
        None if notes.sent is None else notes.sent.previous(positions),
    )
    if notes.sent is not None:
        notes.sent = _history_of(experiment, positions, encoded.codes, None if mask is None else mask[:count])
    arrays: Arrays = {LOGITS: np.frombuffer(encoded.data, dtype=np.uint8)}
    if upload.logits.shape[0] > count:
        generator = context.generator("privacy mechanism on test samples")
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


def _metrics(experiment: Experiment, job: Job, context: ClientContext, upload: Upload) -> dict[str, float | int | str]:
    data, own = experiment.resident, experiment.data.clients[context.client]
    metrics: dict[str, float | int | str] = {
        "round": job.round,
        "examples": own.train.numel(),
        "public_digest": experiment.data.public.digest,
    }
    if upload.model is not None and own.validation.numel() > 0:
        held_out = own.validation
        metrics["validation_accuracy"] = accuracy(upload.model, data.inputs[held_out], data.labels[held_out])
    if upload.model is not None and job.probe:
        metrics["test_accuracy"] = accuracy(upload.model, data.test_inputs, data.test_labels)
    return metrics


def _local(experiment: Experiment, client: int, trainer: Trainer) -> Reply:
    """Train alone for as many epochs as all rounds together have, and measure on the test set."""
    config, data = experiment.config, experiment.resident
    model = experiment.initial_model(experiment.architecture_of(client))
    own = data.clients[client].train
    trainer(
        model,
        data.inputs[own],
        data.labels[own],
        config.clients,
        epochs=config.clients.epochs * config.rounds,
        generator=torch_generator(config.seed, client=client, purpose="local only"),
    )
    return Reply(client, metrics={"accuracy": accuracy(model, data.test_inputs, data.test_labels)})
