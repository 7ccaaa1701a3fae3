"""Finding out which node of a Flower deployment is which: each was told by its operator, and the server asks."""

import secrets
import time
from collections.abc import Iterator, Mapping

from flwr.app import Message
from flwr.serverapp import Grid

from fedkd.core.errors import RunError
from fedkd.engines.flower.grid import START_SECONDS, push
from fedkd.engines.flower.wire import (
    NO_CLAIM,
    READY_MESSAGE,
    Claim,
    Partition,
    Ready,
    claim_label,
    decode_claim,
    decode_ready_reply,
    encode_ready,
)
from fedkd.privacy.secure_sum.identities import Directory

JOIN_SECONDS = 30.0
"""How long nodes may take to connect."""

_REMEDY = (
    "start N SuperNodes, the p-th, counted from 0, with --node-config 'partition-id=p num-partitions=N' "
    "(docs/deployment.md)"
)


def discover_nodes(
    grid: Grid,
    clients: int,
    client_fn: str,
    *,
    config: str = "",
    directory: Directory | None = None,
    join: float = JOIN_SECONDS,
    answer: float = START_SECONDS,
) -> tuple[int, ...]:
    """The nodes by ``partition-id``, once all of the federation are there and have said that they can work.

    Nodes may take ``join`` seconds to connect and ``answer`` to reply. They are asked whether they are there for the
    experiment ``config``. With a ``directory`` of public keys, a node whose claim of a partition is not signed with the
    key that belongs there is a stranger, and whatever it says is ignored. Raises ``RunError``: at once for what waiting
    does not mend, such as two nodes with one partition-id or more nodes than ``clients``; else when the time is over.
    """
    begun = time.monotonic()
    waiting: dict[str, int] = {}
    found: dict[int, Partition] = {}
    strangers: dict[int, str] = {}
    ready = Ready(client_fn, config, "" if directory is None else directory.digest, secrets.token_hex(16))
    while True:
        now = time.monotonic() - begun
        there = set(grid.get_node_ids())
        waiting = {identifier: node for identifier, node in waiting.items() if node in there}
        for node in there - {*waiting.values(), *found, *strangers}:
            identifier = push(grid, [(node, encode_ready(ready))], READY_MESSAGE, answer)[0]
            waiting |= {identifier: node} if identifier else {}
        for message in grid.pull_messages(list(waiting)) if waiting else []:
            node = waiting.pop(message.metadata.reply_to_message_id)
            reason, claim = _read(message)
            if directory is not None and not _is_known(node, claim, ready.nonce, directory):
                strangers[node] = reason or "its claim is not signed with a key of the directory"
            elif reason is not None:
                raise RunError(f"a SuperNode cannot work: {reason}")
            else:
                found[node] = claim.partition
        if faults := list(_faults(found, clients)):
            raise RunError(f"the federation does not fit: {'; '.join(faults)}. {_REMEDY[0].upper()}{_REMEDY[1:]}")
        by_partition = {held.index: node for node, held in found.items()}
        complete = bool(found) and len(found) == next(iter(found.values())).count
        # Where keys tell who is who, nobody has to wait for those that say nothing.
        if complete and (directory is not None or not waiting):
            return tuple(by_partition[partition] for partition in range(len(found)))
        if (now > join and not waiting) or now > answer:
            raise RunError(_missing(found, len(waiting), now) + _ignored(strangers))
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
        holders: dict[int, list[int]] = {}
        for node, held in found.items():
            if held.index is not None:
                holders.setdefault(held.index, []).append(node)
        for partition, nodes in sorted(holders.items()):
            if not 0 <= partition < partitions:
                yield f"with num-partitions = {partitions}, partition-id must be below it, from 0, got {partition}"
            elif len(nodes) > 1:
                yield (
                    f"{len(nodes)} SuperNodes have partition-id {partition} (Flower's nodes "
                    f"{', '.join(map(str, sorted(nodes)))}); stop those that do not belong, and keep strangers out by "
                    "Flower's authentication of SuperNodes (docs/deployment.md)"
                )


def _read(message: Message) -> tuple[str | None, Claim]:
    """Why a node cannot work, if it cannot, and what it claims."""
    if (reason := decode_ready_reply(message)) is not None:
        return reason, NO_CLAIM
    return None, decode_claim(message)


def _is_known(node: int, claim: Claim, nonce: str, directory: Directory) -> bool:
    partition = claim.partition
    return partition.index is not None and directory.verifies(
        partition.index, claim_label(nonce, node, partition), claim.signature
    )


def _ignored(strangers: Mapping[int, str]) -> str:
    told = "; ".join(f"node {node}: {reason}" for node, reason in sorted(strangers.items())[:5])
    return f". {len(strangers)} others were ignored ({told})" if strangers else ""


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
