"""Everybody starts from the server's student."""

from dataclasses import dataclass
from typing import ClassVar

from fedkd import ClientContext, ClientRule, Upload


@dataclass(frozen=True)
class Broadcast(ClientRule):
    """Trains the received student on its private data and answers on the public samples with what it then believes."""

    only_trains: ClassVar[bool] = True

    @property
    def receives(self) -> frozenset[str]:
        return frozenset({"parameters"})

    def respond(self, context: ClientContext) -> Upload:
        model = context.train(context.received_model())
        return Upload(logits=context.answer(model), model=model)
