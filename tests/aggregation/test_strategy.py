"""Aggregation strategies: golden numbers by hand, and properties that hold for every one of them."""

import math
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkd.aggregation.strategy import LogitAggregator
from fedkd.aggregation.testing import PropertyError, check_aggregator, make_stack
from fedkd.aggregation.types import ReportStack, Teacher
from fedkd.core import plugins
from fedkd.core.messages import UNKNOWN_LABEL

NAMES = plugins.names(plugins.STRATEGY)


def build(name: str, **options: object) -> LogitAggregator:
    aggregator: LogitAggregator = plugins.build(plugins.STRATEGY, name, options)
    return aggregator


def log_probabilities(rows: list[list[list[float]]]) -> torch.Tensor:
    return torch.tensor(rows).log()


TWO = ReportStack(
    logits=log_probabilities([[[0.8, 0.2]], [[0.4, 0.6]]]),
    examples=torch.tensor([1, 3]),
    labels=torch.tensor([-1]),
    clients=(0, 1),
)


def test_mean_probabilities_by_hand() -> None:
    torch.testing.assert_close(build("mean_probabilities")(TWO).probabilities, torch.tensor([[0.6, 0.4]]))


def test_weighted_by_hand() -> None:
    # (1·0.8 + 3·0.4)/4 = 0.5
    torch.testing.assert_close(build("weighted")(TWO).probabilities, torch.tensor([[0.5, 0.5]]))


def test_mean_logits_by_hand() -> None:
    # The geometric mean: √(0.8·0.4) : √(0.2·0.6) = √0.32 : √0.12
    ratio = math.sqrt(0.32) / math.sqrt(0.12)
    expected = torch.tensor([[ratio / (1 + ratio), 1 / (1 + ratio)]])
    torch.testing.assert_close(build("mean_logits")(TWO).probabilities, expected)


def test_a_mask_takes_a_client_out_of_a_sample_only() -> None:
    stack = replace(make_stack(2, 2, 3), mask=torch.tensor([[True, False], [True, True]]))
    teacher = build("mean_probabilities")(stack)
    torch.testing.assert_close(teacher.probabilities[1], stack.probabilities[1, 1])
    torch.testing.assert_close(teacher.probabilities[0], stack.probabilities[:, 0].mean(0))


def test_stacked_learns_whom_to_believe_about_what() -> None:
    """Client 0 knows class 0 from the rest, client 1 is confidently wrong, client 2 knows classes 1 and 2."""
    draw = torch.Generator().manual_seed(0)
    truth = torch.randint(3, (600,), generator=draw)
    logits = torch.randn(3, 600, 3, generator=draw)
    logits[0, :, 0] += torch.where(truth == 0, 3.0, -3.0)
    logits[1].scatter_add_(1, ((truth + 1) % 3).unsqueeze(1), torch.full((600, 1), 6.0))
    logits[2].scatter_add_(1, truth.unsqueeze(1), torch.where(truth == 0, 0.0, 3.0).unsqueeze(1))
    labels = truth.clone()
    labels[100:] = UNKNOWN_LABEL
    stack = ReportStack(logits, torch.ones(3, dtype=torch.long), labels, (0, 1, 2))

    def unlabelled_accuracy(name: str, **options: str) -> float:
        return float((build(name, **options)(stack).log_probabilities.argmax(1)[100:] == truth[100:]).float().mean())

    assert unlabelled_accuracy("stacked") > 0.95
    assert unlabelled_accuracy("stacked", weights="full") > unlabelled_accuracy("stacked", weights="client")
    assert unlabelled_accuracy("mean_probabilities") < 0.5


@pytest.mark.parametrize("weights", ["client", "class", "full"])
def test_stacked_with_a_strong_ridge_is_the_unweighted_log_linear_pool(weights: str) -> None:
    stack = make_stack()
    pooled = stack.logits.log_softmax(-1).mean(0).softmax(-1)
    torch.testing.assert_close(
        build("stacked", ridge=1e6, weights=weights)(stack).probabilities, pooled, atol=1e-4, rtol=0
    )


def test_stacked_says_what_it_needs() -> None:
    stack = replace(make_stack(), labels=torch.full((12,), UNKNOWN_LABEL))
    with pytest.raises(ValueError, match=r"needs labelled public samples.*data\.public\.labelled"):
        build("stacked")(stack)


@pytest.mark.parametrize("name", NAMES)
def test_every_teacher_has_the_properties_of_one(name: str) -> None:
    check_aggregator(lambda: build(name))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cronus", {"share": 0.45}),
        ("exp_guard", {"step": 20.0}),
        ("krum", {"malicious": 3}),
        ("multi_krum", {"keep": 2}),
        ("trimmed_mean", {"trim": 0}),
        ("trimmed_mean", {"trim": 5}),
    ],
)
def test_options_keep_the_properties(name: str, options: dict[str, object]) -> None:
    check_aggregator(lambda: build(name, **options), clients=7, samples=10)


@pytest.mark.parametrize("weights", ["client", "full"])
def test_every_form_of_stacking_keeps_the_properties(weights: str) -> None:
    check_aggregator(lambda: build("stacked", weights=weights, ridge=1.0), seeds=(0,))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), clients=st.integers(3, 6))
def test_the_properties_hold_for_any_seed(seed: int, clients: int) -> None:
    for name in ("cronus", "geometric_median", "krum", "median", "mean_probabilities", "weighted"):
        check_aggregator(partial(build, name), clients=clients, samples=8, seeds=(seed,))


OWN = """
from dataclasses import dataclass
from fedkd.aggregation import LogitAggregator, ReportStack, Teacher

@dataclass
class MyTeacher(LogitAggregator):
    power: float = 2.0

    def aggregate(self, stack: ReportStack) -> Teacher:
        p = stack.probabilities
        trust = p.amax(dim=-1) ** self.power * stack.votes
        return Teacher.from_probabilities((trust.unsqueeze(-1) * p).sum(dim=0))
"""


def test_a_strategy_from_outside_passes_the_same_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_mod.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_mod", raising=False)
    check_aggregator(lambda: plugins.build(plugins.STRATEGY, "my_mod:MyTeacher", {}))


class FirstClient(LogitAggregator):
    def aggregate(self, stack: ReportStack) -> Teacher:
        return Teacher.from_logits((stack.votes.unsqueeze(-1) * stack.logits)[0])


class NotANumber(LogitAggregator):
    def aggregate(self, stack: ReportStack) -> Teacher:
        return Teacher(stack.logits[0] * torch.nan, torch.ones(stack.logits.shape[1]))


class Overflowing(LogitAggregator):
    def aggregate(self, stack: ReportStack) -> Teacher:
        odds = stack.logits.exp().mean(dim=0)
        return Teacher((odds / odds.sum(dim=-1, keepdim=True)).log(), torch.ones(len(odds)))


class Writing(LogitAggregator):
    def aggregate(self, stack: ReportStack) -> Teacher:
        probabilities = stack.logits.sub_(stack.logits.amax(dim=-1, keepdim=True)).softmax(dim=-1)
        votes = stack.votes.unsqueeze(-1)
        return Teacher.from_probabilities((votes * probabilities).sum(dim=0) / votes.sum(dim=0))


class DividingByNobody(LogitAggregator):
    def aggregate(self, stack: ReportStack) -> Teacher:
        mask = torch.ones_like(stack.votes) if stack.mask is None else stack.mask.float()
        return Teacher.from_logits((mask.unsqueeze(-1) * stack.logits).sum(dim=0) / mask.sum(dim=0).unsqueeze(-1))


class DeafToMasks(LogitAggregator):
    def aggregate(self, stack: ReportStack) -> Teacher:
        return Teacher.from_logits(stack.logits.mean(dim=0))


class Gambling(LogitAggregator):
    def aggregate(self, stack: ReportStack) -> Teacher:
        return Teacher.from_logits(torch.randn(stack.logits.shape[1:]) * 1e-5)


class Contrary(LogitAggregator):
    def aggregate(self, stack: ReportStack) -> Teacher:
        return Teacher.from_logits(-(stack.votes.unsqueeze(-1) * stack.logits).mean(dim=0))


class Forgetful(LogitAggregator):
    def __init__(self) -> None:
        self.rounds = 0

    def aggregate(self, stack: ReportStack) -> Teacher:
        self.rounds += 1
        return Teacher.from_logits((stack.votes.unsqueeze(-1) * stack.logits).mean(dim=0) / self.rounds)


@pytest.mark.parametrize(
    ("broken", "property", "part"),
    [
        (FirstClient, "the order of the clients does not matter", "order ["),
        (NotANumber, "distribution whatever the logits", "not finite"),
        (Overflowing, "distribution whatever the logits", "scale 100"),
        (Writing, "the stack is not changed", "stack.logits"),
        (DividingByNobody, "a teacher whoever abstains", "everybody abstains"),
        (DeafToMasks, "abstaining clients have no influence", "probabilities differ"),
        (Gambling, "equal inputs give equal teachers", "stack.generator"),
        (Contrary, "reports that are all equal, and right, are followed", "0% of the samples"),
        (Forgetful, "the state can be saved and taken up", "round 2"),
    ],
)
def test_broken_strategies_are_caught_by_name(broken: type[LogitAggregator], property: str, part: str) -> None:
    with pytest.raises(PropertyError) as caught:
        check_aggregator(broken)
    assert caught.value.property == property
    assert part in str(caught.value)
    assert caught.value.case in str(caught.value)


def test_too_few_clients_to_tell_are_refused() -> None:
    with pytest.raises(ValueError, match="clients must be at least 3"):
        check_aggregator(lambda: build("median"), clients=2)


def test_stacks_for_checks_are_valid_and_repeat() -> None:
    stack, again = (make_stack(3, 20, 4, seed=5, abstain=0.9) for _ in range(2))
    assert stack.mask is not None
    assert bool(stack.mask.any(dim=0).all())
    assert not bool(stack.mask.all())
    assert torch.equal(stack.logits, again.logits)
    build("mean_probabilities")(stack)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"logits": torch.full((3, 12, 4), torch.nan)}, "finite"),
        ({"logits": torch.zeros(12, 4)}, "clients, samples, classes"),
        ({"examples": torch.tensor([1, 2])}, "examples"),
        ({"examples": torch.tensor([1, 2, -1])}, "examples"),
        ({"labels": torch.full((12,), 4)}, "labels must lie"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, "one per sample"),
        ({"clients": (2, 1, 0)}, "rising order"),
        ({"clients": (0, 0, 1)}, "distinct"),
        ({"mask": torch.ones(3, 3, dtype=torch.bool)}, "mask"),
    ],
)
def test_malformed_stacks_are_refused(change: dict[str, object], part: str) -> None:
    stack = make_stack()
    broken = object.__new__(ReportStack)
    broken.__dict__.update({**vars(stack), **change})
    with pytest.raises(ValueError, match=part):
        build("mean_probabilities")(broken)


class Broken(LogitAggregator):
    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher

    def aggregate(self, stack: ReportStack) -> Teacher:
        return self.teacher


@pytest.mark.parametrize(
    ("teacher", "part"),
    [
        (Teacher(torch.zeros(12, 4), torch.ones(12)), "sum to one"),
        (Teacher(torch.full((12, 4), -torch.inf), torch.ones(12)), "not finite"),
        (Teacher.from_logits(torch.zeros(11, 4)), "samples, classes"),
        (Teacher.from_logits(torch.zeros(12, 4), sample_weight=-torch.ones(12)), "weight"),
    ],
)
def test_a_strategy_that_returns_no_distribution_is_told_so(teacher: Teacher, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        Broken(teacher)(make_stack())
