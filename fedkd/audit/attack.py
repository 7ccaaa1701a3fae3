"""The base classes of every attack, and what attackers see."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from fedkd.audit.metrics import Scores
from fedkd.core import plugins
from fedkd.core.returned import returned_tensor

Observation = Literal["queried", "transcript", "consensus", "student"]
"""Where an attacker stands; see ``OBSERVATIONS``."""

OBSERVATIONS: dict[Observation, str] = {
    "queried": "the server put the candidates among the public samples and reads the client's predictions on them",
    "transcript": "an observer of the client's predictions on the public set, which holds no candidate",
    "consensus": "another client, which reads the teacher's targets on candidates put among the public samples",
    "student": "anyone who is given the student after the last round",
}


@dataclass(frozen=True)
class Asked:
    """Answers to queries that an attacker made on shadow models, none of which is among these ``shadows``.

    Each query is about one candidate; ``included`` says which candidates each shadow trained on.
    """

    answers: Float[Tensor, "queries candidates classes"]
    shadows: Float[Tensor, "shadows queries candidates classes"]
    included: Bool[Tensor, "shadows candidates"]


@dataclass(frozen=True)
class Evidence:
    """What an attacker on one client has to go by, at one observation point.

    ``answers`` are the logits on every candidate, in every observed round, on every view of it; where one only sees the
    public set, those of a surrogate model distilled from what was seen. ``shadows`` are the same from repetitions of
    the client's part, by its own mechanism and with fresh randomness, each with a random half of the candidates among
    its training data, which are ``included``. ``others`` are the logits of the other clients, none of which hold a
    candidate; empty where they are not to be seen. ``labels`` are the candidates' classes. ``asked`` is what came of an
    ``AskingAttack``'s own queries: made on either half of the shadows, with the answers of the other half.
    """

    observation: Observation
    answers: Float[Tensor, "rounds views candidates classes"]
    shadows: Float[Tensor, "shadows rounds views candidates classes"]
    included: Bool[Tensor, "shadows candidates"]
    others: Float[Tensor, "others rounds views candidates classes"]
    labels: Int[Tensor, " candidates"]
    asked: tuple[Asked, ...] = ()


KNOWLEDGE = (
    "the candidates and their classes, but not which are members; the client's other training samples; everything that "
    "clients are sent; the mechanism and the algorithm, but no random draw of a client or the server"
)
"""What every attacker knows besides what it sees."""


class Attack:
    """An attack; its dataclass fields are its options. Subclass ``MembershipAttack`` or ``InferenceAttack``."""


def new_attack(name: str, options: Mapping[str, Any]) -> Attack:
    """The attack of that name, or ``module:Class``; raises ``PluginError``."""
    found: Attack = plugins.build(plugins.ATTACK, name, options)
    return found


class MembershipAttack(Attack, ABC):
    """Tells which candidates a client trained on.

    ``observations`` are the points from which it makes sense; ``needs_shadows`` and ``needs_others`` say what it cannot
    do without.
    """

    observations: ClassVar[frozenset[Observation]] = frozenset(OBSERVATIONS)
    needs_shadows: ClassVar[bool] = True
    needs_others: ClassVar[bool] = False

    @abstractmethod
    def score(self, evidence: Evidence) -> Float[Tensor, " candidates"]:
        """The larger, the more a candidate looks like a member."""

    @final
    def scores(self, evidence: Evidence) -> Scores:
        """``score``, checked; raises ``ValueError`` where the attack lacks what it needs, or gives no numbers."""
        name = type(self).__name__
        if self.needs_shadows and evidence.shadows.shape[0] < 4:
            raise ValueError(f"{name} needs at least 4 shadows, got {evidence.shadows.shape[0]}; raise shadows")
        if self.needs_others and evidence.others.shape[0] < 2:
            raise ValueError(f"{name} needs at least 2 other clients, got {evidence.others.shape[0]}; leave it out")
        shape = tuple(evidence.labels.shape)
        found = returned_tensor(self.score(evidence), self, "score", "scores [candidates]", shape).double().numpy()
        if np.isnan(found).any():
            raise ValueError(
                f"{name} must give every candidate a number, got NaN; give one it knows nothing about the least"
            )
        return np.asarray(found, dtype=np.float64)


@dataclass(frozen=True)
class Rehearsal:
    """What an attacker makes queries on: shadow models, of whose training data it knows ``included``.

    ``public`` are the public samples; models are in evaluation mode, tensors on the CPU.
    """

    models: Sequence[nn.Module]
    included: Bool[Tensor, "models candidates"]
    inputs: Float[Tensor, "candidates ..."]
    labels: Int[Tensor, " candidates"]
    public: Float[Tensor, "public ..."]


class AskingAttack(MembershipAttack, ABC):
    """Asks the client about inputs that it makes itself, ``queries`` about a candidate on either half of the shadows.

    They take the places of public samples; where there are too few for all candidates, some are left out.
    """

    observations: ClassVar[frozenset[Observation]] = frozenset({"queried"})
    queries: int

    @abstractmethod
    def make(self, known: Rehearsal) -> Float[Tensor, "queries candidates ..."]:
        """The inputs to ask about, without any of the client's answers, or of the other half's."""

    @final
    def made(self, known: Rehearsal) -> Float[Tensor, "queries candidates ..."]:
        """``make``, checked."""
        shape = self.queries, *known.inputs.shape
        return returned_tensor(self.make(known), self, "make", "queries [queries, candidates, ...]", shape)


@dataclass(frozen=True)
class AskedShares:
    """Answers to queries that were made on other ``models`` than these, whose training data had known ``shares``."""

    answers: Float[Tensor, "queries classes"]
    models: Float[Tensor, "models queries classes"]
    shares: Float[Tensor, "models classes"]


@dataclass(frozen=True)
class MeansFound:
    """Mean inputs by class, as ``found`` and as they are: the client's, and the public samples', for both to be known.

    ``held`` says of which classes the client has samples, and the public set too; the others' means are 0.
    """

    found: Float[Tensor, "classes values"]
    client: Float[Tensor, "classes values"]
    public: Float[Tensor, "classes values"]
    held: Bool[Tensor, " classes"]


@dataclass(frozen=True)
class Disclosure:
    """What one client's released answers are, and what is to be inferred from them.

    ``answers`` are on the public samples of the last round, ``crafted`` on the crafted queries that a malicious server
    put in their place (``fedkd.audit.queries``); ``copy`` are the logits, on inputs that are in no role, of a model
    distilled from ``answers``, and ``original`` those of the client's own model. ``shares`` are those of the classes
    among the client's training samples: the truth to compare with, which the attack must not use. ``asked`` is what
    came of an ``AskingInference``'s own queries, ``means`` of an ``InvertingAttack``.
    """

    client: int
    answers: Float[Tensor, "queries classes"]
    crafted: Float[Tensor, "crafted classes"]
    copy: Float[Tensor, "unseen classes"]
    original: Float[Tensor, "unseen classes"]
    shares: Float[Tensor, " classes"]
    asked: tuple[AskedShares, ...] = ()
    means: MeansFound | None = None


class InferenceAttack(Attack, ABC):
    """Infers something else than membership, and measures how well, over all attacked clients."""

    observation: ClassVar[Observation] = "transcript"

    @abstractmethod
    def measure(self, disclosures: list[Disclosure]) -> Mapping[str, float]:
        """Figures by name; what they mean is in the class's docstring."""


class AskingInference(InferenceAttack, ABC):
    """Infers class shares from answers to at most ``queries`` inputs that it makes on either half of its own models.

    They take the places of public samples; where there are too few, it makes fewer.
    """

    observation: ClassVar[Observation] = "queried"
    queries: int

    @abstractmethod
    def make(
        self, models: Sequence[nn.Module], shares: Float[Tensor, "models classes"], start: Float[Tensor, "queries ..."]
    ) -> Float[Tensor, "queries ..."]:
        """The inputs to ask about, from models in evaluation mode and inputs to begin with."""


@dataclass(frozen=True)
class Released:
    """What an attacker has of a client: ``answers`` on the ``public`` samples, and a ``copy`` distilled from them.

    ``before`` is the model that the client was sent, or began with.
    """

    answers: Float[Tensor, "public classes"]
    public: Float[Tensor, "public ..."]
    copy: nn.Module
    before: nn.Module


class InvertingAttack(InferenceAttack, ABC):
    """Reconstructs mean inputs of a client's classes from what it released."""

    @abstractmethod
    def invert(self, released: Released) -> Float[Tensor, "classes ..."]:
        """An input for each class."""


def confidence(
    logits: Float[Tensor, "*batch candidates classes"], labels: Int[Tensor, " candidates"]
) -> Float[Tensor, "*batch candidates"]:
    """φ = log p_y − log(1 − p_y) in float64 (Carlini et al. 2022, arXiv 2112.03570, section V-C), never ±∞.

    Computed as z_y − log Σ_{c≠y} exp z_c from the logits z.
    """
    exact = logits.double()
    places = labels.expand(exact.shape[:-1]).unsqueeze(-1)
    own = exact.gather(-1, places).squeeze(-1)
    rest = exact.scatter(-1, places, -torch.inf).logsumexp(dim=-1)
    return own - rest


def flattened(phi: Float[Tensor, "*worlds rounds views candidates"]) -> npt.NDArray[np.float64]:
    """Rounds and views as one axis of measurements: ``[*shadow_runs, measurements, candidates]``."""
    return np.asarray(phi.flatten(-3, -2).numpy(), dtype=np.float64)
