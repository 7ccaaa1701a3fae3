"""A Flower grid in this process, whose nodes run plain ClientApps."""

from collections.abc import Callable, Sequence

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from tests.support.local_grid import FIRST_NODE, LocalGrid

Change = Callable[[int, Message], Message | None]


class PlainGrid(LocalGrid):
    """Each node has an app of its own and, unless ``named`` is False, its place as partition-id.

    ``change`` may replace a node's reply, or drop it by returning None; it gets the node's place and the reply.
    """

    def __init__(self, apps: Sequence[ClientApp], change: Change | None = None, *, named: bool = True) -> None:
        configs: list[dict[str, int]] = [{"partition-id": place} if named else {} for place in range(len(apps))]
        super().__init__(len(apps), node_configs=configs)  # type: ignore[arg-type]
        self._apps, self.change = apps, change

    def _answer(self, message: Message, context: Context) -> Message:
        return self._apps[context.node_id - FIRST_NODE](message, context)

    def pull_messages(self, message_ids: object) -> list[Message]:
        replies = super().pull_messages(message_ids)  # type: ignore[arg-type]
        replies.sort(key=lambda reply: reply.metadata.src_node_id)
        if self.change is None:
            return replies
        changed = (self.change(reply.metadata.src_node_id - FIRST_NODE, reply) for reply in replies)
        return [reply for reply in changed if reply is not None]

    def error(self, place: int, reason: str) -> Message:
        """The error reply of a node to the last message that it got."""
        last = next(each for each in reversed(self.sent) if each.metadata.dst_node_id == FIRST_NODE + place)
        return Message(Error(0, reason), reply_to=last)
