"""Which client a node is."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import count

from fedkd.app.plain_clients.protocol import PARTITION
from fedkd.core.texts import shown_value

LARGEST = 2**31 - 1


class Roster:
    """The number, from 0, of the client that each node is: Flower's ids of nodes are random in every run.

    A node that says its partition-id is that client for the rest of the run, and nobody else is; others get the lowest
    numbers that are free, in the order of their ids, when they first answer.
    """

    def __init__(self) -> None:
        self._clients: dict[int, int] = {}

    def admit(self, asked: Iterable[int], said: Mapping[int, object]) -> tuple[dict[int, int], dict[int, str]]:
        """The number of each node of a round, and what is wrong with who some say they are.

        ``asked`` are the nodes that were asked, ``said`` what those whose reply can be read say is their partition-id
        (None: nothing). A node that is not known yet and is silent, or wrong, has a number for this round alone.
        """
        faults = dict(self._faults(said))
        for node, partition in sorted(said.items()):
            if isinstance(partition, int) and node not in faults:
                self._clients[node] = partition
        free = self._free()
        for node in sorted(said.keys() - faults.keys() - self._clients.keys()):
            self._clients[node] = next(free)
        others = sorted({*asked, *said} - self._clients.keys())
        return self._clients | dict(zip(others, free, strict=False)), faults

    def _faults(self, said: Mapping[int, object]) -> Iterator[tuple[int, str]]:
        wanted = Counter(partition for node, partition in said.items() if isinstance(partition, int))
        taken = {client: node for node, client in self._clients.items()}
        for node, partition in said.items():
            before = self._clients.get(node)
            if partition is None:
                continue
            if type(partition) is not int or not 0 <= partition <= LARGEST:
                yield node, f"{PARTITION} must be a whole number from 0 to {LARGEST}, got {shown_value(partition)}"
            elif before is not None and before != partition:
                yield node, f"says that it is {PARTITION} {partition}, and was client {before} before"
            elif before is None and (partition in taken or wanted[partition] > 1):
                yield node, f"says that it is {PARTITION} {partition}, as another node does; each needs its own"

    def _free(self) -> Iterator[int]:
        taken = frozenset(self._clients.values())
        return (number for number in count() if number not in taken)
