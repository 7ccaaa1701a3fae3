"""Dividing a round's clients into cohorts of about equal cost."""

import heapq
from collections.abc import Mapping, Sequence


def divide(
    clients: Sequence[int], count: int, *, costs: Mapping[int, float] | None = None, size: int | None = None
) -> list[tuple[int, ...]]:
    """At most ``count`` non-empty cohorts, the most expensive first, each sorted by client id.

    Greedy longest-processing-time rule (Graham 1969): the dearest client left goes to the cheapest cohort with room.
    ``costs`` are relative (default: all 1); ``size`` is the most clients a cohort may hold. Depends on the set of
    clients only, not on their order. Raises ``ValueError`` when ``count`` cohorts of ``size`` cannot hold them all.
    """
    if count < 1 or (size is not None and count * size < len(clients)):
        raise ValueError(f"count: {count} cohorts of at most {size} clients cannot hold {len(clients)} clients")
    prices = {client: 1.0 if costs is None else float(costs.get(client, 1.0)) for client in clients}
    members: list[list[int]] = [[] for _ in range(min(count, len(clients)))]
    open_cohorts = [(0.0, 0, index) for index in range(len(members))]
    totals = [0.0] * len(members)
    for client in sorted(clients, key=lambda client: (-prices[client], client)):
        total, held, index = heapq.heappop(open_cohorts)
        members[index].append(client)
        totals[index] = total + prices[client]
        if size is None or held + 1 < size:
            heapq.heappush(open_cohorts, (totals[index], held + 1, index))
    order = sorted(range(len(members)), key=lambda index: (-totals[index], index))
    return [tuple(sorted(members[index])) for index in order if members[index]]
