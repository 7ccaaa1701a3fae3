"""Checks for aggregation strategies of your own.

def test_my_teacher():
    check_aggregator(lambda: MyTeacher(power=2.0))
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from fedkd.aggregation.strategy import LogitAggregator, sums
from fedkd.aggregation.types import ReportStack, ReportSum, Teacher
from fedkd.core import plugins
from fedkd.core.messages import UNKNOWN_LABEL

Build = Callable[[], LogitAggregator]
Case = tuple[str, ReportStack]

SCALES = (0.0, 1.0, 1e2, 1e4)
"""Standard deviations of the logits; reports may hold logits up to 1e4."""


class PropertyError(AssertionError):
    """An aggregator lacks a property that every aggregator must have; ``case`` says on which input."""

    def __init__(self, name: str, case: str, detail: str) -> None:
        self.property = name
        self.case = case
        super().__init__(f"{name}: {detail} (case: {case})")


def make_stack(
    clients: int = 3,
    samples: int = 12,
    classes: int = 4,
    *,
    seed: int = 0,
    scale: float = 2.0,
    abstain: float = 0.0,
) -> ReportStack:
    """A valid random stack: Gaussian logits of standard deviation ``scale``, the first half of the samples labelled.

    The clients hold up to 19 private samples of each class, often none. ``abstain`` is the probability that a client
    abstains from a sample, 0 for no mask; somebody always votes.
    """
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (samples,), generator=draw)
    labels[samples // 2 :] = UNKNOWN_LABEL
    mask = None
    if abstain > 0:
        mask = torch.rand(clients, samples, generator=draw) >= abstain
        mask[torch.randint(clients, (samples,), generator=draw), torch.arange(samples)] = True
    return ReportStack(
        logits=(torch.randn(clients, samples, classes, generator=draw) * scale).clamp(-1e4, 1e4),
        examples=torch.randint(1, 50, (clients,), generator=draw),
        labels=labels,
        clients=tuple(range(clients)),
        mask=mask,
        generator=torch.Generator().manual_seed(seed + 1),
        noise=np.random.default_rng(seed + 1),
        label_counts=torch.randint(-10, 20, (clients, classes), generator=draw).clamp_min(0),
    )


def select_clients(stack: ReportStack, chosen: Sequence[int], *, relabel: bool = False) -> ReportStack:
    """The stack of the clients at the positions ``chosen``; ``relabel`` gives them the first ids, whatever their order.

    The generator is a copy, so that what is drawn from one stack does not show in the other.
    """
    index = list(chosen)
    return dataclasses.replace(
        stack,
        logits=stack.logits[index],
        examples=stack.examples[index],
        mask=None if stack.mask is None else stack.mask[index],
        clients=stack.clients[: len(index)] if relabel else tuple(stack.clients[index] for index in index),
        label_counts=None if stack.label_counts is None else stack.label_counts[index],
        generator=_copy_generator(stack.generator),
        noise=copy.deepcopy(stack.noise),
    )


def check_aggregator(
    build: Build | str,
    *,
    clients: int = 5,
    samples: int = 24,
    classes: int = 4,
    seeds: Sequence[int] = (0, 1),
    tolerance: float = 1e-3,
) -> None:
    """Check what every aggregator must do; raises ``PropertyError`` naming the first property that fails, and the case.

    ``build`` returns a fresh instance at every call, or is what ``strategy.name`` would be. Random stacks of
    ``clients`` ≥ 3 by ``samples`` by ``classes``, one per seed, are tried for: distributions whatever the logits
    (scales 0 to 1e4, one client, a client missing), no influence of the clients' order, no influence of abstaining
    clients, a teacher where everybody abstains, agreement followed, no change to the stack, equal results from equal
    inputs, a state that can be saved and taken up, and no influence of example counts that are not declared as
    needed. Targets of the clients' own have to be distributions too, and to follow the clients into another order. A
    strategy that works on secure sums has to make the same of a sum as of the reports.
    ``tolerance`` is the largest difference between probabilities taken as equal.
    """
    if clients < 3:
        raise ValueError(f"clients must be at least 3 for the checks to tell anything, got {clients}; raise it")
    if isinstance(build, str):
        build = plugins.resolve(plugins.STRATEGY, build)
    for seed in seeds:
        for case, stack in _distribution_cases(clients, samples, classes, seed):
            _aggregate(build(), stack, "distribution whatever the logits", case)
        for case, stack in _abstention_cases(clients, samples, classes, seed):
            _aggregate(build(), stack, "a teacher whoever abstains", case)
        for case, stack in _plain_cases(clients, samples, classes, seed):
            _check_order(build, stack, case, seed, tolerance)
            _check_purity(build, stack, case)
            _check_repeats(build, stack, case)
            _check_state(build, stack, case)
            _check_examples(build, stack, case, tolerance)
        _check_abstention_is_silence(
            build, make_stack(clients, samples, classes, seed=seed, abstain=0.4), seed, tolerance
        )
        _check_agreement(build, clients, samples, classes, seed)
        _check_sum(build, make_stack(clients, samples, classes, seed=seed), seed, tolerance)


def _distribution_cases(clients: int, samples: int, classes: int, seed: int) -> Iterator[Case]:
    for scale in SCALES:
        for shape in ((1, 2, 2), (2, samples, 3), (clients, samples, classes), (7, 5, 10)):
            yield f"logits {list(shape)} of scale {scale:g}, seed {seed}", make_stack(*shape, seed=seed, scale=scale)
    full = make_stack(clients, samples, classes, seed=seed)
    for absent in (0, clients - 1):
        present = [index for index in range(clients) if index != absent]
        yield f"client {absent} missing, seed {seed}", select_clients(full, present)


def _abstention_cases(clients: int, samples: int, classes: int, seed: int) -> Iterator[Case]:
    stack = make_stack(clients, samples, classes, seed=seed, abstain=0.5)
    yield f"half of the votes masked, seed {seed}", stack
    if stack.mask is not None:
        alone = stack.mask.clone()
        alone[0] = False
        yield f"client 0 abstains throughout, seed {seed}", dataclasses.replace(stack, mask=alone)
        nobody = stack.mask.clone()
        nobody[:, : samples // 2] = False
        yield f"everybody abstains from half of the samples, seed {seed}", dataclasses.replace(stack, mask=nobody)
    yield (
        f"everybody abstains throughout, seed {seed}",
        dataclasses.replace(stack, mask=torch.zeros(clients, samples, dtype=torch.bool)),
    )


def _plain_cases(clients: int, samples: int, classes: int, seed: int) -> Iterator[Case]:
    yield f"{clients} clients, seed {seed}", make_stack(clients, samples, classes, seed=seed)
    masked = make_stack(clients, samples, classes, seed=seed, abstain=0.3)
    yield f"{clients} clients with abstentions, seed {seed}", masked


def _check_order(build: Build, stack: ReportStack, case: str, seed: int, tolerance: float) -> None:
    name = "the order of the clients does not matter"
    expected = _aggregate(build(), _copy(stack), name, case)
    order = torch.randperm(len(stack.clients), generator=torch.Generator().manual_seed(seed)).tolist()
    for places in (order, list(reversed(range(len(order))))):
        found = _aggregate(build(), select_clients(stack, places, relabel=True), name, case)
        _compare(name, f"{case}, order {places}", _in_order(expected, places), found, tolerance)


def _check_purity(build: Build, stack: ReportStack, case: str) -> None:
    name = "the stack is not changed"
    given = _copy(stack)
    _aggregate(build(), given, name, case)
    for field in ("logits", "examples", "labels", "mask", "label_counts"):
        before, after = getattr(stack, field), getattr(given, field)
        if before is not None and not torch.equal(before, after):
            raise PropertyError(name, case, f"aggregate wrote to stack.{field}; work on a copy")


def _check_repeats(build: Build, stack: ReportStack, case: str) -> None:
    name = "equal inputs give equal teachers"
    # Whoever draws from torch's global generator instead of the stack's gets different numbers the second time.
    first, second = (_aggregate(build(), _copy(stack), name, case) for _ in range(2))
    if not _identical(first, second):
        raise PropertyError(name, case, "two fresh instances differ; draw from stack.generator, and share no state")


def _check_state(build: Build, stack: ReportStack, case: str) -> None:
    name = "the state can be saved and taken up"
    going_on, resumed = build(), build()
    fewer = select_clients(stack, range(1, len(stack.clients)))
    _aggregate(going_on, _copy(stack), name, f"{case}, round 1")
    state = copy.deepcopy(going_on.state_dict())
    other = dataclasses.replace(_copy(stack), logits=stack.logits.flip(1), round=3)
    resumed.load_state_dict(copy.deepcopy(state))
    for round, given in ((2, dataclasses.replace(fewer, round=2)), (3, other)):
        kept = _aggregate(going_on, _copy(given), name, f"{case}, round {round}")
        taken_up = _aggregate(resumed, _copy(given), name, f"{case}, round {round} after loading")
        if not _identical(kept, taken_up):
            raise PropertyError(
                name,
                f"{case}, round {round}",
                "an instance with the state loaded differs; return all of it in state_dict",
            )


def _check_examples(build: Build, stack: ReportStack, case: str, tolerance: float) -> None:
    name = "example counts matter only to a strategy with needs_examples"
    if build().needs_examples:
        return
    other = dataclasses.replace(_copy(stack), examples=stack.examples.flip(0) + 7)
    expected = _aggregate(build(), _copy(stack), name, case)
    _compare(name, case, expected, _aggregate(build(), other, name, case), tolerance)


def _check_abstention_is_silence(build: Build, stack: ReportStack, seed: int, tolerance: float) -> None:
    name, case = "abstaining clients have no influence", f"logits changed where clients abstain, seed {seed}"
    noise = torch.randn(stack.logits.shape, generator=torch.Generator().manual_seed(seed)) * 5.0
    spoken = torch.where(stack.votes.unsqueeze(-1) > 0, stack.logits, noise)
    changed = dataclasses.replace(_copy(stack), logits=spoken)
    expected = _aggregate(build(), _copy(stack), name, case)
    _compare(name, case, expected, _aggregate(build(), changed, name, case), tolerance)


def _check_agreement(build: Build, clients: int, samples: int, classes: int, seed: int) -> None:
    name, case = "reports that are all equal, and right, are followed", f"{clients} equal reports, seed {seed}"
    one = make_stack(1, max(samples, 40), classes, seed=seed, scale=5.0)
    truth = one.logits[0].argmax(dim=1)
    same = dataclasses.replace(
        one,
        logits=one.logits.repeat(clients, 1, 1),
        examples=one.examples.repeat(clients),
        label_counts=None if one.label_counts is None else one.label_counts.repeat(clients, 1),
        labels=torch.where(one.labels == UNKNOWN_LABEL, one.labels, truth),
        clients=tuple(range(clients)),
    )
    target = _aggregate(build(), same, name, case).log_probabilities
    share = float((target.argmax(dim=1) == truth).float().mean())
    if share < 0.9:
        raise PropertyError(name, case, f"the target's top class is the clients' on {share:.0%} of the samples only")


def _check_sum(build: Build, stack: ReportStack, seed: int, tolerance: float) -> None:
    if not sums(type(build())):
        return
    name, case = "the same teacher from a sum of summands as from the reports", f"seed {seed}"
    summands = [build().summand(logits).double() for logits in stack.logits]
    bound, largest = build().summand_bound, max(float(summand.abs().max()) for summand in summands)
    if not largest <= bound:
        raise PropertyError(name, case, f"a summand of {largest:g} exceeds summand_bound = {bound:g}")
    total = torch.stack(summands).sum(dim=0)
    draws = _copy_generator(stack.generator), copy.deepcopy(stack.noise)
    reports = ReportSum(total, len(summands), stack.labels, stack.round, *draws)
    _compare(name, case, _aggregate(build(), _copy(stack), name, case), build().from_sum(reports), tolerance)


def _aggregate(aggregator: LogitAggregator, stack: ReportStack, name: str, case: str) -> Teacher:
    try:
        teacher = aggregator(stack)
    except Exception as error:
        raise PropertyError(name, case, f"{type(error).__name__}: {error}") from error
    if teacher.client_log_probabilities is not None:
        off = float((teacher.client_log_probabilities.exp().sum(dim=-1) - 1.0).abs().max())
        if not off <= 1e-4:
            raise PropertyError(name, case, f"the clients' own targets sum to 1 only within {off:.2g}; normalise them")
    return teacher


def _in_order(teacher: Teacher, places: Sequence[int]) -> Teacher:
    """The teacher for the same clients in another order."""
    personal = teacher.client_log_probabilities
    return dataclasses.replace(teacher, client_log_probabilities=None if personal is None else personal[list(places)])


def _identical(first: Teacher, second: Teacher) -> bool:
    """Whether all targets are equal, bit by bit."""
    return all(torch.equal(one, other) for one, other in _targets(first, second, "identical").values())


def _compare(name: str, case: str, expected: Teacher, found: Teacher, tolerance: float) -> None:
    for what, (first, second) in _targets(expected, found, name).items():
        gap = float((first - second).abs().max())
        if not gap <= tolerance:
            raise PropertyError(name, case, f"{what} differ by {gap:.2g}, more than {tolerance:g}")


def _targets(first: Teacher, second: Teacher, name: str) -> dict[str, tuple[Tensor, Tensor]]:
    """What two teachers are compared by; raises ``PropertyError`` when only one has targets for each client."""
    pairs = {
        "probabilities": (first.probabilities, second.probabilities),
        "sample_weight": (first.sample_weight, second.sample_weight),
    }
    personal, other = first.client_log_probabilities, second.client_log_probabilities
    if (personal is None) != (other is None):
        raise PropertyError(name, "the clients' own targets", "one of two teachers has them and the other has none")
    if personal is not None and other is not None:
        pairs["the clients' own targets"] = (personal.exp(), other.exp())
    return pairs


def _copy(stack: ReportStack) -> ReportStack:
    return dataclasses.replace(
        stack,
        logits=stack.logits.clone(),
        examples=stack.examples.clone(),
        labels=stack.labels.clone(),
        mask=None if stack.mask is None else stack.mask.clone(),
        generator=_copy_generator(stack.generator),
        noise=copy.deepcopy(stack.noise),
        label_counts=None if stack.label_counts is None else stack.label_counts.clone(),
    )


def _copy_generator(generator: torch.Generator | None) -> torch.Generator | None:
    return None if generator is None else torch.Generator().set_state(generator.get_state())
