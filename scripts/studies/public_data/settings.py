"""What the study of public sets is made of: the cells of its axes, and presets of data and training."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fedkd.config.load import load_config
from fedkd.config.schema import ExperimentConfig

SAME = "same data"
SELECTIVE = "selective"
STRATEGIES: dict[str, dict[str, Any]] = {
    "mean": {"strategy": "mean_probabilities"},
    "era": {"strategy": "era"},
    SELECTIVE: {"strategy": "selective", "clients.rule": {"name": "selective", "samples": 1_000}},
    "stacked": {"strategy": "stacked"},
}
"""Values of the configuration; but for the client rule ``selective``, clients answer everywhere."""
NEEDS_LABELS = frozenset({"stacked"})


@dataclass(frozen=True)
class Cell:
    """A public set: its size, how many labels the server knows, where it is from, and the share of wrong labels."""

    size: int
    labels: int
    origin: str = SAME
    wrong: float = 0.0

    @property
    def name(self) -> str:
        """In words, for tables."""
        known = "no labels" if self.labels == 0 else f"{self.labels:,} labels"
        wrong = f", {self.wrong:.0%} wrong" if self.wrong else ""
        origin = "" if self.origin == SAME else f" ({self.origin})"
        return f"{self.size:,} samples{origin}, {known}{wrong}"

    @property
    def strategies(self) -> tuple[str, ...]:
        """Those that can do without the labels that are missing."""
        return tuple(name for name in STRATEGIES if self.labels or name not in NEEDS_LABELS)


@dataclass(frozen=True)
class Preset:
    """The experiment, its partitions, the largest public set, and the cells of each axis, a reference among them.

    ``origins`` are values below ``data.public``. ``setting`` is the preset whose finished tasks this one shares.
    """

    setting: str
    base: Mapping[str, Any]
    partitions: Mapping[str, Mapping[str, Any]]
    largest: int
    reference: Cell
    sizes: tuple[int, ...]
    labels: tuple[int, ...]
    wrong: tuple[float, ...]
    origins: Mapping[str, Mapping[str, Any]]
    elsewhere: Mapping[str, int]
    seeds: tuple[int, ...]

    @property
    def axes(self) -> dict[str, tuple[Cell, ...]]:
        """The cells by axis. Samples from ``elsewhere``, so many of each, have no labels that could be known.

        Where there are fewer of them than in the reference, as few of the same data are beside them.
        """
        changed = tuple(origin for origin in self.origins if origin not in self.elsewhere)
        unlabelled = replace(self.reference, labels=0)
        fewer = sorted({size for size in self.elsewhere.values() if size < self.reference.size})
        return {
            "size": tuple(replace(self.reference, size=size) for size in self.sizes),
            "labels": tuple(replace(self.reference, labels=labels) for labels in self.labels),
            "wrong labels": tuple(replace(self.reference, wrong=share) for share in self.wrong),
            "origin": (self.reference, *(replace(self.reference, origin=origin) for origin in changed)),
            "origin, no labels": (
                unlabelled,
                *(replace(unlabelled, size=size) for size in fewer),
                *(replace(unlabelled, origin=origin) for origin in changed),
                *(Cell(size, 0, origin) for origin, size in self.elsewhere.items()),
            ),
        }

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys(cell for axis in self.axes.values() for cell in axis))

    def config(self, partition: str, seed: int, cell: Cell, strategy: str | None = None) -> ExperimentConfig:
        """The experiment of a cell."""
        values: dict[str, Any] = {f"data.partition.{key}": value for key, value in self.partitions[partition].items()}
        values |= {f"data.public.{key}": value for key, value in self.origins.get(cell.origin, {}).items()}
        values |= {"data.public.size": cell.size, "data.public.labelled": cell.labels}
        values |= {"data.public.label_noise": cell.wrong, "seed": seed}
        values |= {} if strategy is None else STRATEGIES[strategy]
        return load_config(self.base, values=values)


def _pixels(side: int, samples: int) -> dict[str, Any]:
    """Images of noise, a few more than are needed: some are for testing."""
    options = {"size": samples * 3 // 2, "image_size": [1, side, side], "num_classes": 2}
    return {"dataset": {"name": "torchvision", "dataset": "FakeData", "options": options}}


CHANGED: dict[str, dict[str, Any]] = {
    "rotated": {"corruption.rotate": 30.0},
    "inverted": {"corruption.invert": True},
    "noisy": {"corruption.noise": 0.3},
}
PRESETS = {
    "full": Preset(
        setting="full",
        base={
            "rounds": 1,
            # What models see of private samples must not depend on the public ones: the clients are trained once.
            "data": {"dataset": "fashion_mnist", "transform": "scale", "private_size": 10_000},
            "clients": {"count": 10, "epochs": 5, "models": ["cnn"], "rule": "own_model"},
            "student": {"model": "mlp"},
            "distillation": {"steps": 600, "batch_size": 64, "labelled_batch_size": 64},
        },
        partitions={"alpha=0.1": {"alpha": 0.1}, "alpha=1": {"alpha": 1.0}},
        largest=16_000,
        reference=Cell(4_000, 500),
        sizes=(500, 1_000, 2_000, 4_000, 8_000, 16_000),
        labels=(0, 100, 500, 2_000),
        wrong=(0.0, 0.1, 0.2, 0.4),
        origins={**CHANGED, "digits": {"dataset": "digits"}, "pure noise": _pixels(28, 4_000)},
        elsewhere={"digits": 1_400, "pure noise": 4_000},
        seeds=(0, 1, 2),
    ),
    "small": Preset(
        setting="small",
        base={
            "rounds": 1,
            "data": {"dataset": "digits", "transform": "scale", "private_size": 600},
            "clients": {"count": 4, "epochs": 3, "models": ["mlp"], "rule": "own_model"},
            "student": {"model": "mlp"},
            "distillation": {"steps": 30, "balancer": {"name": "fixed", "value": 0.5}},
        },
        partitions={"alpha=0.3": {"alpha": 0.3}},
        largest=300,
        reference=Cell(300, 60),
        sizes=(60, 300),
        labels=(0, 60),
        wrong=(0.0, 0.4),
        origins={"inverted": CHANGED["inverted"], "pure noise": _pixels(8, 100)},
        elsewhere={"pure noise": 100},
        seeds=(0, 1),
    ),
}
PRESETS["core"] = replace(PRESETS["full"], partitions={"alpha=0.1": {"alpha": 0.1}})
"""One of the partitions of the full preset, in half of the time."""
