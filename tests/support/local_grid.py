"""A Flower grid in this process."""

import uuid
from collections.abc import Callable, Iterable, Sequence
from unittest.mock import patch

from flwr.app import Context, Message, RecordDict
from flwr.app.user_config import UserConfig
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fedkd.engines.flower import client_app
from fedkd.engines.flower.client_app import app

FIRST_NODE = 2**63 + 11
"""Flower's node ids exceed what a signed 64-bit integer holds."""


class LocalGrid(Grid):
    """A grid whose nodes are this process; ``tamper`` may replace a cohort's reply, or drop it by returning None.

    ``node_configs`` are what the nodes' operators told them; without any the nodes are simulated.
    """

    def __init__(
        self,
        nodes: int,
        tamper: Callable[[int, Message], Message | None] | None = None,
        node_configs: Sequence[UserConfig] | None = None,
    ) -> None:
        self.node_configs = node_configs
        self.simulated = node_configs is None
        self.nodes = [FIRST_NODE + index for index in range(nodes)]
        self.sent: list[Message] = []
        self.replied: list[Message] = []
        self.answers: list[Message] = []
        """All that nodes ever sent, to whatever message."""
        self._tamper = tamper
        self._replies: dict[str, Message] = {}
        self._run = Run.create_empty(1)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        identifiers = []
        for message in messages:
            identifier = str(uuid.uuid4())
            message.metadata.__dict__["_message_id"] = identifier
            identifiers.append(identifier)
            node = message.metadata.dst_node_id
            config = {} if self.node_configs is None else self.node_configs[node - FIRST_NODE]
            context = Context(1, node, config, RecordDict(), {})
            reply: Message | None = self._answer(message, context)
            trains = message.metadata.message_type.startswith("train")
            if trains:
                if self._tamper is not None:
                    reply = self._tamper(len(self.sent), message)
                    reply = self._answer(message, context) if reply is message else reply
                self.sent.append(message)
            if reply is not None:
                self.answers.append(reply)
                if trains:
                    self.replied.append(reply)
                self._replies[identifier] = reply
        return identifiers

    def _answer(self, message: Message, context: Context) -> Message:
        with patch.object(client_app, "simulated", lambda: self.simulated):
            return app(message, context)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self._replies.pop(identifier) for identifier in list(message_ids) if identifier in self._replies]

    def get_node_ids(self) -> list[int]:
        return self.nodes

    def set_run(self, run: Run) -> None:
        self._run = run

    @property
    def run(self) -> Run:
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        return self.pull_messages(self.push_messages(messages))
