"""Aggregation strategies: golden numbers by hand, and properties that hold for every one of them."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkd import plugins
from fedkd.aggregation import LogitAggregator, ReportStack, Teacher
from fedkd.types import UNKNOWN_LABEL

NAMES = plugins.names(plugins.TEACHER)


def build(name: str, **options: object) -> LogitAggregator:
    aggregator: LogitAggregator = plugins.build(plugins.TEACHER, name, options)
    return aggregator


def make_stack(
    clients: int = 3, samples: int = 12, classes: int = 4, *, seed: int = 0, scale: float = 2.0
) -> ReportStack:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (samples,), generator=draw)
    labels[samples // 2 :] = UNKNOWN_LABEL
    return ReportStack(
        logits=torch.randn(clients, samples, classes, generator=draw) * scale,
        examples=torch.randint(1, 50, (clients,), generator=draw),
        labels=labels,
        clients=tuple(range(clients)),
        generator=torch.Generator().manual_seed(1),
    )


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
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e2, 1e4])
@pytest.mark.parametrize(("clients", "samples", "classes"), [(1, 2, 2), (1, 9, 5), (2, 40, 3), (7, 30, 10)])
def test_teachers_are_distributions_whatever_the_logits(
    name: str, scale: float, clients: int, samples: int, classes: int
) -> None:
    stack = make_stack(clients, samples, classes, scale=scale)
    teacher = build(name)(stack)
    assert teacher.log_probabilities.shape == (samples, classes)
    assert bool(torch.isfinite(teacher.log_probabilities).all())
    torch.testing.assert_close(teacher.probabilities.sum(1), torch.ones(samples))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), order=st.permutations(range(4)))
def test_the_order_of_the_clients_does_not_matter(name: str, seed: int, order: list[int]) -> None:
    stack = make_stack(4, 10, 3, seed=seed)
    shuffled = replace(stack, logits=stack.logits[order], examples=stack.examples[order])
    torch.testing.assert_close(
        build(name)(stack).probabilities, build(name)(shuffled).probabilities, atol=2e-4, rtol=1e-3
    )


@pytest.mark.parametrize("name", NAMES)
def test_reports_that_are_all_equal_and_right_are_followed(name: str) -> None:
    one = make_stack(1, 40, 4, scale=5.0)
    truth = one.logits[0].argmax(1)
    labels = torch.where(one.labels == UNKNOWN_LABEL, one.labels, truth)
    same = replace(
        one,
        logits=one.logits.expand(5, -1, -1),
        examples=one.examples.expand(5),
        labels=labels,
        clients=(0, 1, 2, 3, 4),
    )
    assert float((build(name)(same).log_probabilities.argmax(1) == truth).float().mean()) > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_client_or_a_mask_leaves_a_teacher(name: str) -> None:
    stack = make_stack(4, 20, 3)
    missing = replace(stack, logits=stack.logits[1:], examples=stack.examples[1:], clients=(1, 2, 3))
    masked = replace(stack, mask=torch.rand(4, 20, generator=torch.Generator().manual_seed(0)) > 0.5)
    for case in (missing, masked, replace(stack, mask=torch.zeros(4, 20, dtype=torch.bool))):
        assert bool(torch.isfinite(build(name)(case).log_probabilities).all())


@pytest.mark.parametrize("name", NAMES)
def test_aggregating_changes_nothing_and_repeats(name: str) -> None:
    stack = make_stack()
    before = stack.logits.clone()
    first, second = build(name)(stack), build(name)(stack)
    assert torch.equal(stack.logits, before)
    assert torch.equal(first.log_probabilities, second.log_probabilities)


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
