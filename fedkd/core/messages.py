"""The types that travel between the parts of fedkd."""

import hashlib
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float, Int
from torch import Tensor

Arrays = dict[str, npt.NDArray[Any]]
"""Named NumPy arrays: a model's state, or what a client sends."""

# The names of all arrays that travel between server and clients. What follows a slash is the sender's own.

LOGITS, LABEL_COUNTS = "logits", "label_counts"
"""A client's message with its logits on the public samples, and how many private samples of each class it has."""

ASKED, LABELS, CONSENSUS = "asked", "labels", "consensus"
"""Which of a round's public samples clients answer on, the labels of the public samples, and the last targets."""

PARAMETERS = "parameters"
"""First part of the names of a model's parameters; see ``parameter_prefix``."""

MEANS, SIZES, INCLUDED = "label_means/values", "label_means/sizes", "included"
"""Means per label and their sample counts; what a client is sent when its own last answer is part of the means."""

FEATURE_VALUES, FEATURE_LOGITS, FEATURE_LABELS = "features/values", "features/logits", "features/labels"
"""What a client sends of each of its private samples, where an algorithm exchanges features."""

LOGIT_BOUND = 1e4
"""Largest absolute logit a report may hold; softmax saturates three orders of magnitude earlier."""

PARAMETER_BOUND = 1e6
"""Largest absolute parameter of a model that may travel; one that trains stays orders of magnitude below."""

UNKNOWN_LABEL = -1
"""The label of a public sample whose class the server does not know."""


@dataclass(frozen=True)
class Traffic:
    """Bytes of one client in one round and direction: what is serialised for it, without envelopes."""

    logits: int = 0
    parameters: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        return self.logits + self.parameters + self.other

    def __add__(self, more: "Traffic") -> "Traffic":
        return Traffic(self.logits + more.logits, self.parameters + more.parameters, self.other + more.other)


@dataclass(frozen=True)
class ClientReport:
    """What one client sends in one round, after validation.

    ``logits`` are float32 and finite, one row per public sample it was asked about (none where the algorithm exchanges
    something else); ``mask`` is False where the client abstains (None: nowhere); ``examples`` is the number of private
    training samples that it claims, 1 where clients do not tell; ``arrays`` is what else it sent, by name, as its rule
    declares; ``sent`` the bytes of all that; ``codes`` what stands for the logits in the message.
    """

    client: int
    round: int
    logits: Float[Tensor, "samples classes"]
    examples: int
    sent: Traffic = Traffic()
    mask: Bool[Tensor, " samples"] | None = None
    arrays: Arrays = field(default_factory=dict)
    codes: npt.NDArray[np.unsignedinteger[Any]] | None = None


@dataclass(frozen=True)
class Consensus:
    """Targets on public samples, as clients are sent them.

    ``positions`` are those of the samples in the public set; ``mask`` is False where there is no target. ``personal``
    holds targets of single clients, which replace the common ones for them.
    """

    positions: Int[Tensor, " samples"]
    log_probabilities: Float[Tensor, "samples classes"]
    mask: Bool[Tensor, " samples"]
    personal: Mapping[int, Float[Tensor, "samples classes"]] = field(default_factory=dict)


@dataclass(frozen=True)
class Home:
    """Where the private data of the one client are that lives on a node, which nobody else has.

    ``named`` is what the node's operator calls them, ``common`` the file with what the server tells of its data, of the
    digest ``common_digest``.
    """

    client: int
    named: str
    common: str
    common_digest: str


@dataclass(frozen=True)
class Host:
    """What whoever runs clients has fixed for them, which no message of a server changes.

    ``memory`` is the folder in which clients note what they have given away in secure sums, with their secrets between
    the steps. ``keys`` is that of their private signing keys and ``directory`` the file with everybody's public ones
    (both None: a simulation, or a trial, where the experiment's seed stands for them). ``home`` is where private data
    are that the configuration does not name (None: it names them all).
    """

    memory: str
    keys: str | None = None
    directory: str | None = None
    home: Home | None = None


@dataclass(frozen=True)
class Job:
    """One piece of work that every addressed client does.

    ``kind`` is ``round`` (a round of the algorithm), ``local`` (train alone for all rounds, answer with test accuracy)
    or a step of a round's secure sum (``fedkd.client.secure_terms``). ``config`` is the resolved configuration as JSON;
    ``parameters`` is what all clients are sent, ``personal`` what single clients are sent besides. With ``measure`` a
    simulated client also measures itself (``Measurement``), with ``probe`` on the test samples too. ``state_dir`` is
    where clients keep what they need between rounds (None: nowhere); ``accepted`` is the last round of which each
    client's report was accepted (absent: none), at whose end it goes on; ``wants`` names the arrays that clients are to
    send besides what their rule does; ``most_bytes`` is how many bytes the arrays of one reply may take (None: any
    number). ``host`` and ``system_noise`` never travel: whoever runs the client puts them in (None: clients are asked
    for no secure sums; False: noise comes from where the configuration says).
    """

    kind: str
    round: int
    config: str
    parameters: Arrays = field(default_factory=dict)
    personal: Mapping[int, Arrays] = field(default_factory=dict)
    measure: bool = False
    probe: bool = False
    state_dir: str | None = None
    accepted: Mapping[int, int] = field(default_factory=dict)
    wants: frozenset[str] = frozenset()
    most_bytes: int | None = None
    host: Host | None = None
    system_noise: bool = False


@dataclass(frozen=True)
class Measurement:
    """What a simulated client measures for the simulator's user: handed over beside what it releases, never within.

    Accuracies are shares in [0, 1]. ``test_logits`` ``[tests, classes]`` and ``test_mask`` ``[tests]`` are its answers
    on the test samples, as its mechanism would make them; ``test_features`` ``[tests, dims]`` their embeddings, where
    the algorithm exchanges such. No algorithm sees any of it, and the node of a Flower app measures nothing.
    """

    validation_accuracy: float | None = None
    test_accuracy: float | None = None
    test_logits: npt.NDArray[Any] | None = None
    test_mask: npt.NDArray[Any] | None = None
    test_features: npt.NDArray[Any] | None = None

    @property
    def arrays(self) -> dict[str, Any]:
        """What there is of its arrays, by the names of the fields; before it has been read, anything."""
        named = {"test_logits": self.test_logits, "test_mask": self.test_mask, "test_features": self.test_features}
        return {name: array for name, array in named.items() if array is not None}


@dataclass(frozen=True)
class Reply:
    """A client's answer to a ``Job``: what it releases, or the reason why there is nothing.

    ``arrays`` by name, and what it declares: the ``round`` it answers for, the digest of its public set, its number of
    private training ``examples``, where it may tell, and ``epsilon``, what it has spent of its privacy, where it keeps
    a ledger of its own. ``measured`` is no part of the release: see ``Measurement``. ``traceback`` belongs to an
    ``error``, for the simulator's user alone as well.
    """

    client: int
    arrays: Arrays = field(default_factory=dict)
    _: KW_ONLY
    round: int | None = None
    examples: int | None = None
    epsilon: float | None = None
    public_digest: str | None = None
    error: str | None = None
    measured: Measurement | None = None
    traceback: str = ""

    @property
    def ok(self) -> bool:
        return self.error is None


def state_arrays(state: Mapping[str, Tensor]) -> Arrays:
    """A model's state as NumPy arrays on the CPU."""
    return {name: np.array(tensor.detach().cpu().numpy()) for name, tensor in state.items()}


def traffic_of(arrays: Arrays) -> Traffic:
    """The bytes of arrays, by what they are."""
    sizes = {"logits": 0, "parameters": 0, "other": 0}
    for name, array in arrays.items():
        group = name.partition("/")[0]
        kind = "logits" if group in {LOGITS, CONSENSUS} else "parameters" if group == PARAMETERS else "other"
        sizes[kind] += array.nbytes
    return Traffic(**sizes)


def parameter_prefix(architecture: int) -> str:
    """What the names of an architecture's parameters begin with, among what is sent."""
    return f"{PARAMETERS}/{architecture}/"


def parameter_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, types, shapes and bytes of a model's state, sorted by name."""
    digest = hashlib.sha256()
    for name in sorted(state):
        array = state[name].detach().cpu().contiguous().numpy()
        digest.update(f"{name}:{array.dtype}:{array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
