"""The client's part of an algorithm."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor, nn

from fedkd.client.context import ClientContext
from fedkd.core.array_specs import ArraySpec
from fedkd.core.messages import Arrays
from fedkd.experiment import Experiment


@dataclass(frozen=True)
class Upload:
    """What a client is about to send, before the privacy mechanism and the codec.

    ``logits`` and ``mask`` (False where it abstains; None: nowhere) are its answers to the queries; ``arrays`` is
    anything else, by name. ``model`` stays at home: with it the simulator measures how well the client does for itself.
    """

    logits: Float[Tensor, "queries classes"] | None = None
    mask: Bool[Tensor, " queries"] | None = None
    arrays: Arrays = field(default_factory=dict)
    model: nn.Module | None = None


class ClientRule(ABC):
    """What a client does in a round of an algorithm; the student rule is the server's part.

    ``sends`` names what it answers with (``logits``, ``parameters``, or the name of an array). ``remembers`` is True
    when it keeps something between rounds, for which it then has ``ClientContext.memory``. ``abstains`` is True when
    its uploads have masks; ``only_trains`` is True when ``ClientContext.train`` is all that it does with private data,
    so that training privately makes everything it sends private. ``own_loss`` is True when it trains by another loss
    than the clients' cross-entropy. ``measures_distances`` is True when it needs samples of numbers, between which
    there are distances.
    """

    sends: ClassVar[str] = "logits"
    remembers: ClassVar[bool] = False
    abstains: ClassVar[bool] = False
    only_trains: ClassVar[bool] = False
    own_loss: ClassVar[bool] = False
    measures_distances: ClassVar[bool] = False

    @property
    def receives(self) -> frozenset[str]:
        """What it needs of the server: ``parameters``, ``consensus``, ``labels`` (of the public samples, once), or the
        name of an array.
        """
        return frozenset()

    def arrays(self, experiment: Experiment, client: int, examples: int) -> Mapping[str, ArraySpec]:
        """What ``Upload.arrays`` holds, by name, of a client that says it trains on ``examples`` samples.

        The server refuses a reply with anything else in it, and one that lacks any of it.
        """
        return {}

    @abstractmethod
    def respond(self, context: ClientContext) -> Upload:
        """What the client sends. May change ``context.memory``, and nothing else."""

    def respond_again(self, context: ClientContext, upload: Upload) -> Upload:
        """What it would answer to other queries, being as it is after ``upload``: a simulator's measurement.

        Must neither train nor change ``context.memory``. The default has the logits of ``upload.model``.
        """
        if upload.logits is None or upload.model is None:
            return Upload(model=upload.model)
        return Upload(logits=context.answer(upload.model), model=upload.model)
