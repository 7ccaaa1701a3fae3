"""Finding out which node of a Flower deployment is which: each was told by its operator, and the server asks."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping

from flwr.serverapp import Grid

from fedkd.core.errors import RunError
from fedkd.engines.flower.grid import START_SECONDS, push
from fedkd.engines.flower.wire import READY_MESSAGE, Partition, decode_partition, decode_ready_reply, encode_ready

JOIN_SECONDS = 30.0
"""How long nodes may take to connect."""

_REMEDY = (
    "start N SuperNodes, the p-th, counted from 0, with --node-config 'partition-id=p num-partitions=N' "
    "(docs/deployment.md)"
)


def discover_nodes(
    grid: Grid, clients: int, client_fn: str, *, join: float = JOIN_SECONDS, answer: float = START_SECONDS
) -> tuple[int, ...]:
    """The nodes by ``partition-id``, once all of the federation are there and have said that they can work.

    Nodes may take ``join`` seconds to connect and ``answer`` to reply. Raises ``RunError``: at once for what waiting
    does not mend, such as two nodes with one partition-id or more nodes than ``clients``; else when the time is over.
    """
    begun = time.monotonic()
    waiting: dict[str, int] = {}
    found: dict[int, Partition] = {}
    while True:
        now = time.monotonic() - begun
        there = set(grid.get_node_ids())
        waiting = {identifier: node for identifier, node in waiting.items() if node in there}
        for node in there - {*waiting.values(), *found}:
            identifier = push(grid, [(node, encode_ready(client_fn))], READY_MESSAGE, answer)[0]
            waiting |= {identifier: node} if identifier else {}
        for message in grid.pull_messages(list(waiting)) if waiting else []:
            node = waiting.pop(message.metadata.reply_to_message_id)
            if (reason := decode_ready_reply(message)) is not None:
                raise RunError(f"a SuperNode cannot work: {reason}")
            found[node] = decode_partition(message)
        if faults := list(_faults(found, clients)):
            raise RunError(f"the federation does not fit: {'; '.join(faults)}. {_REMEDY[0].upper()}{_REMEDY[1:]}")
        by_partition = {held.index: node for node, held in found.items()}
        complete = bool(found) and len(found) == next(iter(found.values())).count
        if complete and not waiting:
            return tuple(by_partition[partition] for partition in range(len(found)))
        if (now > join and not waiting) or now > answer:
            raise RunError(_missing(found, len(waiting), now))
        time.sleep(0.1)


def _faults(found: Mapping[int, Partition], clients: int) -> Iterator[str]:
    """What is wrong with the nodes that have answered, whoever may come yet."""
    counts = {held.count for held in found.values() if held.count is not None}
    nameless = sum(held.index is None or held.count is None for held in found.values())
    if nameless:
        yield f"{nameless} of {len(found)} SuperNodes have no partition-id or no num-partitions"
    if len(counts) > 1:
        yield f"SuperNodes disagree on num-partitions: {', '.join(map(str, sorted(counts)))}"
        return
    for partitions in counts:
        if partitions > clients:
            yield (
                f"num-partitions is {partitions} and clients.count is {clients}, so that a SuperNode would have no "
                "client; raise clients.count, or use fewer SuperNodes"
            )
        holders = Counter(held.index for held in found.values() if held.index is not None)
        for partition, count in sorted(holders.items()):
            if not 0 <= partition < partitions:
                yield f"with num-partitions = {partitions}, partition-id must be below it, from 0, got {partition}"
            elif count > 1:
                yield f"{count} SuperNodes have partition-id {partition}"


def _missing(found: Mapping[int, Partition], silent: int, seconds: float) -> str:
    if not found:
        who = f"none of {silent} SuperNodes has answered" if silent else "no SuperNode is connected"
        return f"{who} after {seconds:.0f} s; {_REMEDY}"
    partitions = next(iter(found.values())).count or 0
    absent = sorted(set(range(partitions)) - {held.index for held in found.values()})
    missing = f"partition-id {', '.join(map(str, absent))} missing" if absent else "all of them there"
    others = f", and {silent} others are silent; stop those, or wait until Flower has noticed their end"
    return (
        f"{len(found)} of num-partitions = {partitions} SuperNodes have answered after {seconds:.0f} s, {missing}"
        + (others if silent else "")
        + (f"; {_REMEDY}, or raise --run-config join-timeout" if absent else "")
    )
