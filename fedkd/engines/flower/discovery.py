"""Finding out which node of a Flower deployment is which: each was told by its operator, and the server asks."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping

from flwr.serverapp import Grid

from fedkd.core.errors import RunError
from fedkd.engines.flower.grid import START_SECONDS, push
from fedkd.engines.flower.wire import READY_MESSAGE, Seat, decode_ready_reply, decode_seat, encode_ready

JOIN_SECONDS = 30.0
"""How long nodes may take to connect."""

_REMEDY = (
    "start N SuperNodes, the p-th, counted from 0, with --node-config 'partition-id=p num-partitions=N' "
    "(docs/deployment.md)"
)


def seated_nodes(
    grid: Grid, clients: int, performer: str, *, join: float = JOIN_SECONDS, answer: float = START_SECONDS
) -> tuple[int, ...]:
    """The nodes by ``partition-id``, once all of the federation are there and have said that they can work.

    Nodes may take ``join`` seconds to connect and ``answer`` to reply. Raises ``RunError``: at once for what waiting
    does not mend, such as two nodes with one partition-id or more nodes than ``clients``; else when the time is over.
    """
    begun = time.monotonic()
    waiting: dict[str, int] = {}
    seats: dict[int, Seat] = {}
    while True:
        now = time.monotonic() - begun
        there = set(grid.get_node_ids())
        waiting = {identifier: node for identifier, node in waiting.items() if node in there}
        for node in there - {*waiting.values(), *seats}:
            identifier = push(grid, [(node, encode_ready(performer))], READY_MESSAGE, answer)[0]
            waiting |= {identifier: node} if identifier else {}
        for reply in grid.pull_messages(list(waiting)) if waiting else []:
            node = waiting.pop(reply.metadata.reply_to_message_id)
            if (reason := decode_ready_reply(reply)) is not None:
                raise RunError(f"a SuperNode cannot work: {reason}")
            seats[node] = decode_seat(reply)
        if faults := list(_faults(seats, clients)):
            raise RunError(f"the federation does not fit: {'; '.join(faults)}. {_REMEDY[0].upper()}{_REMEDY[1:]}")
        by_partition = {seat.partition: node for node, seat in seats.items()}
        complete = bool(seats) and len(seats) == next(iter(seats.values())).partitions
        if complete and not waiting:
            return tuple(by_partition[partition] for partition in range(len(seats)))
        if (now > join and not waiting) or now > answer:
            raise RunError(_missing(seats, len(waiting), now))
        time.sleep(0.1)


def _faults(seats: Mapping[int, Seat], clients: int) -> Iterator[str]:
    """What is wrong with the nodes that have answered, whoever may come yet."""
    counts = {seat.partitions for seat in seats.values() if seat.partitions is not None}
    nameless = sum(seat.partition is None or seat.partitions is None for seat in seats.values())
    if nameless:
        yield f"{nameless} of {len(seats)} SuperNodes have no partition-id or no num-partitions"
    if len(counts) > 1:
        yield f"SuperNodes disagree on num-partitions: {', '.join(map(str, sorted(counts)))}"
        return
    for partitions in counts:
        if partitions > clients:
            yield (
                f"num-partitions is {partitions} and clients.count is {clients}, so that a SuperNode would have no "
                "client; raise clients.count, or use fewer SuperNodes"
            )
        held = Counter(seat.partition for seat in seats.values() if seat.partition is not None)
        for partition, count in sorted(held.items()):
            if not 0 <= partition < partitions:
                yield f"with num-partitions = {partitions}, partition-id must be below it, from 0, got {partition}"
            elif count > 1:
                yield f"{count} SuperNodes have partition-id {partition}"


def _missing(seats: Mapping[int, Seat], silent: int, seconds: float) -> str:
    if not seats:
        who = f"none of {silent} SuperNodes has answered" if silent else "no SuperNode is connected"
        return f"{who} after {seconds:.0f} s; {_REMEDY}"
    partitions = next(iter(seats.values())).partitions or 0
    absent = sorted(set(range(partitions)) - {seat.partition for seat in seats.values()})
    missing = f"partition-id {', '.join(map(str, absent))} missing" if absent else "all of them there"
    others = f", and {silent} others are silent; stop those, or wait until Flower has noticed their end"
    return (
        f"{len(seats)} of num-partitions = {partitions} SuperNodes have answered after {seconds:.0f} s, {missing}"
        + (others if silent else "")
        + (f"; {_REMEDY}, or raise --run-config join-timeout" if absent else "")
    )
