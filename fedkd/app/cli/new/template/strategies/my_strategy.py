"""How the clients' answers become one teacher."""

from dataclasses import dataclass

from fedkd import LogitAggregator, ReportStack, Teacher


@dataclass
class MyStrategy(LogitAggregator):
    """Mean of the clients' probabilities, weighted by their top probability to a power."""

    power: float = 2.0

    def __post_init__(self) -> None:
        if not self.power >= 0:
            raise ValueError(f"power must be at least 0, got {self.power}; 0 is the plain mean")

    def aggregate(self, stack: ReportStack) -> Teacher:
        probabilities = stack.probabilities  # [clients, samples, classes]
        trust = probabilities.amax(dim=-1) ** self.power * stack.votes
        return Teacher.from_probabilities((trust.unsqueeze(-1) * probabilities).sum(dim=0))
