"""Finding out which node of a Flower deployment is which: each was told by its operator, and the server asks."""

import secrets
import time
from collections.abc import Collection, Iterator, Mapping

from flwr.serverapp import Grid

from fedkd.core.errors import RunError
from fedkd.data.common import CommonData
from fedkd.engines.flower.grid import START_SECONDS, push
from fedkd.engines.flower.wire import (
    PUBLIC_MESSAGE,
    READY_MESSAGE,
    Claim,
    Part,
    Partition,
    Ready,
    claim_label,
    decode_claim,
    decode_lacks,
    decode_ready_reply,
    encode_part,
    encode_ready,
)
from fedkd.privacy.secure_sum.identities import Directory

JOIN_SECONDS = 30.0
"""How long nodes may take to connect."""

PART_BYTES = 2**26
"""Bytes of one message with what nodes are told of the server's data."""

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
    common: CommonData | None = None,
    join: float = JOIN_SECONDS,
    answer: float = START_SECONDS,
) -> tuple[int, ...]:
    """The nodes by ``partition-id``, once all of the federation are there and have said that they can work.

    Nodes may take ``join`` seconds to connect and ``answer`` to reply. They are asked whether they are there for the
    experiment ``config``. With a ``directory`` of public keys, a node whose claim of a partition is not signed with the
    key that belongs there is a stranger, and whatever it says is ignored. Nodes with private data of their own are sent
    what is ``common``, unless they have it. Raises ``RunError``: at once for what waiting does not mend, such as two
    nodes with one partition-id or more nodes than ``clients``; else when the time is over.
    """
    waiting: dict[str, int] = {}
    found: dict[int, Partition] = {}
    strangers: dict[int, str] = {}
    post = _Post(grid, common, answer)
    ready = Ready(
        client_fn,
        config,
        "" if directory is None else directory.digest,
        secrets.token_hex(16),
        "" if common is None else common.digest,
    )
    while True:
        now = time.monotonic() - post.moved
        there = set(grid.get_node_ids())
        waiting = {identifier: node for identifier, node in waiting.items() if node in there}
        post.advance(there)
        for node in there - {*waiting.values(), *found, *strangers, *post.sending}:
            identifier = push(grid, [(node, encode_ready(ready))], READY_MESSAGE, answer)[0]
            waiting |= {identifier: node} if identifier else {}
        for message in grid.pull_messages(list(waiting)) if waiting else []:
            node = waiting.pop(message.metadata.reply_to_message_id)
            reason, claim = decode_ready_reply(message), decode_claim(message)
            if directory is not None and not _is_known(node, claim, ready.nonce, directory):
                strangers[node] = reason or "its claim is not signed with a key of the directory"
            elif reason is not None:
                raise RunError(f"{_named(claim)} cannot work: {reason}")
            elif decode_lacks(message):
                post.send(node)
            else:
                found[node] = claim.partition
        if faults := list(_faults(found, clients)):
            raise RunError(f"the federation does not fit: {'; '.join(faults)}. {_REMEDY[0].upper()}{_REMEDY[1:]}")
        by_partition = {held.index: node for node, held in found.items()}
        complete = bool(found) and len(found) == next(iter(found.values())).count
        # Where keys tell who is who, nobody has to wait for those that say nothing.
        if complete and (directory is not None or not (waiting or post.sending)):
            return tuple(by_partition[partition] for partition in range(len(found)))
        silent = len(waiting) + len(post.sending)
        if (now > join and not silent) or now > answer:
            raise RunError(_missing(found, silent, now) + _ignored(strangers))
        time.sleep(0.1)


class _Post:
    """Sends nodes what they are told of the server's data; ``sending`` are those that it is on its way to.

    ``moved`` is when a part of it last arrived: whoever takes something in is there, however long that takes.
    """

    def __init__(self, grid: Grid, common: CommonData | None, seconds: float) -> None:
        self._grid, self._common, self._seconds = grid, common, seconds
        self._waiting: dict[str, int] = {}
        self._sent: set[int] = set()
        self.moved = time.monotonic()

    @property
    def sending(self) -> frozenset[int]:
        return frozenset(self._waiting.values())

    def send(self, node: int) -> None:
        """Send it all; raises ``RunError`` where that was done before."""
        if self._common is None or node in self._sent:
            raise RunError(f"node {node} cannot keep the public samples; look for room where its state-dir is")
        self._sent.add(node)
        content = self._common.to_bytes()
        starts = range(0, len(content), PART_BYTES)
        for index, start in enumerate(starts):
            part = Part(self._common.digest, index, len(starts), content[start : start + PART_BYTES])
            (identifier,) = push(self._grid, [(node, encode_part(part))], PUBLIC_MESSAGE, self._seconds)
            self._waiting |= {identifier: node} if identifier else {}

    def advance(self, there: Collection[int]) -> None:
        """Take note of what has arrived; raises ``RunError`` for what was refused."""
        self._waiting = {identifier: node for identifier, node in self._waiting.items() if node in there}
        for message in self._grid.pull_messages(list(self._waiting)) if self._waiting else []:
            node = self._waiting.pop(message.metadata.reply_to_message_id)
            self.moved = time.monotonic()
            if (reason := decode_ready_reply(message)) is not None:
                raise RunError(f"node {node} cannot keep the public samples: {reason}")


def _named(claim: Claim) -> str:
    index = claim.partition.index
    return "a SuperNode" if index is None else f"the SuperNode with partition-id {index}"


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
