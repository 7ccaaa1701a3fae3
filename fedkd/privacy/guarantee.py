"""What a privacy number means, and the numbers of a run that it depends on."""

from dataclasses import dataclass
from typing import Literal

Unit = Literal["record", "client"]
Neighbouring = Literal["add_or_remove", "replace_one"]
Adversary = Literal["local", "central", "distributed"]

_RELATIONS = {
    "add_or_remove": "one {unit} more or less",
    "replace_one": "one {unit}'s data replaced by any other",
}
_ADVERSARIES = {
    "local": "an observer of all client reports, the server included",
    "central": "an observer of the teacher and the student; the server, which sees all client reports, is trusted",
    "distributed": "an observer of the secure sum, the server and the tolerated colluders included",
}


@dataclass(frozen=True)
class Release:
    """One round as privacy accounting sees it, for one client.

    ``queries`` public samples of ``classes`` are answered by each of ``clients`` clients, of which this one has
    ``examples`` private training samples and trains ``epochs`` epochs in batches of ``batch_size`` on a model of
    ``parameters`` parameters. Accounting takes all of them as public.
    """

    queries: int
    classes: int
    clients: int
    examples: int
    epochs: int
    batch_size: int
    parameters: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


@dataclass(frozen=True)
class Guarantee:
    """What is protected, from whom, and by how much noise.

    ``sensitivity`` is the L2 distance Δ by which two neighbouring data sets can move what is noised, ``noise`` the
    standard deviation σ per coordinate on the same scale; ``query`` says what is noised. ``excludes`` is what the
    number does not cover.
    """

    unit: Unit
    neighbouring: Neighbouring
    adversary: Adversary
    sensitivity: float
    noise: float
    query: str
    excludes: str

    @property
    def noise_multiplier(self) -> float:
        """z = σ/Δ."""
        return self.noise / self.sensitivity

    def scope(self) -> str:
        """Who is protected, and from whom."""
        relation = _RELATIONS[self.neighbouring].format(unit=self.unit)
        return f"each {self.unit} ({relation}) from {_ADVERSARIES[self.adversary]}"

    def sentence(self) -> str:
        """The guarantee in words."""
        return (
            f"protects {self.scope()}; "
            f"noise σ = {self.noise:.4g} on {self.query}, sensitivity Δ = {self.sensitivity:.4g}, "
            f"z = σ/Δ = {self.noise_multiplier:.4g}; not covered: {self.excludes}"
        )


def sensitivity_of_sum(bound: float, neighbouring: Neighbouring) -> float:
    """The L2 sensitivity of a sum of vectors of norm at most ``bound``: ``bound``, and twice that under replace-one."""
    return bound if neighbouring == "add_or_remove" else 2.0 * bound
