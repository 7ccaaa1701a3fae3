"""What leaves a client in a round: one release, made here and nowhere else."""

import secrets
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from fedkd.client.context import ClientContext
from fedkd.client.rule import Upload
from fedkd.client.secure_terms import run_digest
from fedkd.client.setup import asked_positions, declared, states_examples
from fedkd.client.state import Notes
from fedkd.core.coding.types import Encoded, Previous
from fedkd.core.messages import LABEL_COUNTS, LOGITS, Consensus, Job, Reply
from fedkd.core.returned import returned_tensor
from fedkd.experiment import Experiment
from fedkd.privacy.attempts import name_of
from fedkd.privacy.guarantee import Release
from fedkd.privacy.mechanism import LogitMechanism
from fedkd.privacy.own_ledger import OwnLedger
from fedkd.privacy.private import Private
from fedkd.privacy.secure_noise import SecureNoise


def release(context: ClientContext, upload: Upload, job: Job, notes: Notes) -> Reply:
    """All that a client sends of a round: its logits after mechanism and codec, other arrays, and what it declares.

    Raises ``ValueError`` for anything that its mechanism proves nothing about. How many samples it has is left out
    where the proof does not take that as public, and where they are at home and the algorithm does without, whatever
    the job wants.
    """
    data, mechanism = context.experiment.data, context.experiment.mechanism
    arrays = dict(upload.arrays)
    if LABEL_COUNTS in (declared(context.experiment) if context.experiment.config.data.at_home else job.wants):
        arrays[LABEL_COUNTS] = np.bincount(context.labels.numpy(), minlength=data.classes).astype(np.int32)
    check_covered(mechanism, Upload(upload.logits, upload.mask, arrays))
    if upload.logits is not None:
        positions = asked_positions(context.experiment, job)
        previous = None if notes.sent is None else notes.sent.previous(positions)
        encoded = encoded_logits(context, upload.logits, upload.mask, previous)
        notes.sent = notes.sent and notes.sent.of(positions, encoded.codes, upload.mask)
        arrays[LOGITS] = np.frombuffer(encoded.data, dtype=np.uint8)
    epsilon = charged_at_home(context.experiment, job, context.client, context.queries.shape[0], context.attempt)
    examples = data.clients[context.client].train.numel()
    return Reply(
        context.client,
        arrays,
        round=job.round,
        examples=examples if states_examples(context.experiment) else None,
        epsilon=epsilon,
        public_digest=data.public.digest,
    )


def release_of(experiment: Experiment, client: int, queries: int) -> Release:
    """A round in which ``client`` takes part and is asked about ``queries`` public samples.

    Where it is asked about none, it counts as one: it may train all the same.
    """
    clients = experiment.config.clients
    return Release(
        queries=max(queries, 1),
        classes=experiment.data.classes,
        clients=clients.per_round,
        examples=experiment.most_examples(client),
        epochs=clients.epochs,
        batch_size=clients.batch_size,
        parameters=experiment.parameter_counts[experiment.architecture_of(client)],
    )


def charged_at_home(experiment: Experiment, job: Job, client: int, queries: int, attempt: str) -> float | None:
    """ε of the client after an attempt at a round, by its own ledger, on disk on return; before it is released.

    Its own it keeps where its private data are at home: below its node's folder, for each run's configuration. None
    where that is not so, or nothing is proved of what clients release. An attempt with noise from the operating system
    is never repeated, whatever its name.
    """
    config, mechanism = experiment.config, experiment.mechanism
    if job.host is None or job.host.home is None or not isinstance(mechanism, Private):
        return None
    if not isinstance(mechanism, SecureNoise) and (job.system_noise or config.privacy.entropy == "system"):
        attempt = secrets.token_hex(32)
    run = run_digest(experiment).hex()[:32]
    ledger = OwnLedger(Path(job.host.memory) / "ledgers" / run / f"client_{client:06d}.json")
    event = mechanism.dp_event(release_of(experiment, client, queries))
    return ledger.charge(client, job.round, event, attempt, config.privacy.delta)


def attempt_of(
    experiment: Experiment, job: Job, client: int, memory: Mapping[str, Tensor], consensus: Consensus | None
) -> str:
    """The name of the client's release in a round: all that it was sent and remembers (``fedkd.privacy.attempts``).

    Empty where no noise depends on it.
    """
    if not isinstance(experiment.mechanism, Private):
        return ""
    targets = None if consensus is None else (consensus.positions, consensus.log_probabilities, consensus.mask)
    received = {**job.parameters, **job.personal.get(client, {})}
    return name_of(run_digest(experiment), job.round, client, received, dict(memory), targets)


def encoded_logits(
    context: ClientContext,
    logits: Float[Tensor, "asked classes"],
    mask: Bool[Tensor, " asked"] | None = None,
    previous: Previous | None = None,
) -> Encoded:
    """The message with a round's logits, after mechanism and codec; ``previous`` is as in ``LogitCodec.encode``."""
    return context.experiment.uplink.encode(private_logits(context, logits), mask, previous)


def private_logits(context: ClientContext, logits: Float[Tensor, "asked classes"]) -> Float[Tensor, "asked classes"]:
    """A round's logits after the mechanism."""
    return privatised(context.experiment.mechanism, logits, context.noise("privacy mechanism"))


def privatised(
    mechanism: LogitMechanism, logits: Float[Tensor, "samples classes"], generator: np.random.Generator
) -> Float[Tensor, "samples classes"]:
    """Logits after a mechanism, as float32; raises ``ValueError`` where it gives something else than logits."""
    found = mechanism.privatise(logits, generator)
    return returned_tensor(found, mechanism, "privatise", "logits [samples, classes]", tuple(logits.shape)).float()


def check_covered(mechanism: LogitMechanism, upload: Upload) -> None:
    """Raise ``ValueError`` for an upload with something in it about which the mechanism proves nothing."""
    if not isinstance(mechanism, Private):
        return
    name = type(mechanism).__name__
    if upload.mask is not None:
        raise ValueError(f"privacy.mechanism: {name} proves nothing about masks; choose a rule that never abstains")
    sent = {array.partition("/")[0] for array in upload.arrays}
    if uncovered := sorted(sent - mechanism.covers):
        raise ValueError(f"privacy.mechanism: {name} proves nothing about {', '.join(uncovered)}; choose another rule")
