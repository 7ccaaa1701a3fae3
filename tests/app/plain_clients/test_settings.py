"""What a strategy is told is checked when it is made, all at once."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedkd.core.errors import ConfigError
from tests.support.plain_apps import PUBLIC, digits, plain_strategy

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a strategy that is not there": ({"strategy": "stakced"}, "unknown strategy 'stakced'; did you mean 'stacked'?"),
    "an option that it does not have": ({"strategy": {"name": "stacked", "fodls": 2}}, "did you mean 'folds'?"),
    "a strategy with a proof": ({"strategy": "gnmax"}, "strategy: gnmax proves a privacy"),
    "a strategy without its labels": ({"labels": None}, "strategy: stacked is fitted on labelled public samples"),
    "a distillation key": (
        {"distillation": {"stpes": 3}},
        "distillation.stpes: unknown key, got 3; did you mean 'steps'?",
    ),
    "a temperature that is chosen on nothing": (
        {"distillation": {"temperature": "auto"}, "labels": None, "strategy": "median"},
        "there are none with labels = 0 and validation = 0.2",
    ),
    "a loss between layers": (
        {"distillation": {"loss": [{"name": "fitnets", "layers": {"0": "0"}}]}},
        "distillation: ",
    ),
    "a broadcast": (
        {"broadcast": "concensus"},
        "broadcast: must be student, consensus or nothing, got 'concensus'; did you mean",
    ),
    "an option of Flower's": (
        {"fraction_trian": 0.5},
        "fraction_trian: LogitDistillation takes no such argument; did you mean 'fraction_train'?",
    ),
    "no network": ({"student": "cnn"}, "student: must be a torch.nn.Module, got str"),
    "nothing to train": ({"student": nn.Flatten()}, "student: Flatten has no parameters to train"),
    "a student of other samples": (
        {"student": nn.Linear(3, 10)},
        r"student: cannot take public samples of shape (64,)",
    ),
    "a student of one class": ({"student": nn.Linear(64, 1)}, "two classes at least, got (2, 1)"),
    "samples of text": ({"public": np.full((3, 2), "a")}, "public: must be an array of numbers, got <U1"),
    "one sample": (
        {"public": digits()[0][0]},
        "public: must be samples [samples, ...], none of them empty, got shape (64,)",
    ),
    "samples without numbers": ({"public": digits()[0][:PUBLIC] * np.nan}, "public: must be finite"),
    "too many labels": (
        {"labels": digits()[1][: PUBLIC + 1]},
        f"labels: must be no more than the {PUBLIC} public samples",
    ),
    "labels beyond the classes": ({"labels": [0, 10]}, "labels: must lie from −1 to 9"),
    "labels one-hot": (
        {"labels": np.eye(10)},
        "labels: must be whole numbers [samples], got float64 of shape (10, 10)",
    ),
    "a round size": ({"round_size": 0}, "round_size: "),
    "a share": ({"validation": 1.5}, "validation: "),
    "a seed": ({"seed": -1}, "seed: "),
    "too few reports": ({"min_reports": 0}, "min_reports: must be a whole number from 1, got 0"),
    "shipping": ({"ship_public": "yes"}, "ship_public: must be True or False, got 'yes'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused(case: str) -> None:
    changes, words = BAD[case]
    with pytest.raises(ConfigError) as caught:
        plain_strategy(**changes)
    assert words in str(caught.value)
    assert "data.public" not in str(caught.value)


def test_everything_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        plain_strategy(strategy="stakced", broadcast="all", labels=[11], distillation={"steps": 0}, seeds=3)
    assert len(caught.value.problems) == 5


def test_samples_and_labels_may_be_tensors_and_labels_may_lie_anywhere() -> None:
    inputs, labels = digits()
    spread = torch.from_numpy(labels[:PUBLIC].copy())
    spread[::2] = -1
    public = plain_strategy(public=torch.from_numpy(inputs[:PUBLIC]), labels=spread)._settings.experiment.data.public
    assert int(public.validation.sum()) == PUBLIC // 2 // 5
    assert not bool(public.validation[::2].any())
    assert torch.equal(public.truth, spread)
