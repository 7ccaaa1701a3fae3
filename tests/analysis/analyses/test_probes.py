"""Which networks are probed, on which samples, and what is said of them."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from fedkd.analysis.analyses.probes import Probes
from fedkd.analysis.subject import ALONE, STUDENT, TEACHER, NotKnown, Samples
from tests.analysis.small_runs import SmallRun, linear
from tests.analysis.test_probing import CORNERS, SAME_SIGN, folding

CROSSED = Samples(CORNERS, SAME_SIGN)


def straight() -> nn.Module:
    """Never separates the corners."""
    return nn.Sequential(linear([1.0, 1.0], [1.0, -1.0]), linear([1.0, 0.0], [0.0, 1.0]))


def test_depth_and_area_of_every_network() -> None:
    found = Probes().measure(SmallRun({STUDENT: folding(), ALONE: straight()}, CROSSED, CROSSED))
    networks = found.figures["networks"]
    assert networks[STUDENT]["separable_depth"] == pytest.approx(2 / 3)
    assert networks[STUDENT]["area"] == pytest.approx(0.75)
    assert networks["without_teacher"]["area"] == pytest.approx(0.5)
    assert [each["layer"] for each in networks[STUDENT]["layers"]] == ["", "0", "1", "2"]
    json.dumps(found.figures, allow_nan=False)
    assert "(100.0%) is first reached at relative depth 0.67; mean over depth 75.0%" in found.sentences[0]
    assert found.draw is not None
    assert np.array_equal(found.draw().axes[0].lines[0].get_ydata(), [50, 50, 100, 100])


def test_the_client_that_weighs_most_stands_for_the_teacher() -> None:
    clients = {2: straight(), 5: folding(), 7: folding()}

    def named(weights: dict[int, float] | None) -> list[str]:
        return list(
            Probes().measure(SmallRun({}, CROSSED, CROSSED, clients=clients, weights=weights)).figures["networks"]
        )

    assert named({2: 0.2, 5: 0.5, 7: 0.3}) == ["client_5"]
    assert named(None) == ["client_2"]
    whole = SmallRun({TEACHER: folding()}, CROSSED, CROSSED, clients=clients)
    assert list(Probes().measure(whole).figures["networks"]) == [TEACHER]


def test_probes_are_fitted_on_training_samples_alone() -> None:
    # Test labels are turned round: what is fitted on training samples is wrong about every one.
    turned = Samples(CORNERS, 1 - SAME_SIGN)
    layers = Probes().measure(SmallRun({STUDENT: folding()}, turned, CROSSED)).figures["networks"][STUDENT]["layers"]
    assert [each["accuracy"] for each in layers[2:]] == [0.0, 0.0]


def test_samples_layers_and_width_are_bounded_and_draws_repeat() -> None:
    draw = torch.Generator().manual_seed(0)
    many = Samples(torch.randn(300, 30, generator=draw), torch.randint(3, (300,), generator=draw))
    model = nn.Sequential(*[nn.Linear(30, 30) for _ in range(4)], nn.Linear(30, 3))
    first, second = (
        Probes(samples=50, tests=80, layers=2, width=8).measure(SmallRun({STUDENT: model}, many, many)).figures
        for _ in range(2)
    )
    assert first == second
    assert (first["train_samples"], first["test_samples"]) == (50, 80)
    assert [each["layer"] for each in first["networks"][STUDENT]["layers"]] == ["", "0", "4"]


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        (SmallRun({}, CROSSED, CROSSED), "neither a student nor the network of a client or a teacher"),
        (SmallRun({STUDENT: folding()}, CROSSED), "no labelled public samples"),
        (SmallRun({STUDENT: folding()}, CROSSED, Samples(CORNERS, torch.ones(100).long())), "are of one class"),
    ],
    ids=["networks", "training samples", "classes"],
)
def test_what_is_missing_is_said(subject: SmallRun, reason: str) -> None:
    with pytest.raises(NotKnown, match=reason):
        Probes().measure(subject)
