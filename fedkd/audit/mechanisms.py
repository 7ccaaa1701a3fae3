"""Auditing mechanisms instead of runs: does the noise do what is claimed of it?

Each audit puts a canary, the worst case that the proof allows, in one of two neighbouring data sets, and measures how
well the two can be told apart. The result is a lower bound of ε, with confidence ``level``: above the claimed ε it
refutes the claim; below it, nothing was found, which proves nothing.

Attackers try what catches the usual mistakes: adding up what rounds release (noise too small), turning the canary over
between rounds (noise that is drawn once cancels), and comparing with another client (noise shared by clients cancels).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fedkd.aggregation.strategy import LogitAggregator
from fedkd.aggregation.types import ReportStack
from fedkd.audit.metrics import Confidence, best_epsilon_lower_bound
from fedkd.audit.one_run import one_run_epsilon
from fedkd.core.messages import UNKNOWN_LABEL
from fedkd.core.optimisers import SGD
from fedkd.core.seeding import SERVER
from fedkd.privacy.dp_sgd import PrivateSchedule, train_privately
from fedkd.privacy.mechanism import LogitMechanism, PrivateTraining
from fedkd.privacy.noise import seeded_noise

Stream = Callable[[int, int, int], np.random.Generator]
"""From a seed, a round and a client to the generator that the mechanism draws from."""

CANARY, OTHER = 0, 1
"""The client whose canary is looked for, and another one, about which the attacker knows everything."""


@dataclass(frozen=True)
class MechanismAudit:
    """``epsilon_lower_bound`` at ``delta`` with confidence ``level``, and the ``statistic`` that gave it."""

    epsilon_lower_bound: float
    statistic: str
    delta: float
    level: float

    def refutes(self, epsilon: float) -> bool:
        """Whether a claim of ``epsilon`` at the same δ is refuted."""
        return bool(self.epsilon_lower_bound > epsilon)


def client_stream(seed: int, round: int, client: int) -> np.random.Generator:
    """The noise of a client's mechanism, in the first attempt of a run at each round."""
    return seeded_noise(seed, round=round, client=client, purpose="privacy mechanism", attempt="audit")


def training_stream(seed: int, round: int, client: int) -> np.random.Generator:
    """The noise of a client's private training, likewise."""
    return seeded_noise(seed, round=round, client=client, purpose="private training", attempt="audit")


def teacher_stream(seed: int, round: int, client: int) -> np.random.Generator:
    """The noise of a round's teacher, likewise."""
    return seeded_noise(seed, round=round, client=SERVER, purpose="teacher", attempt="audit")


def audit_logit_mechanism(
    mechanism: LogitMechanism,
    *,
    bound: Confidence,
    queries: int = 20,
    classes: int = 10,
    rounds: int = 2,
    trials: int = 1000,
    stream: Stream = client_stream,
) -> MechanismAudit:
    """What a mechanism that works on a client's logits leaks of that client's data in ``rounds`` rounds together.

    The two data sets are replace-one neighbours: in one the client is as sure as can be of the first class, in the
    other of the second, on every query, turned over from round to round. ``trials`` runs of each.
    """
    _check(trials, rounds)
    direction = torch.zeros(queries, classes)
    direction[:, 0], direction[:, 1] = 1.0, -1.0

    def signals(sign: float, trial: int) -> dict[str, float]:
        total, difference = 0.0, 0.0
        for round in range(1, rounds + 1):
            turn = 1.0 if round % 2 else -1.0
            own = mechanism.privatise(1e3 * sign * turn * direction, stream(trial, round, CANARY))
            other = mechanism.privatise(torch.zeros_like(direction), stream(trial, round, OTHER))
            total += turn * float((own.double() * direction).sum())
            difference += turn * float(((own.double() - other.double()) * direction).sum())
        return {"sum over rounds": total, "difference to another client": difference}

    return _by_trials(signals, trials=trials, bound=bound)


def audit_teacher(
    build: Callable[[], LogitAggregator],
    *,
    bound: Confidence,
    clients: int = 11,
    queries: int = 10,
    classes: int = 3,
    rounds: int = 2,
    trials: int = 1000,
    stream: Stream = teacher_stream,
) -> MechanismAudit:
    """What a teacher with noise leaks of one client's data in ``rounds`` rounds, to those who see its targets.

    The other clients, an even number, are divided equally between the first two classes on every query; the canary's
    client takes one side or the other, as in ``audit_logit_mechanism``. ``build`` returns a fresh teacher.
    """
    _check(trials, rounds)
    if clients % 2 == 0:
        raise ValueError(f"clients must be odd, so that all but one can be divided equally, got {clients}")
    sides = torch.where(torch.arange(clients) % 2 == 0, 1.0, -1.0)
    logits = torch.zeros(clients, queries, classes)

    def signals(sign: float, trial: int) -> dict[str, float]:
        teacher, total = build(), 0.0
        for round in range(1, rounds + 1):
            turn = 1.0 if round % 2 else -1.0
            votes = sides.clone()
            votes[CANARY] = sign * turn
            # All but the canary's client: as many on one side as on the other.
            votes[1:] = sides[1:]
            logits[:, :, 0], logits[:, :, 1] = 1e3 * votes.unsqueeze(1), -1e3 * votes.unsqueeze(1)
            stack = ReportStack(
                logits=logits.clone(),
                examples=torch.ones(clients, dtype=torch.long),
                labels=torch.full((queries,), UNKNOWN_LABEL),
                clients=tuple(range(clients)),
                round=round,
                noise=stream(trial, round, SERVER),
            )
            target = teacher(stack).probabilities.double()
            total += turn * float((target[:, 0] - target[:, 1]).sum())
        return {"sum over rounds": total}

    return _by_trials(signals, trials=trials, bound=bound)


def audit_dp_sgd(
    private: PrivateTraining,
    *,
    bound: Confidence,
    canaries: int = 2000,
    epochs: int = 1,
    batch_size: int | None = None,
    stream: Stream = training_stream,
    trainer: Callable[..., None] = train_privately,
) -> MechanismAudit:
    """What two rounds of private training leak of single records, from one run with many canaries.

    Each canary is an image with one bright pixel of its own, whose gradient is clipped and touches no other's weights
    (the "Dirac" canaries of Nasr et al. 2023, arXiv 2302.07956); each is a record with probability ½. In the second
    round the server sends a model that is already sure of all canaries, so that only noise is left: what is the same in
    both rounds can be taken off. Half of the canaries choose the statistic, the other half give the bound
    (``one_run_epsilon``). Without ``batch_size`` every step takes all records.
    """
    if canaries < 8:
        raise ValueError(f"canaries must be at least 8 for a bound, got {canaries}; hundreds give a good one")
    draw = np.random.default_rng(bound.seed)
    included = draw.random(canaries) < 0.5
    if not included.any():
        raise ValueError(f"none of {canaries} canaries was drawn; use more, or another seed")
    brightness = 10 * private.clip_norm
    inputs = brightness * torch.eye(canaries).reshape(canaries, 1, 1, canaries)
    own = inputs[torch.from_numpy(included)]
    dark = torch.zeros_like(own)

    def moved(start: Tensor, data: Tensor, round: int, client: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        linear = nn.Linear(canaries, 2, bias=False)
        with torch.no_grad():
            linear.weight.copy_(start)
        model = nn.Sequential(nn.Flatten(), linear)
        labels = torch.zeros(len(data), dtype=torch.long)
        trainer(
            model,
            data,
            labels,
            SGD(model.parameters(), 1 / private.clip_norm**2),
            private,
            PrivateSchedule(epochs, len(data) if batch_size is None else batch_size),
            stream(bound.seed, round, client),
        )
        change = (linear.weight.detach() - start).double()
        return np.asarray((change[0] - change[1]).numpy())

    blank = torch.zeros(2, canaries)
    sure = torch.stack([torch.full((canaries,), 20 / brightness), torch.full((canaries,), -20 / brightness)])
    first, second = moved(blank, own, 1, CANARY), moved(sure, own, 2, CANARY)
    other = moved(blank, dark, 1, OTHER)
    statistics = {
        "first round": first,
        "difference of two rounds": first - second,
        "difference to another client": first - other,
    }
    chooses = draw.permutation(canaries) < canaries // 2
    halves = {
        name: one_run_epsilon(values[chooses], included[chooses], delta=bound.delta, level=bound.level)[0]
        for name, values in statistics.items()
    }
    name = max(halves, key=lambda each: halves[each])
    epsilon, _ = one_run_epsilon(statistics[name][~chooses], included[~chooses], delta=bound.delta, level=bound.level)
    return MechanismAudit(epsilon, name, bound.delta, bound.level)


def _by_trials(signals: Callable[[float, int], dict[str, float]], *, trials: int, bound: Confidence) -> MechanismAudit:
    """Both data sets, each trial with a seed of its own."""
    base = bound.seed * 2 * trials
    found = {sign: [signals(sign, base + 2 * trial + (sign > 0)) for trial in range(trials)] for sign in (1.0, -1.0)}
    alternatives = {
        name: (np.array([each[name] for each in found[1.0]]), np.array([each[name] for each in found[-1.0]]))
        for name in found[1.0][0]
    }
    epsilon, name = best_epsilon_lower_bound(alternatives, delta=bound.delta, level=bound.level, seed=bound.seed)
    return MechanismAudit(epsilon, name, bound.delta, bound.level)


def _check(trials: int, rounds: int) -> None:
    if trials < 8:
        raise ValueError(f"trials must be at least 8 for a bound, got {trials}; hundreds give a good one")
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
