"""Coordinate-wise trimmed mean of the clients' probabilities."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from fedkd import LogitAggregator, ReportStack, Teacher
from fedkd.aggregation.robust import trimmed_mean


@dataclass
class TrimmedMean(LogitAggregator):
    """Per sample and class, the mean without the ``trim`` largest and smallest values, renormalised over the classes.

    Yin et al. 2018, arXiv 1803.01498, on probabilities. Holds against up to ``trim`` clients that collude. Where fewer
    than 2·trim + 1 clients vote, because some are missing or abstain, the trim shrinks to (votes − 1)/2, rounded down:
    the median.

    Uses individual reports: the server sees what each client answers.
    """

    trim: Annotated[int, Field(ge=0)] = 1

    def aggregate(self, stack: ReportStack) -> Teacher:
        mean = trimmed_mean(stack.probabilities.double(), stack.votes.double(), self.trim)
        return Teacher.from_probabilities(mean.float())
