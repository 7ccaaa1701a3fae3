"""Strategies that work on secure sums: what they are held to, and what they refuse."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from fedkd.aggregation.strategy import LogitAggregator, sums
from fedkd.aggregation.testing import PropertyError, check_aggregator
from fedkd.aggregation.types import ReportStack, ReportSum, Teacher
from fedkd.core import plugins


@dataclass
class Mean(LogitAggregator):
    """A strategy of one's own, as short as can be."""

    needs_individual_reports: ClassVar[bool] = False

    def aggregate(self, stack: ReportStack) -> Teacher:
        votes = stack.votes.double().unsqueeze(-1)
        return Teacher.from_probabilities((votes * stack.probabilities).sum(dim=0).float())

    def aggregate_sum(self, reports: ReportSum) -> Teacher:
        return Teacher.from_probabilities(reports.mean.float())


@dataclass
class WrongScale(Mean):
    def aggregate_sum(self, reports: ReportSum) -> Teacher:
        return Teacher.from_logits(reports.mean.float())


@dataclass
class WrongSummand(Mean):
    def summand(self, logits: Tensor) -> Tensor:
        return logits


def build(name: str) -> LogitAggregator:
    found: LogitAggregator = plugins.build(plugins.STRATEGY, name, {})
    return found


SUM = ReportSum(torch.tensor([[2.0, 1.0], [0.5, 2.5]]), 3, torch.tensor([1, -1]))


def test_a_strategy_that_makes_the_same_of_both_passes() -> None:
    check_aggregator(Mean)
    assert torch.allclose(Mean().from_sum(SUM).probabilities, torch.tensor([[2 / 3, 1 / 3], [1 / 6, 5 / 6]]))


@pytest.mark.parametrize(
    ("broken", "part"), [(WrongScale, "probabilities differ by"), (WrongSummand, "exceeds summand_bound = 1")]
)
def test_one_that_does_not_is_caught(broken: type[LogitAggregator], part: str) -> None:
    with pytest.raises(PropertyError) as caught:
        check_aggregator(broken)
    assert caught.value.property == "the same teacher from a sum of summands as from the reports"
    assert part in str(caught.value)


@pytest.mark.parametrize("name", ["stacked", "mean_logits", "median"])
def test_others_refuse_a_sum(name: str) -> None:
    assert not sums(type(build(name)))
    with pytest.raises(ValueError, match="makes no teacher of a sum; choose a strategy that does"):
        build(name).from_sum(SUM)


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (replace(SUM, total=torch.zeros(2, 0)), "none of them 0"),
        (replace(SUM, total=torch.full((2, 2), torch.nan)), "finite"),
        (replace(SUM, count=0), "at least one report, got one of 0"),
        (replace(SUM, labels=torch.tensor([1, 2])), r"\[−1, 1\]"),
    ],
)
def test_a_malformed_sum_is_refused(bad: ReportSum, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        build("mean_probabilities").from_sum(bad)


def test_noisy_teachers_need_the_noise_of_a_sum_too() -> None:
    with pytest.raises(ValueError, match="pass noise="):
        build("gnmax").from_sum(SUM)
