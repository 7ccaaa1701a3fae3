"""One client's part of a job, as a function of the job and the client's id alone."""

from dataclasses import replace

import torch
from jaxtyping import Shaped
from torch import Tensor

from fedkd.client.behaviour import ClientBehaviour, answer_of, labels_of
from fedkd.client.context import ClientContext
from fedkd.client.measurement import measure
from fedkd.client.release import attempt_of, check_covered, private_logits, release
from fedkd.client.rule import ClientRule, Upload
from fedkd.client.secure import perform_step
from fedkd.client.secure_terms import is_secure
from fedkd.client.setup import asked_positions, behaviour_of, client_rule, experiment_of
from fedkd.client.state import Memory, Notes, recall
from fedkd.client.training import Trainer, train
from fedkd.core.coding.history import CodeHistory
from fedkd.core.messages import CONSENSUS, Consensus, Job, Measurement, Reply
from fedkd.core.seeding import torch_generator
from fedkd.experiment import Experiment
from fedkd.models import accuracy
from fedkd.privacy.secure_sum import ProtocolError


def perform(job: Job, client: int, trainer: Trainer = train) -> Reply:
    """The client's reply; raises what goes wrong, for the engine to turn into a failed reply.

    ``trainer`` is what trains its models.
    """
    experiment = experiment_of(job)
    if is_secure(job):
        return perform_step(experiment, job, client, lambda: _released(experiment, job, client))
    if job.kind == "round" and experiment.config.privacy.secure_aggregation is not None:
        raise ProtocolError("a report was asked for in the open, and with privacy.secure_aggregation none is given")
    match job.kind:
        case "round":
            return _round(experiment, job, client, trainer)
        case "local":
            return _local(experiment, job, client, trainer)
        case _:
            raise ValueError(f"job kind must be round, local or a step of a secure sum, got {job.kind!r}")


def prepare(
    experiment: Experiment,
    job: Job,
    client: int,
    queries: Shaped[Tensor, "queries ..."],
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
        trainer=trainer,
        stream=stream,
        attempt=attempt_of(experiment, job, client, memory, consensus),
        system_noise=job.system_noise,
    )


def answer(context: ClientContext, rule: ClientRule, behaviour: ClientBehaviour) -> Upload:
    """What the client makes of the round, as it behaves; raises ``ValueError`` where that is no answer."""
    context.labels = labels_of(behaviour, context)
    return answer_of(behaviour, context, rule)


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
    context, upload, notes = train_and_answer(experiment, job, client, trainer)
    reply = release(context, upload, job, notes)
    notes.save(job.round)
    rule, behaviour = client_rule(experiment), behaviour_of(experiment, client)
    return replace(reply, measured=measure(context, upload, rule, behaviour, job))


def _released(experiment: Experiment, job: Job, client: int) -> Tensor:
    """The client's logits in a secure sum, after the mechanism: on what was asked, and on no test samples."""
    context, upload, notes = train_and_answer(experiment, job, client)
    check_covered(experiment.mechanism, upload)
    if upload.logits is None or upload.mask is not None:
        raise ValueError("a secure sum takes logits on all samples, and this client abstains or sends something else")
    logits = private_logits(context, upload.logits)
    notes.save(job.round)
    return logits


def train_and_answer(
    experiment: Experiment, job: Job, client: int, trainer: Trainer = train
) -> tuple[ClientContext, Upload, Notes]:
    """What the client does in a round, before anything of it is written down; ``Notes.save`` writes its memory."""
    queries = experiment.resident.public.inputs[asked_positions(experiment, job)]
    rule, behaviour = client_rule(experiment), behaviour_of(experiment, client)
    notes = recall(experiment, job, client)
    consensus, notes.received = consensus_of(experiment, job, client, notes.received)
    context = prepare(experiment, job, client, queries, memory=notes.memory, consensus=consensus, trainer=trainer)
    return context, answer(context, rule, behaviour), notes


def _local(experiment: Experiment, job: Job, client: int, trainer: Trainer) -> Reply:
    """Train alone for as many epochs as all rounds together have, and measure on the test set."""
    if not job.measure:
        raise ValueError("local training is only measured, and this client measures nothing; leave out local_only")
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
    found = accuracy(model, data.test_inputs, data.test_labels)
    return Reply(client, measured=Measurement(test_accuracy=found))
