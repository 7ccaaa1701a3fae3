"""Aggregation: from the clients' reports to an ensemble teacher."""

from fedkd.aggregation._base import LogitAggregator
from fedkd.aggregation.reports import Expectation, collect_reports, stack_reports
from fedkd.aggregation.voting import vote_shares, voted_mean
from fedkd.types import ReportStack, Teacher

__all__ = [
    "Expectation",
    "LogitAggregator",
    "ReportStack",
    "Teacher",
    "collect_reports",
    "stack_reports",
    "vote_shares",
    "voted_mean",
]
