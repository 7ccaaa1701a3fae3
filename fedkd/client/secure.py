"""A client's steps in a secure sum."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from fedkd.client.release import charged_at_home
from fedkd.client.secure_state import SessionStore
from fedkd.client.secure_terms import (
    directory_of,
    fixed_point_of,
    identity_of,
    section_of,
    summing_strategy,
    terms_of,
    threshold_of,
)
from fedkd.core.errors import RunError
from fedkd.core.messages import Arrays, Job, Reply
from fedkd.experiment import Experiment
from fedkd.privacy.noise import keyed_noise, seeded_noise
from fedkd.privacy.secure_noise import SecureNoise
from fedkd.privacy.secure_sum import ProtocolError
from fedkd.privacy.secure_sum.client import ClientSession
from fedkd.privacy.secure_sum.entropy import Entropy, SeededEntropy, SystemEntropy
from fedkd.privacy.secure_sum.fixed_point import Words, to_words
from fedkd.privacy.secure_sum.messages import PREFIX, number_of
from fedkd.privacy.secure_sum.terms import PHASES


def perform_step(experiment: Experiment, job: Job, client: int, released: Callable[[], Tensor]) -> Reply:
    """A client's answer to one step; ``released`` computes its logits of the round, after the mechanism.

    Nothing but the protocol's message is answered: no accuracies, no counts; and ε, where the client keeps a ledger of
    its own. What it has given away is noted, on disk, before the answer leaves it. Raises ``ProtocolError`` for a
    request that would give away more than the sum.
    """
    if job.host is None:
        raise RunError(
            "a client keeps its secrets and the memory of what it released in secure sums where its host says, and it "
            "has none; make the engine by build_engine or over_grid, or give its Workload a memory"
        )
    if (phase := job.kind.removeprefix(PREFIX)) not in PHASES:
        raise ValueError(f"job kind must be {PREFIX} and a step of a secure sum, got {job.kind!r}")
    terms = terms_of(experiment, job.round)
    if client not in terms.clients:
        raise ProtocolError(f"client {client} does not take part in round {job.round}")
    request = {
        name: array
        for name, array in {**job.parameters, **job.personal.get(client, {})}.items()
        if name.startswith(PREFIX)
    }
    with SessionStore.of(job.host.memory, terms.run, client) as store:
        if phase == "advertise":
            store.begin(job.round, number_of(request, "attempt"))
        session = ClientSession(
            replace(terms, attempt=store.attempt),
            client,
            identity_of(experiment, job.host, client),
            directory_of(experiment, job.host.directory),
            _entropy(experiment, job.round, client, store.sessions),
        )
        if phase != "advertise":
            session.restore(store.state(job.round))
        epsilon = None

        def words() -> Words:
            nonlocal epsilon
            logits = released()
            epsilon = charged_at_home(experiment, job, client, logits.shape[0], f"sum {store.attempt}")
            return _words(experiment, client, job, logits, store)

        answer = _answer(phase, experiment, session, store, request, words)
        store.save(session.state)
    return Reply(client, answer, epsilon=epsilon)


def _answer(
    phase: str,
    experiment: Experiment,
    session: ClientSession,
    store: SessionStore,
    request: Arrays,
    words: Callable[[], Words],
) -> Arrays:
    noisy, repeats = isinstance(experiment.mechanism, SecureNoise), section_of(experiment.config).repeats
    match phase:
        case "advertise":
            return session.advertise()
        case "share":
            return session.share(request)
        case "mask":
            return session.mask(request, words)
        case "confirm":
            confirmed = session.confirm(request)
            store.check_release(session.survivors, noisy=noisy, repeats=repeats)
            return confirmed
        case _:
            secrets = session.unmask(request)
            store.check_release(session.survivors, noisy=noisy, repeats=repeats)
            store.note_release(session.survivors)
            return secrets


def _words(experiment: Experiment, client: int, job: Job, logits: Tensor, store: SessionStore) -> Words:
    """What the client adds to the sum, before it is masked."""
    config, (queries, classes) = experiment.config, logits.shape
    fixed_point = fixed_point_of(experiment, queries=queries, classes=classes)
    try:
        steps = fixed_point.encode(summing_strategy(experiment).summand(logits).numpy())
    except ValueError as error:
        raise ProtocolError(f"this client's report cannot be summed: {error}") from error
    report, mechanism = hashlib.sha256(steps.tobytes()).hexdigest(), experiment.mechanism
    store.note_report(report)
    if isinstance(mechanism, SecureNoise):
        section, name = section_of(config), json.dumps([job.round, store.attempt, report])
        if section.entropy == "seed":
            purpose = "noise of a secure sum"
            generator = seeded_noise(config.seed, round=job.round, client=client, purpose=purpose, attempt=name)
        else:
            generator = keyed_noise(store.noise_key(name))
        honest = threshold_of(section, config.clients.per_round) - section.colluders
        steps = mechanism.noised(steps, fixed_point, honest=honest, generator=generator)
    return to_words(steps).ravel()


def _entropy(experiment: Experiment, round: int, client: int, session: int) -> Entropy:
    if section_of(experiment.config).entropy == "system":
        return SystemEntropy()
    return SeededEntropy(experiment.config.seed, round=round, client=client, session=session)
