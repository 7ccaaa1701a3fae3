"""The secure sum of an experiment's round: its terms, how reports are written as words, and a client's steps in it."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from fedkd.aggregation.strategy import LogitAggregator
from fedkd.config.identity import settled
from fedkd.config.load import to_mapping
from fedkd.config.schema import AuditConfig, EngineConfig, ExperimentConfig, SecureAggregationConfig
from fedkd.core import plugins
from fedkd.core.errors import RunError
from fedkd.core.messages import Host, Job
from fedkd.experiment import Experiment
from fedkd.privacy.secure_noise import SecureNoise
from fedkd.privacy.secure_sum import ProtocolError
from fedkd.privacy.secure_sum.fixed_point import FixedPoint
from fedkd.privacy.secure_sum.identities import Directory, Identity
from fedkd.privacy.secure_sum.key_files import read_directory, read_key
from fedkd.privacy.secure_sum.messages import PREFIX
from fedkd.privacy.secure_sum.terms import Phase, Terms


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


def terms_of(experiment: Experiment, round: int, attempt: int = 1) -> Terms:
    """The terms of a round's sum, which every client works out for itself.

    Raises ``ProtocolError`` for a round that the experiment does not have.
    """
    rounds = experiment.config.rounds
    if not 1 <= round <= rounds:
        raise ProtocolError(f"a secure sum of round {round} was asked for, and the experiment has rounds 1 to {rounds}")
    section, clients = section_of(experiment.config), experiment.sampled(round)
    return Terms(
        run_digest(experiment), round, clients, threshold_of(section, len(clients)), section.colluders, attempt
    )


def directory_of(experiment: Experiment, file: str | None) -> Directory:
    """Everybody's public signing keys: those in ``file``; None: the ones that the experiment's seed gives."""
    if file is None:
        return Directory.seeded(experiment.config.seed)
    return Directory.of(read_directory(Path(file)))


def identity_of(experiment: Experiment, host: Host, client: int) -> Identity:
    """A client's own signing key: what its host keeps, or the one that the experiment's seed gives."""
    if host.keys is None:
        return Identity.seeded(experiment.config.seed, client)
    return read_key(Path(host.keys), client)


def fixed_point_of(experiment: Experiment, *, queries: int, classes: int) -> FixedPoint:
    """How a report of ``queries`` × ``classes`` numbers is written; raises ``ValueError`` when a sum may overflow."""
    section, clients = section_of(experiment.config), experiment.config.clients.per_round
    mechanism = experiment.mechanism
    if isinstance(mechanism, SecureNoise):
        honest = threshold_of(section, clients) - section.colluders
        return mechanism.fixed_point(section.bits, queries=queries, classes=classes, clients=clients, honest=honest)
    bound = summing_strategy(experiment).summand_bound
    if section.bits is None:
        return FixedPoint.finest(clients, bound)
    return FixedPoint(section.bits, clients, bound)


def run_digest(experiment: Experiment) -> bytes:
    """A digest of everything that clients' reports depend on, which stays when a run is resumed elsewhere or longer."""
    config, plain = experiment.config, EngineConfig()
    same = replace(
        config,
        rounds=1,
        controls=(),
        clients=replace(config.clients, min_reports=1),
        data=replace(config.data, root=None, partition=replace(config.data.partition, path=None)),
        student=replace(config.student, init=None),
        privacy=replace(config.privacy, audit=AuditConfig()),
        engine=replace(plain, device=config.engine.device, resources=config.engine.resources),
    )
    content = json.dumps(settled(to_mapping(same)), sort_keys=True)
    return hashlib.sha256(f"{content}\n{experiment.data.public.digest}".encode()).digest()


def summing_strategy(experiment: Experiment) -> LogitAggregator:
    """The strategy whose summands clients send, of which a client uses nothing that keeps a state."""
    strategy: LogitAggregator = experiment.new(plugins.STRATEGY, experiment.config.strategy)
    return strategy
