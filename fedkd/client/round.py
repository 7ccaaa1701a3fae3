"""One client's part of a job, as a function of the job and the client's id alone."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fedkd.client.behaviour import ClientBehaviour
from fedkd.client.context import ClientContext
from fedkd.client.rule import ClientRule, Upload
from fedkd.client.secure import perform_step
from fedkd.client.secure_terms import is_secure
from fedkd.client.setup import asked_positions, behaviour_of, client_rule
from fedkd.client.state import Memory, Notes, recall
from fedkd.client.training import Trainer, train
from fedkd.core.coding.history import CodeHistory
from fedkd.core.coding.types import Encoded, Previous
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
from fedkd.experiment import Experiment
from fedkd.models import accuracy
from fedkd.privacy.mechanism import LogitMechanism
from fedkd.privacy.private import Private
from fedkd.privacy.secure_sum import ProtocolError


def perform(job: Job, client: int, trainer: Trainer = train) -> Reply:
    """The client's reply; raises what goes wrong, for the engine to turn into a failed reply.

    ``trainer`` is what trains its models.
    """
    experiment = Experiment.of(job.config)
    if is_secure(job):
        return perform_step(experiment, job, client, lambda: _released(experiment, job, client))
    if job.kind == "round" and experiment.config.privacy.secure_aggregation is not None:
        raise ProtocolError("a report was asked for in the open, and with privacy.secure_aggregation none is given")
    match job.kind:
        case "round":
            return _round(experiment, job, client, trainer)
        case "local":
            return _local(experiment, client, trainer)
        case _:
            raise ValueError(f"job kind must be round, local or a step of a secure sum, got {job.kind!r}")


def prepare(
    experiment: Experiment,
    job: Job,
    client: int,
    queries: Float[Tensor, "queries ..."],
    *,
    memory: Memory,
    consensus: Consensus | None,
    trainer: Trainer = train,
    stream: str = "",
) -> ClientContext:
    """A client at the beginning of a round: what it was sent, what it remembers, and what it is asked about.

    ``trainer`` is what trains its models; ``stream`` names a repetition that is to draw other random numbers.
    """
    data = experiment.resident
    return ClientContext(
        experiment,
        client,
        job.round,
        {**job.parameters, **job.personal.get(client, {})},
        queries,
        data.labels[data.clients[client].train],
        consensus=consensus,
        memory=memory,
        probe=job.probe,
        trainer=trainer,
        stream=stream,
    )


def answer(context: ClientContext, rule: ClientRule, behaviour: ClientBehaviour) -> Upload:
    """What the client makes of the round, as it behaves; raises ``ValueError`` for what its mechanism cannot cover."""
    context.labels = behaviour.labels(context)
    upload = behaviour.respond(context, rule)
    _check_covered(context.experiment.mechanism, upload)
    return upload


def release(
    context: ClientContext,
    logits: Float[Tensor, "asked classes"],
    mask: Bool[Tensor, " asked"] | None = None,
    previous: Previous | None = None,
) -> Encoded:
    """The message with a round's logits, after mechanism and codec; ``previous`` is as in ``LogitCodec.encode``."""
    released = context.experiment.mechanism.privatise(logits, context.generator("privacy mechanism"))
    return context.experiment.uplink.encode(released, mask, previous)


def consensus_of(
    experiment: Experiment, job: Job, client: int, history: CodeHistory | None = None
) -> tuple[Consensus | None, CodeHistory | None]:
    """The targets of the round before, as far as the server sent some, and the codes to take the next from.

    ``history`` are the codes that were received last; None where messages are complete in themselves.
    """
    message = {**job.parameters, **job.personal.get(client, {})}.get(CONSENSUS)
    if message is None:
        return None, history
    data, config = experiment.data, experiment.config
    positions = data.public.subset(config.data.public.round_size, config.seed, job.round - 1)
    decoded = experiment.downlink.decode(
        message.tobytes(),
        samples=positions.numel(),
        classes=data.classes,
        previous=None if history is None else history.previous(positions),
    )
    mask = torch.ones(positions.numel(), dtype=torch.bool) if decoded.mask is None else decoded.mask
    consensus = Consensus(positions, decoded.logits.log_softmax(dim=-1), mask)
    return consensus, history and history.of(positions, decoded.codes, decoded.mask)


def _round(experiment: Experiment, job: Job, client: int, trainer: Trainer) -> Reply:
    context, upload, notes = _train_and_answer(experiment, job, client, trainer)
    arrays = {**upload.arrays, **_logits(context, upload, asked_positions(experiment, job), notes)}
    if LABEL_COUNTS in job.wants:
        arrays[LABEL_COUNTS] = np.bincount(context.labels.numpy(), minlength=experiment.data.classes).astype(np.int32)
    notes.save(job.round)
    return Reply(client, arrays, _metrics(experiment, job, context, upload))


def _released(experiment: Experiment, job: Job, client: int) -> Tensor:
    """The client's logits in a secure sum, after the mechanism: on what was asked, and on no test samples."""
    context, upload, notes = _train_and_answer(experiment, replace(job, probe=False), client, train)
    if upload.logits is None or upload.mask is not None:
        raise ValueError("a secure sum takes logits on all samples, and this client abstains or sends something else")
    logits = experiment.mechanism.privatise(upload.logits, context.generator("privacy mechanism"))
    notes.save(job.round)
    return logits


def _train_and_answer(
    experiment: Experiment, job: Job, client: int, trainer: Trainer
) -> tuple[ClientContext, Upload, Notes]:
    """What the client does in a round, before anything of it is written down."""
    data = experiment.resident
    queries = data.public.inputs[asked_positions(experiment, job)]
    if job.probe:
        queries = torch.cat([queries, data.test_inputs])
    rule, behaviour = client_rule(experiment), behaviour_of(experiment, client)
    notes = recall(experiment, job, client, rule.remembers or behaviour.remembers)
    consensus, notes.received = consensus_of(experiment, job, client, notes.received)
    context = prepare(experiment, job, client, queries, memory=notes.memory, consensus=consensus, trainer=trainer)
    return context, answer(context, rule, behaviour), notes


def _logits(context: ClientContext, upload: Upload, positions: Tensor, notes: Notes) -> Arrays:
    """The message with the client's logits, and the logits on the test samples for evaluation."""
    if upload.logits is None:
        return {}
    count, mask = positions.numel(), upload.mask
    own = None if mask is None else mask[:count]
    # By themselves: what is released must depend neither on the test samples nor on whether they were asked about.
    encoded = release(
        context, upload.logits[:count], own, None if notes.sent is None else notes.sent.previous(positions)
    )
    notes.sent = notes.sent and notes.sent.of(positions, encoded.codes, own)
    arrays: Arrays = {LOGITS: np.frombuffer(encoded.data, dtype=np.uint8)}
    if upload.logits.shape[0] > count:
        generator = context.generator("privacy mechanism on test images")
        # As many at a time as were asked about: the noise of some mechanisms grows with the number of answers.
        parts = upload.logits[count:].split(max(count, 1))
        tests = torch.cat([context.experiment.mechanism.privatise(part, generator) for part in parts])
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
