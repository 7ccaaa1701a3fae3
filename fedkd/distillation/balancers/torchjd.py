"""λ from the weightings of TorchJD."""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from fedkd.distillation.balancer import LambdaBalancer, scaled
from fedkd.distillation.geometry import GradientGeometry


@dataclass(kw_only=True)
class TorchJD(LambdaBalancer):
    """λ = w_dist/(w_dist + w_cls), with the weights that a method of TorchJD gives to the two gradients.

    ``weighting``: a method of TorchJD that weighs by the Gram matrix, with or without capitals, underscores and the
    ending "Weighting": mgda, upgrad, cagrad, aligned_mtl, imtl_g, gradvac, ... (Quinton & Rey 2024, arXiv 2406.16232,
    and the papers that TorchJD's documentation names). Needs ``fedkd[torchjd]``; upgrad, dualproj and cagrad need
    solvers besides, which the error names. Nash-MTL takes no Gram matrix; for two losses it is ``inverse_norm``.
    ``weighting_options``: that method's own arguments; lists become tensors.

    The Gram matrix [[a, b], [b, c]] is divided by max(a, c) at every step, against overflow: λ does not change for
    methods blind to a common scale, and methods with a memory or a threshold see relative norms. λ in [0, 1] cannot
    express a negative weight: it counts as 0. It is ½ when no weight is positive or both gradients vanish.
    """

    weighting: str = "mgda"
    weighting_options: dict[str, Any] = field(default_factory=dict)
    _method: nn.Module = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        # Some methods refuse two rows only when called: the trial call finds that before a run starts.
        _weigh(_method(self.weighting, self.weighting_options), torch.eye(2, dtype=torch.float64))
        self._method = _method(self.weighting, self.weighting_options)

    def propose(self, geometry: GradientGeometry) -> float:
        a, b, c = scaled(geometry)
        if max(a, c) <= 0.0:
            return 0.5
        dist, task = _weigh(self._method, torch.tensor([[a, b], [b, c]], dtype=torch.float64))
        dist, task = max(dist, 0.0), max(task, 0.0)
        return dist / (dist + task) if dist + task != 0.0 else 0.5

    def policy_state(self) -> dict[str, Any]:
        return {name: value.tolist() for name, value in self._method.state_dict().items()}

    def load_policy_state(self, state: Mapping[str, Any]) -> None:
        self._method = _method(self.weighting, self.weighting_options)
        if state:
            # The methods make their buffers at the first call.
            _weigh(self._method, torch.eye(2, dtype=torch.float64))
            buffers = self._method.state_dict()
            self._method.load_state_dict(
                {name: torch.tensor(value, dtype=buffers[name].dtype) for name, value in state.items()}
            )


def _weigh(method: nn.Module, gramian: torch.Tensor) -> tuple[float, float]:
    # Some methods draw an order of the gradients, which does not matter for two; the caller's generator stays as it is.
    with torch.random.fork_rng(devices=[]):
        dist, task = method(gramian).tolist()
    return dist, task


def _method(name: str, options: Mapping[str, Any]) -> nn.Module:
    """The weighting called ``name``; raises ``ValueError`` for what is missing, unknown or unfit."""
    try:
        aggregation = importlib.import_module("torchjd.aggregation")
    except ImportError as error:
        raise ValueError(f"TorchJD cannot be imported ({error}); pip install 'fedkd[torchjd]'") from error
    base = aggregation.GramianWeightedAggregator
    methods: dict[str, Any] = {
        _key(cls.__name__): cls
        for cls in vars(aggregation).values()
        if inspect.isclass(cls) and issubclass(cls, base) and cls is not base
    }
    if (key := _key(name)) == "nashmtl":
        raise ValueError("weighting nash_mtl takes no Gram matrix; with two losses it equals the balancer inverse_norm")
    if key not in methods:
        raise ValueError(f"unknown weighting {name!r}; choices: {', '.join(sorted(methods))}")
    values = {
        option: torch.tensor(value, dtype=torch.float64) if isinstance(value, list) else value
        for option, value in options.items()
    }
    try:
        chosen: nn.Module = methods[key](**values).gramian_weighting
    except (ImportError, TypeError) as error:
        raise ValueError(f"weighting {name!r}: {error}") from error
    return chosen


def _key(name: str) -> str:
    return name.replace("_", "").lower().removesuffix("weighting")
