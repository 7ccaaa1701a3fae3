"""A strategy that a user may keep in a folder of their own."""

from dataclasses import dataclass

from fedkd import LogitAggregator, ReportStack, Teacher


@dataclass
class Sharper(LogitAggregator):
    """The clients' mean probability, to a power."""

    power: float = 2.0

    def aggregate(self, stack: ReportStack) -> Teacher:
        return Teacher.from_probabilities(stack.probabilities.mean(dim=0) ** self.power)
