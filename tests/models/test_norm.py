"""What is kept of batch normalisation, and statistics from samples."""

import pytest
import torch
from torch import nn

from fedkd.models import batch_norm_entries, estimate_statistics

MODEL = nn.Sequential(
    nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.GroupNorm(1, 2), nn.Flatten(), nn.BatchNorm1d(8, affine=False)
)


def test_entries_are_those_of_batch_normalisation_alone() -> None:
    statistics = [f"{layer}.{name}" for layer in (1, 4) for name in ("running_mean", "running_var")]
    counts = ["1.num_batches_tracked", "4.num_batches_tracked"]
    assert batch_norm_entries(MODEL, "none") == ()
    assert sorted(batch_norm_entries(MODEL, "statistics")) == sorted([*statistics, *counts])
    assert sorted(batch_norm_entries(MODEL, "all")) == sorted([*statistics, *counts, "1.weight", "1.bias"])
    assert {*batch_norm_entries(MODEL, "all")} <= {*MODEL.state_dict()}
    untracked = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False))
    assert batch_norm_entries(untracked, "statistics") == ()
    assert batch_norm_entries(nn.BatchNorm1d(3, affine=False), "all") == batch_norm_entries(
        nn.BatchNorm1d(3), "statistics"
    )


def test_statistics_forget_what_was_before_and_are_means_over_batches() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(1, momentum=0.3))
    layer = model[1]
    assert isinstance(layer, nn.BatchNorm1d)
    assert layer.running_mean is not None and layer.running_var is not None  # noqa: PT018
    layer.running_mean.fill_(100.0)
    # Batches of 512 and 88: means 0 and 6; of variances 0 and, of 44 each at 5 and 7, 88/87.
    inputs = torch.cat([torch.zeros(512), torch.full((44,), 5.0), torch.full((44,), 7.0)]).unsqueeze(1)
    estimate_statistics(model, inputs)
    assert float(layer.running_mean) == pytest.approx(3.0)
    assert float(layer.running_var) == pytest.approx(88 / 87 / 2)
    assert layer.momentum == 0.3
    assert not any(module.training for module in model.modules())


def test_one_sample_has_no_statistics() -> None:
    model = nn.BatchNorm1d(2)
    estimate_statistics(model, torch.ones(1, 2))
    assert model.state_dict()["running_mean"].tolist() == [0.0, 0.0]
