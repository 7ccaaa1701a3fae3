"""The honest client."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fedkd.local import ClientBehaviour, LocalWork


@dataclass(frozen=True)
class Honest(ClientBehaviour):
    """Trains the received student on its private data and answers with what it then believes."""

    def respond(self, work: LocalWork) -> Float[Tensor, "queries classes"]:
        return work.answer(work.train(work.student()))
