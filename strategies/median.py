"""Coordinate-wise median of the clients' probabilities."""

from dataclasses import dataclass

from fedkd import LogitAggregator, ReportStack, Teacher
from fedkd.aggregation.robust import trimmed_mean


@dataclass
class Median(LogitAggregator):
    """Per sample and class, the median of the voting clients' probabilities, renormalised over the classes.

    Yin et al. 2018, arXiv 1803.01498, on probabilities; of an even number of votes, the mean of the middle two. Holds
    while fewer than half of the voting clients collude. Classes that only a minority believes in lose their share, and
    where no class has a majority that gives it anything the target is uniform.

    Uses individual reports: the server sees what each client answers.
    """

    def aggregate(self, stack: ReportStack) -> Teacher:
        votes = stack.votes.double()
        # The trimmed mean that trims as much as it can.
        return Teacher.from_probabilities(trimmed_mean(stack.probabilities.double(), votes, len(votes)).float())
