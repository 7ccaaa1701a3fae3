"""Aggregation: from the clients' reports to an ensemble teacher."""

from fedkd.aggregation._base import LogitAggregator, sums
from fedkd.aggregation.reports import Expectation, collect_reports, stack_reports
from fedkd.aggregation.voting import vote_shares, voted_mean
from fedkd.types import ReportStack, ReportSum, Teacher

__all__ = [
    "Expectation",
    "LogitAggregator",
    "ReportStack",
    "ReportSum",
    "Teacher",
    "collect_reports",
    "stack_reports",
    "sums",
    "vote_shares",
    "voted_mean",
]
