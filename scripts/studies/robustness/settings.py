"""What the robustness study is made of: attacks, defences, and presets of data and training."""

from typing import Any

from fedkd.config.load import load_config, to_json
from fedkd.config.schema import ExperimentConfig
from fedkd.core.seeding import numpy_generator
from fedkd.experiment import Experiment

NONE = "none"
ABSENT = "absent"
"""No attack either: the clients that would attack do not take part, and what they know is missing."""
ATTACKS: dict[str, tuple[str, dict[str, Any]]] = {
    "free_rider": ("free_rider", {}),
    "label_noise": ("label_noise", {"kind": "next"}),
    "second_class": ("second_class", {}),
    "little_is_enough": ("little_is_enough", {}),
    "lma": ("lma", {}),
    "cpa": ("cpa", {}),
    "hips": ("hips", {}),
}
TRAINED = ("free_rider", "label_noise")
"""Attacks whose logits come from a model of their own, and are not made of honest logits."""
DEFENCES: dict[str, tuple[str, dict[str, Any]]] = {
    "mean_probabilities": ("mean_probabilities", {}),
    "median": ("median", {}),
    "trimmed_mean": ("trimmed_mean", {"trim": 3}),
    "geometric_median": ("geometric_median", {}),
    "krum": ("krum", {"malicious": 3}),
    "multi_krum": ("multi_krum", {"malicious": 3}),
    "cronus": ("cronus", {"share": 0.3}),
    "exp_guard": ("exp_guard", {}),
    "vote": ("vote", {}),
    "stacked": ("stacked", {}),
}
"""Those that need the number of malicious clients assume three of ten, whether or not there are so many."""
COLLUDERS = 0.3
"""The share of attackers where they hold all private samples of a class, which the seed draws."""
HELD: dict[str, Any] = {"scheme": "natural"}
"""A Dirichlet draw with alpha = 1, but for the class that the attackers hold."""
ROUNDS_BEFORE = 8
"""Into how many parts the public set is cut for strategies with state."""
PRESETS: dict[str, dict[str, Any]] = {
    "full": {
        "base": {
            "rounds": 1,
            "data": {
                "dataset": "fashion_mnist",
                "private_size": 30_000,
                "public": {"size": 8_000, "labelled": 500},
            },
            "clients": {"count": 10, "epochs": 3, "models": ["cnn"]},
            "student": {"model": "mlp"},
            "distillation": {
                "steps": 400,
                "batch_size": 64,
                "learning_rate": 0.05,
                "clip_norm": 5.0,
                "balancer": {"name": "fixed", "value": 1.0},
            },
        },
        "partitions": {"alpha=1": {"alpha": 1.0}, "alpha=0.1": {"alpha": 0.1}, "colluders hold a class": HELD},
        "attacks": (*ATTACKS, ABSENT),
        "defences": tuple(DEFENCES),
        "shares": (0.1, 0.3),
        "seeds": (0, 1, 2),
    },
    "small": {
        "base": {
            "rounds": 1,
            "data": {"dataset": "digits", "private_size": 800, "public": {"size": 400, "labelled": 100}},
            "clients": {"count": 10, "epochs": 3},
            "student": {"model": "mlp"},
            "distillation": {"steps": 100, "balancer": {"name": "fixed", "value": 1.0}},
        },
        "partitions": {"iid": {"scheme": "iid"}, "colluders hold a class": HELD},
        "attacks": ("label_noise", "hips", ABSENT),
        "defences": ("mean_probabilities", "median", "stacked"),
        "shares": (0.3,),
        "seeds": (0, 1),
    },
}

PRESETS["core"] = PRESETS["full"] | {
    "partitions": {"alpha=1": {"alpha": 1.0}, "alpha=0.1": {"alpha": 0.1}},
    "attacks": ("label_noise", "lma", "hips", ABSENT),
    "defences": ("mean_probabilities", "median", "trimmed_mean", "multi_krum", "cronus", "exp_guard", "stacked"),
    "shares": (0.3,),
}
"""The most important part of the full table, in minutes."""


def configured(preset: str, partition: str, seed: int, share: float = 0.0) -> ExperimentConfig:
    """The experiment of one partition and seed; ``share`` decides who attacks."""
    base, rule = PRESETS[preset]["base"], PRESETS[preset]["partitions"][partition]
    chosen = [f"seed={seed}", *(f"data.partition.{key}={value}" for key, value in rule.items())]
    if rule is HELD:
        source = {
            "name": "studies.robustness.held_class:HeldClass",
            "base": base["data"]["dataset"],
            "clients": base["clients"]["count"],
            "holders": sorted(Experiment.of(load_config(base, [f"seed={seed}", _share(COLLUDERS)])).attackers),
            "held": int(numpy_generator(seed, purpose="held class").integers(10)),
            "seed": seed,
        }
        chosen.append(f"data.dataset={source}")
    return load_config(base, [*chosen, _share(share)])


def _share(share: float) -> str:
    return f"clients.attackers.share={share}"


def experiment_of(preset: str, partition: str, seed: int, share: float = 0.0) -> Experiment:
    """The experiment that ``configured`` describes."""
    return Experiment.of(to_json(configured(preset, partition, seed, share)))


def shares_of(preset: str, partition: str) -> tuple[float, ...]:
    """The shares of attackers that are tried: one where the partition is made for them."""
    spec = PRESETS[preset]
    shares: tuple[float, ...] = (COLLUDERS,) if spec["partitions"][partition] is HELD else spec["shares"]
    return shares


def cases_of(preset: str, partition: str) -> list[tuple[str, float]]:
    """Attack and share of attackers; the first is nobody."""
    attacks = PRESETS[preset]["attacks"]
    return [(NONE, 0.0), *((attack, share) for share in shares_of(preset, partition) for attack in attacks)]


def case_name(attack: str, share: float) -> str:
    return NONE if attack == NONE else f"{attack} {share:.0%}"
