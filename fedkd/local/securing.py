"""The secure sum of an experiment's round: its terms, how reports are written as words, and a client's steps in it."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from torch import Tensor

from fedkd import plugins
from fedkd.aggregation import LogitAggregator
from fedkd.config import EngineConfig, ExperimentConfig, SecureAggregationConfig, to_json
from fedkd.errors import RunError
from fedkd.local.secure_store import SessionStore
from fedkd.local.workspace import Workspace
from fedkd.privacy import SecureNoise
from fedkd.secure import (
    ClientSession,
    Directory,
    Entropy,
    FixedPoint,
    Identity,
    Phase,
    ProtocolError,
    SeededEntropy,
    SystemEntropy,
    Terms,
)
from fedkd.secure.fixed_point import Words, to_words
from fedkd.secure.messages import PREFIX
from fedkd.seeding import numpy_generator
from fedkd.types import Arrays, Job, Outcome


def job_kind(phase: Phase) -> str:
    """The ``Job.kind`` of a step."""
    return PREFIX + phase


def is_secure(job: Job) -> bool:
    """Whether the job is a step of a secure sum."""
    return job.kind.startswith(PREFIX)


def threshold_of(section: SecureAggregationConfig, clients: int) -> int:
    """The least number of clients in a sum: the nearest whole number to threshold × clients, at most all."""
    return min(clients, int(section.threshold * clients + 0.5))


def section_of(config: ExperimentConfig) -> SecureAggregationConfig:
    """``privacy.secure_aggregation``; raises ``RunError`` where it is null."""
    section = config.privacy.secure_aggregation
    if section is None:
        raise RunError("a secure sum was asked for and privacy.secure_aggregation is null; set it, or ask for a round")
    return section


def terms_of(place: Workspace, round: int) -> Terms:
    """The terms of a round's sum, which every client works out for itself."""
    section, clients = section_of(place.config), place.sampled(round)
    return Terms(_run_of(place), round, clients, threshold_of(section, len(clients)), section.colluders)


def directory_of(place: Workspace) -> Directory:
    """Everybody's public signing keys."""
    return Directory.seeded(place.config.seed)


def fixed_point_of(config: ExperimentConfig, *, queries: int, classes: int) -> FixedPoint:
    """How a report of ``queries`` × ``classes`` numbers is written; raises ``ValueError`` when a sum may overflow."""
    section, clients = section_of(config), config.clients.per_round
    spec = config.privacy.mechanism
    mechanism = plugins.build(plugins.MECHANISM, spec.name, spec.options)
    if isinstance(mechanism, SecureNoise):
        honest = threshold_of(section, clients) - section.colluders
        return mechanism.fixed_point(section.bits, queries=queries, classes=classes, clients=clients, honest=honest)
    bound = _aggregator(config).summand_bound
    if section.bits is None:
        return FixedPoint.finest(clients, bound)
    return FixedPoint(section.bits, clients, bound)


def perform_step(place: Workspace, job: Job, client: int, released: Callable[[], Tensor]) -> Outcome:
    """A client's answer to one step; ``released`` computes its logits of the round, after the mechanism.

    Nothing but the protocol's message is answered: no accuracies, no counts. Raises ``ProtocolError`` for a request
    that would give away more than the sum.
    """
    if job.state_dir is None:
        raise RunError("secure aggregation keeps a client's secrets between its steps, and the job has no state_dir")
    store = SessionStore(job.state_dir, client)
    phase = job.kind.removeprefix(PREFIX)
    terms, seed = terms_of(place, job.round), place.config.seed
    if phase == "advertise":
        store.begin(job.round)
    entropy = _entropy(place, job.round, client, store.sessions)
    session = ClientSession(terms, client, Identity.seeded(seed, client), directory_of(place), entropy)
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
            answer = session.mask(request, lambda: _words(place, job, client, released(), store))
        case "confirm":
            answer = session.confirm(request)
            store.check_release(terms.run, job.round, session.survivors)
        case "unmask":
            answer = session.unmask(request)
            store.note_release(terms.run, job.round, session.survivors)
        case _:
            raise ValueError(f"job kind must be {PREFIX} and a step of a secure sum, got {job.kind!r}")
    store.save(session.state)
    return Outcome(client, answer)


def _run_of(place: Workspace) -> bytes:
    """A digest of everything that clients' reports depend on, which stays when a run is resumed elsewhere or longer."""
    config, plain = place.config, EngineConfig()
    same = replace(
        config,
        rounds=1,
        controls=(),
        clients=replace(config.clients, min_reports=1),
        data=replace(config.data, root=None),
        engine=replace(plain, device=config.engine.device, resources=config.engine.resources),
    )
    return hashlib.sha256(f"{to_json(same)}\n{place.data.public.digest}".encode()).digest()


def _words(place: Workspace, job: Job, client: int, logits: Tensor, store: SessionStore) -> Words:
    """What the client adds to the sum, before it is masked."""
    config, (queries, classes) = place.config, logits.shape
    fixed_point = fixed_point_of(config, queries=queries, classes=classes)
    try:
        steps = fixed_point.encode(_aggregator(config).summand(logits).numpy())
    except ValueError as error:
        raise ProtocolError(f"this client's report cannot be summed: {error}") from error
    store.note_report(steps.tobytes())
    mechanism = place.mechanism
    if isinstance(mechanism, SecureNoise):
        section = section_of(config)
        honest = threshold_of(section, config.clients.per_round) - section.colluders
        if section.entropy == "seed":
            generator = numpy_generator(config.seed, round=job.round, client=client, purpose="noise of a secure sum")
        else:
            generator = np.random.default_rng(store.noise_seed(_run_of(place), job.round))
        steps = mechanism.noised(steps, fixed_point, honest=honest, generator=generator)
    return to_words(steps).ravel()


def _entropy(place: Workspace, round: int, client: int, session: int) -> Entropy:
    if section_of(place.config).entropy == "system":
        return SystemEntropy()
    return SeededEntropy(place.config.seed, round=round, client=client, session=session)


def _aggregator(config: ExperimentConfig) -> LogitAggregator:
    built: LogitAggregator = plugins.build(plugins.TEACHER, config.teacher.name, config.teacher.options)
    return built
