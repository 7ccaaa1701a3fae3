"""Dividing a round's clients into cohorts of about equal cost."""

import heapq
from collections.abc import Mapping, Sequence

from fedkd.config.schema import ResourceConfig
from fedkd.engines.resources import Workload, slots

COHORT_BYTES = 25_000_000
"""About how large a cohort's reply may become before cohorts are made smaller; it is in memory several times."""


def clients_by_need(clients: Sequence[int], workload: Workload) -> dict[ResourceConfig, list[int]]:
    """The clients by what they need, those that need most first, so that the others fill what they leave."""
    classes: dict[ResourceConfig, list[int]] = {}
    for client in clients:
        classes.setdefault(workload.need_of(client), []).append(client)
    return {need: classes[need] for need in sorted(classes, reverse=True)}


def plan_cohorts(
    clients: Sequence[int],
    workload: Workload,
    workers: int,
    gpus: float,
    *,
    size: int | None,
    per_worker: int,
    client_bytes: int,
) -> list[tuple[tuple[int, ...], ResourceConfig]]:
    """Cohorts of clients that need the same, each with what one of them needs; the dearest of a class first.

    ``size`` fixes how many clients a cohort has (None: about ``per_worker`` cohorts for each that can work at once,
    and no reply, of ``client_bytes`` per client, beyond ``COHORT_BYTES``).
    """
    planned = []
    for need, members in clients_by_need(clients, workload).items():
        held = max(1, COHORT_BYTES // client_bytes) if size is None else size
        count = -(-len(members) // held)
        if size is None:
            count = max(count, per_worker * slots(need, workers, gpus))
        cohorts = divide(members, count, costs=workload.costs, size=held)
        planned += [(cohort, need) for cohort in cohorts]
    return planned


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
