"""A client's steps in a secure sum."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from fedkd.client.secure_state import SessionStore
from fedkd.client.secure_terms import (
    directory_of,
    fixed_point_of,
    run_digest,
    section_of,
    summing_strategy,
    terms_of,
    threshold_of,
)
from fedkd.core.errors import RunError
from fedkd.core.messages import Arrays, Job, Reply
from fedkd.core.seeding import numpy_generator
from fedkd.experiment import Experiment
from fedkd.privacy.secure_noise import SecureNoise
from fedkd.privacy.secure_sum import ProtocolError
from fedkd.privacy.secure_sum.client import ClientSession
from fedkd.privacy.secure_sum.entropy import Entropy, SeededEntropy, SystemEntropy
from fedkd.privacy.secure_sum.fixed_point import Words, to_words
from fedkd.privacy.secure_sum.identities import Identity
from fedkd.privacy.secure_sum.messages import PREFIX


def perform_step(experiment: Experiment, job: Job, client: int, released: Callable[[], Tensor]) -> Reply:
    """A client's answer to one step; ``released`` computes its logits of the round, after the mechanism.

    Nothing but the protocol's message is answered: no accuracies, no counts. Raises ``ProtocolError`` for a request
    that would give away more than the sum.
    """
    if job.state_dir is None:
        raise RunError("secure aggregation keeps a client's secrets between its steps, and the job has no state_dir")
    store = SessionStore(job.state_dir, client)
    phase = job.kind.removeprefix(PREFIX)
    terms, seed = terms_of(experiment, job.round), experiment.config.seed
    if phase == "advertise":
        store.begin(job.round)
    entropy = _entropy(experiment, job.round, client, store.sessions)
    session = ClientSession(terms, client, Identity.seeded(seed, client), directory_of(experiment), entropy)
    if phase != "advertise":
        session.restore(store.state(job.round))
    request = {
        name: array
        for name, array in {**job.parameters, **job.personal.get(client, {})}.items()
        if name.startswith(PREFIX)
    }
    answer: Arrays
    match phase:
        case "advertise":
            answer = session.advertise()
        case "share":
            answer = session.share(request)
        case "mask":
            answer = session.mask(request, lambda: _words(experiment, job, client, released(), store))
        case "confirm":
            answer = session.confirm(request)
            store.check_release(terms.run, job.round, session.survivors)
        case "unmask":
            answer = session.unmask(request)
            store.note_release(terms.run, job.round, session.survivors)
        case _:
            raise ValueError(f"job kind must be {PREFIX} and a step of a secure sum, got {job.kind!r}")
    store.save(session.state)
    return Reply(client, answer)


def _words(experiment: Experiment, job: Job, client: int, logits: Tensor, store: SessionStore) -> Words:
    """What the client adds to the sum, before it is masked."""
    config, (queries, classes) = experiment.config, logits.shape
    fixed_point = fixed_point_of(experiment, queries=queries, classes=classes)
    try:
        steps = fixed_point.encode(summing_strategy(experiment).summand(logits).numpy())
    except ValueError as error:
        raise ProtocolError(f"this client's report cannot be summed: {error}") from error
    store.note_report(steps.tobytes())
    mechanism = experiment.mechanism
    if isinstance(mechanism, SecureNoise):
        section = section_of(config)
        honest = threshold_of(section, config.clients.per_round) - section.colluders
        if section.entropy == "seed":
            generator = numpy_generator(config.seed, round=job.round, client=client, purpose="noise of a secure sum")
        else:
            generator = np.random.default_rng(store.noise_seed(run_digest(experiment), job.round))
        steps = mechanism.noised(steps, fixed_point, honest=honest, generator=generator)
    return to_words(steps).ravel()


def _entropy(experiment: Experiment, round: int, client: int, session: int) -> Entropy:
    if section_of(experiment.config).entropy == "system":
        return SystemEntropy()
    return SeededEntropy(experiment.config.seed, round=round, client=client, session=session)
