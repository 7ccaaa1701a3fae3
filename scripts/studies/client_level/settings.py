"""What the study of client-level privacy is made of: cells, presets, and what was tried to choose its setting."""

from dataclasses import dataclass
from typing import Any

SAMPLES = 40
"""Private samples per client."""
EPSILON = 8.0
LABELS, FEW_LABELS = 200, 50
"""Labels that the server knows: those of the configurations, and fewer."""
PLAIN = "many_clients"
ROWS = {"none": PLAIN, "gnmax": f"{PLAIN}_gnmax", "gaussian": f"{PLAIN}_gaussian"}
"""The configurations of configs/privacy, by what the table calls them."""


@dataclass(frozen=True)
class Cell:
    """So many clients under a protection, and how many labels the server knows; ``epsilon`` is None without one."""

    row: str
    clients: int
    epsilon: float | None = None
    labels: int = LABELS

    @property
    def name(self) -> str:
        shown = f"{self.row}, {self.clients} clients, {self.labels} labels"
        return shown if self.epsilon is None else f"{shown}, ε = {self.epsilon:g}"

    @property
    def overrides(self) -> tuple[str, ...]:
        """What differs from the row's configuration."""
        own = "controls=[public_only, centralised]"
        if self.epsilon is not None:
            own = f"strategy.target_epsilon={self.epsilon:g}"
        labels = () if self.labels == LABELS else (f"data.public.labelled={self.labels}",)
        return f"clients.count={self.clients}", f"data.private_size={self.clients * SAMPLES}", own, *labels


PRESETS: dict[str, dict[str, Any]] = {
    "full": {
        "cells": (
            *(Cell("none", clients) for clients in (100, 250, 500)),
            *(Cell("gnmax", clients, EPSILON) for clients in (100, 250, 500)),
            Cell("gaussian", 500, EPSILON),
            Cell("none", 500, labels=FEW_LABELS),
            Cell("gnmax", 500, EPSILON, FEW_LABELS),
        ),
        "seeds": (0, 1, 2),
        "shadows": 16,
        "overrides": (),
    },
    "small": {
        "cells": (Cell("none", 10), Cell("gnmax", 10, EPSILON)),
        "seeds": (0,),
        "shadows": 8,
        "overrides": (
            "data.dataset=digits",
            "data.public.size=400",
            "data.public.round_size=20",
            "rounds=2",
            "clients.epochs=2",
            "student.rule.pretrain_steps=5",
            "student.model={name: mlp, hidden: [16]}",
            "distillation.steps=5",
            "distillation.augment=[]",
            "distillation.average=0",
        ),
    },
}

TRIALS = (100,)
"""Seeds of tuning, on samples that are private or test samples under none of the study's."""
TRIAL_CLIENTS = 200
TRICKS = ("distillation.augment=[flip, shift]", "distillation.average=0.998")
PLAINLY = ("distillation.augment=[]", "distillation.average=0")
SETTINGS: dict[str, tuple[str, ...]] = {
    "one round, 1,000 steps": ("rounds=1", "data.public.round_size=null", "distillation.steps=1000", *TRICKS),
    "four rounds, 250 plain steps": ("rounds=4", "data.public.round_size=500", "distillation.steps=250", *PLAINLY),
    "four rounds, 1,000 steps": ("rounds=4", "data.public.round_size=500", "distillation.steps=1000", *TRICKS),
    "eight rounds, 500 steps": ("rounds=8", "data.public.round_size=250", "distillation.steps=500", *TRICKS),
}
"""All ask about 2,000 public samples beside the labelled ones, and are tried without noise."""
