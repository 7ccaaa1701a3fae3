"""What the study of algorithms runs, and which settings of each algorithm it tries."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedkd.config.shipped import config_path

REFERENCE = "stacked_codistillation"
"""What the algorithm of configs/fashion_mnist.yaml is called here; its run has the controls, too."""
Setting = Mapping[str, Any]
"""Changes to a configuration by dotted path."""


@dataclass(frozen=True)
class Tuning:
    """What each algorithm is tuned with: its settings, with every seed, for as many rounds.

    There are ``private`` and ``public`` times fewer samples than in the table. Passes over them are made as many times
    more often, so that optimisers take as many steps a round.
    """

    seeds: tuple[int, ...]
    rounds: int
    private: int
    public: int
    test_size: int


@dataclass(frozen=True)
class Preset:
    """The seeds of the table, changes to every shipped configuration, and where the tuned ones are, if it has any."""

    seeds: tuple[int, ...]
    changes: Setting
    tuning: Tuning
    tuned: Path | None = None


PRESETS = {
    "full": Preset(
        seeds=(0, 1, 2),
        changes={},
        tuning=Tuning(seeds=(100,), rounds=4, private=8, public=5, test_size=2000),
        tuned=Path("configs/tuned"),
    ),
    "small": Preset(
        seeds=(0,),
        changes={
            "data.dataset": "digits",
            "data.private_size": 400,
            "data.public.size": 300,
            "data.public.labelled": 80,
            "data.public.round_size": None,
            "clients.count": 4,
            "distillation.steps": 40,
            "rounds": 2,
        },
        tuning=Tuning(seeds=(100,), rounds=1, private=2, public=2, test_size=150),
    ),
}

SEARCH: Mapping[str, tuple[Setting, ...]] = {
    "cfd": (
        {},
        {"clients.learning_rate": 0.01},
        {"clients.rule.digest_epochs": 3},
        {"communication.uplink.bits": 2},
    ),
    "cronus": (
        {},
        {"strategy.share": 0.1},
        {"clients.rule.digest_epochs": 3},
        {"clients.learning_rate": 0.01},
    ),
    "ds_fl": (
        {},
        {"strategy.temperature": 0.05},
        {"strategy.temperature": 0.3},
        {"clients.rule.digest_epochs": 3},
    ),
    "fed_distill": (
        {},
        {"clients.rule.weight": 0.1},
        {"clients.rule.weight": 0.3},
        {"clients.rule.weight": 3.0},
    ),
    "fed_et": (
        {},
        {"clients.learning_rate": 0.01},
        {"distillation.learning_rate": 0.01},
        {"distillation.temperature": 3.0},
    ),
    "fed_proto": (
        {},
        {"clients.rule.weight": 0.1},
        {"clients.rule.weight": 3.0},
        {"clients.rule.weight": 10.0},
    ),
    "fedavg": (
        {},
        {"clients.learning_rate": 0.01},
        {"clients.learning_rate": 0.06},
        {"clients.learning_rate": 0.1},
    ),
    "feddf": (
        {},
        {"clients.learning_rate": 0.01},
        {"clients.learning_rate": 0.06},
        {"distillation.learning_rate": 0.0003},
    ),
    "fedgkt": (
        {},
        {"clients.learning_rate": 0.003},
        {"student.rule.epochs": 3},
        {"clients.rule.temperature": 1.0, "student.rule.temperature": 1.0},
    ),
    "fedmd": (
        {},
        {"clients.rule.digest_epochs": 3},
        {"clients.rule.digest_loss": "kl"},
        {"clients.learning_rate": 0.01},
    ),
    "fedprox": (
        {},
        {"clients.proximal": 0.001},
        {"clients.proximal": 0.01},
        {"clients.proximal": 1.0},
    ),
    "scarlet": (
        {},
        {"strategy.exponent": 1.0},
        {"strategy.exponent": 1.5},
        {"clients.rule.digest_epochs": 3},
    ),
    "selective_fd": (
        {},
        {"clients.rule.quantile": 0.1},
        {"clients.rule.quantile": 0.5},
        {"strategy.threshold": 2.0},
    ),
    "stacked": (
        {},
        {"clients.learning_rate": 0.01},
        {"strategy.weights": "class"},
        {"distillation.temperature": 4.0},
    ),
    REFERENCE: (
        {},
        {"clients.learning_rate": 0.01},
        {"clients.rule.digest_epochs": 3},
        {"strategy.weights": "class"},
    ),
}
"""As many settings for each algorithm, the shipped one first: of what its paper tunes, or of a rate."""


def shipped(name: str) -> Path:
    """The shipped configuration of an algorithm."""
    return config_path("fashion_mnist" if name == REFERENCE else f"algorithms/{name}")
