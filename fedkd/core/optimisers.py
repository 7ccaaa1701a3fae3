"""SGD and Adam, in float32 and float64 bit for bit as in ``torch.optim``, whose first one imports torch's compiler."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor


class Optimiser(ABC):
    """Moves parameters by their ``grad``; ``learning_rate`` may be set before any step.

    What is kept of a parameter from step to step is known by the parameter's position.
    """

    def __init__(self, parameters: Iterable[Tensor], learning_rate: float, weight_decay: float = 0.0) -> None:
        self.parameters = list(parameters)
        self.learning_rate = learning_rate
        self._weight_decay = weight_decay
        self._kept: list[dict[str, Any]] = [{} for _ in self.parameters]

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters that have a gradient; the others stay, as does what is kept of them."""
        moving = [index for index, parameter in enumerate(self.parameters) if parameter.grad is not None]
        if not moving:
            return
        parameters = [self.parameters[index] for index in moving]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self._weight_decay:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=self._weight_decay))
        self._move(parameters, gradients, [self._kept[index] for index in moving])

    @abstractmethod
    def _move(self, parameters: list[Tensor], gradients: list[Tensor], kept: list[dict[str, Any]]) -> None:
        """Move ``parameters`` by ``gradients``, which must stay as they are, and bring ``kept`` up to date."""

    def forget(self) -> None:
        """Make the next step a parameter's first."""
        self._kept = [{} for _ in self.parameters]

    def zero_grad(self) -> None:
        """Leave no parameter with a gradient."""
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """The learning rate and, by a parameter's position, what is kept of it, laid out as by ``torch.optim``."""
        return {
            "state": {index: dict(kept) for index, kept in enumerate(self._kept) if kept},
            "param_groups": [{"lr": self.learning_rate, "params": list(range(len(self.parameters)))}],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a copy of what ``state_dict`` returned; raises ``ValueError`` for that of other parameters."""
        (group,) = state["param_groups"]
        if len(group["params"]) != len(self.parameters):
            raise ValueError(
                f"state must be of {len(self.parameters)} parameters as the optimiser is, got {len(group['params'])}"
            )
        self.learning_rate = group["lr"]
        self._kept = [
            {
                # torch.optim counts steps in a tensor.
                key: int(value) if key == "step" else value.to(parameter, copy=True)
                for key, value in state["state"].get(index, {}).items()
            }
            for index, parameter in enumerate(self.parameters)
        ]


class SGD(Optimiser):
    """Stochastic gradient descent: b ← momentum·b + g, θ ← θ − learning_rate·b; b is g at a parameter's first step."""

    def __init__(
        self, parameters: Iterable[Tensor], learning_rate: float, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, learning_rate, weight_decay)
        self._momentum = momentum

    def _move(self, parameters: list[Tensor], gradients: list[Tensor], kept: list[dict[str, Any]]) -> None:
        if self._momentum:
            gradients = self._averaged(gradients, kept)
        torch._foreach_add_(parameters, gradients, alpha=-self.learning_rate)

    def _averaged(self, gradients: list[Tensor], kept: list[dict[str, Any]]) -> list[Tensor]:
        known = [(each["momentum_buffer"], new) for each, new in zip(kept, gradients, strict=True) if each]
        if known:
            buffers, news = (list(column) for column in zip(*known, strict=True))
            torch._foreach_mul_(buffers, self._momentum)
            torch._foreach_add_(buffers, news)
        if len(known) < len(kept):
            for each, new in zip(kept, gradients, strict=True):
                if not each:
                    each["momentum_buffer"] = new.clone()
        return [each["momentum_buffer"] for each in kept]


class Adam(Optimiser):
    """Adam (Kingma & Ba 2015, arXiv 1412.6980, Algorithm 1) with the constants proposed there."""

    BETAS, EPSILON = (0.9, 0.999), 1e-8

    def _move(self, parameters: list[Tensor], gradients: list[Tensor], kept: list[dict[str, Any]]) -> None:
        for parameter, each in zip(parameters, kept, strict=True):
            if not each:
                each |= {"step": 0, "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}
            each["step"] += 1
        (first, second), steps = self.BETAS, [each["step"] for each in kept]
        means, squares = [each["exp_avg"] for each in kept], [each["exp_avg_sq"] for each in kept]
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
        scales = torch._foreach_sqrt(squares)
        torch._foreach_div_(scales, [(1 - second**step) ** 0.5 for step in steps])
        torch._foreach_add_(scales, self.EPSILON)
        torch._foreach_addcdiv_(parameters, means, scales, [-self.learning_rate / (1 - first**step) for step in steps])
