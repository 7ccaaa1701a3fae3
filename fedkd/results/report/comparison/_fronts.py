"""Pareto fronts: the groups of which no other is both as cheap and as accurate, and better in one of the two."""

from fedkd.results.report.comparison._groups import Group, Labelled
from fedkd.results.report.comparison._measures import EPSILON

COSTS = {"megabytes_up": "bytes up", EPSILON: "ε", "wall_seconds": "seconds"}
"""What is weighed against the student's test accuracy, by the name of its measure."""


def cost_of(group: Group, name: str) -> float | None:
    """The mean over seeds; of ε, which is a bound, the largest. None where no run has it."""
    if name == EPSILON:
        return max(group.by_seed(name).values(), default=None)
    found = group.estimate(name)
    return None if found is None else found.mean


def front(groups: Labelled, cost: str) -> list[str]:
    """The names of the groups on the front, from the cheapest on; by means, whatever their intervals are."""
    points = [
        (price, -accuracy.mean, label)
        for label, group in groups.items()
        if (accuracy := group.estimate("student")) is not None and (price := cost_of(group, cost)) is not None
    ]
    found: list[tuple[float, float, str]] = []
    for point in sorted(points):
        if not found or point[1] < found[-1][1] or point[:2] == found[-1][:2]:
            found.append(point)
    return [label for _, _, label in found]
