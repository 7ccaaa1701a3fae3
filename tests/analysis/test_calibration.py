"""Calibration, against predictors whose figures are known by hand."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from fedkd.analysis.calibration import (
    brier_score,
    fitted_temperature,
    negative_log_likelihood,
    reliability,
    scaled,
)


def _predictor(confidence: float, right: int, samples: int, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Says class 0 with this probability and the others alike; ``right`` of all samples are of class 0."""
    other = (1 - confidence) / (classes - 1)
    probabilities = torch.tensor([confidence, *[other] * (classes - 1)], dtype=torch.float64).repeat(samples, 1)
    labels = torch.tensor([0] * right + [1 + index % (classes - 1) for index in range(samples - right)])
    return probabilities.log(), labels


def test_a_calibrated_predictor_has_no_calibration_error() -> None:
    log_probabilities, labels = _predictor(0.7, right=70, samples=100)

    assert reliability(log_probabilities, labels).error == pytest.approx(0, abs=1e-12)
    # 0.7 is above 10/15 and below 11/15.
    assert reliability(log_probabilities, labels).share.nonzero().flatten().tolist() == [10]


def test_an_overconfident_predictor_is_out_by_its_overconfidence() -> None:
    log_probabilities, labels = _predictor(0.9, right=60, samples=100)

    assert reliability(log_probabilities, labels).error == pytest.approx(0.3)
    assert negative_log_likelihood(log_probabilities, labels) == pytest.approx(
        -(0.6 * math.log(0.9) + 0.4 * math.log(0.1 / 3))
    )
    right = 0.1**2 + 3 * (0.1 / 3) ** 2
    wrong = 0.9**2 + (1 - 0.1 / 3) ** 2 + 2 * (0.1 / 3) ** 2
    assert brier_score(log_probabilities, labels) == pytest.approx(0.6 * right + 0.4 * wrong)


def test_too_sure_and_too_unsure_do_not_make_up_for_each_other() -> None:
    sure, unsure = _predictor(0.9, right=30, samples=50), _predictor(0.5, right=45, samples=50)
    both = [torch.cat(each) for each in zip(sure, unsure, strict=True)]

    assert reliability(both[0], both[1]).error == pytest.approx(0.5 * 0.3 + 0.5 * 0.4)


def test_a_sample_of_which_a_model_is_certain_belongs_to_the_last_bin() -> None:
    certain = torch.tensor([[0.0, -torch.inf], [math.log(0.95), math.log(0.05)]], dtype=torch.float64)

    found = reliability(certain, torch.tensor([1, 0]))

    assert found.share[-1] == 1
    assert found.error == pytest.approx(abs(0.5 - 0.975))


def test_the_error_is_that_of_torchmetrics() -> None:
    metrics = pytest.importorskip("torchmetrics.functional.classification")
    draw = torch.Generator().manual_seed(0)
    log_probabilities = torch.randn(500, 5, generator=draw).mul(3).log_softmax(dim=-1)
    labels = torch.randint(5, (500,), generator=draw)

    theirs = metrics.multiclass_calibration_error(log_probabilities.exp(), labels, num_classes=5, n_bins=15)

    assert reliability(log_probabilities, labels).error == pytest.approx(float(theirs), abs=1e-5)


@pytest.mark.parametrize("known", [0.4, 1.0, 2.5])
def test_temperature_scaling_recovers_the_temperature(known: float) -> None:
    # Labels as often as the true probabilities say, which the model states sharper or flatter.
    counts = torch.tensor([[50, 30, 20], [10, 10, 80], [60, 25, 15]])
    truth = (counts / counts.sum(dim=1, keepdim=True)).double().log()
    rows = torch.arange(3).repeat_interleave(counts.sum(dim=1))
    labels = torch.cat([torch.arange(3).repeat_interleave(row) for row in counts])
    stated = (truth * known).log_softmax(dim=-1)[rows]

    # At one temperature every sample's stated distribution becomes the true one, of which the labels are.
    found = fitted_temperature(stated, labels)

    assert found is not None
    assert found == pytest.approx(known, rel=1e-6)
    torch.testing.assert_close(scaled(stated, found), truth[rows])


def test_labels_are_likeliest_at_the_fitted_temperature() -> None:
    log_probabilities, labels = _predictor(0.9, right=60, samples=100)
    best = fitted_temperature(log_probabilities, labels)
    assert best is not None

    losses = [
        negative_log_likelihood(scaled(log_probabilities, best * factor), labels) for factor in (0.5, 0.9, 1.0, 1.1, 2)
    ]

    assert best > 1
    assert min(losses) == losses[2]
    assert all(before > after for before, after in pairwise(losses[:3]))
    assert reliability(scaled(log_probabilities, best), labels).error == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize(("right", "why"), [(20, "all right: ever colder is likelier"), (0, "worse than a guess")])
def test_no_temperature_is_made_up_where_none_is_best(right: int, why: str) -> None:
    assert fitted_temperature(*_predictor(0.9, right=right, samples=20)) is None, why
