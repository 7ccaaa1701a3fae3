"""Aggregation: from the clients' reports to an ensemble teacher."""

from fedkd.aggregation.strategy import LogitAggregator, sums
from fedkd.aggregation.types import ReportStack, ReportSum, Teacher
from fedkd.aggregation.voting import vote_shares, voted_mean

__all__ = [
    "LogitAggregator",
    "ReportStack",
    "ReportSum",
    "Teacher",
    "sums",
    "vote_shares",
    "voted_mean",
]
