"""TorchJD's weightings as balancers: against closed forms, on extreme norms, with memory, and without TorchJD."""

import itertools
import json
import math
import sys
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchjd.linalg import DualConeProjector, PSDMatrix

from fedkd.app.cli.listing import catalogue
from fedkd.core.errors import PluginError
from fedkd.distillation.balancer import build_balancer
from fedkd.distillation.balancers.torchjd import TorchJD
from fedkd.distillation.geometry import GradientGeometry

norms = st.floats(1e-3, 1e3)
angles = st.floats(-0.99, 0.99)
METHODS = ("mgda", "aligned_mtl", "pcgrad", "gradvac", "imtl_g", "pcd")
"""The methods that need nothing but TorchJD itself."""


def geometry(norm_dist: float, norm_cls: float, cosine: float) -> GradientGeometry:
    return GradientGeometry(
        a=norm_dist**2, b=norm_dist * norm_cls * cosine, c=norm_cls**2, loss_dist=1.0, loss_cls=1.0, step=0
    )


class ClosedFormProjector(DualConeProjector):
    """Projection onto the dual cone of two gradients: minimise v'Gv for v ≥ u, by trying both bounds active or not."""

    def __call__(self, U: torch.Tensor, G: PSDMatrix) -> torch.Tensor:  # noqa: N803
        rows = []
        for u in U:
            free_first = torch.stack([torch.maximum(u[0], -G[0, 1] / G[0, 0] * u[1]), u[1]])
            free_second = torch.stack([u[0], torch.maximum(u[1], -G[0, 1] / G[1, 1] * u[0])])
            rows.append(min((free_first, free_second), key=lambda v: float(v @ G @ v)))
        return torch.stack(rows)


@given(norms, norms, angles)
def test_mgda_is_gradual(dist: float, task: float, cosine: float) -> None:
    seen = geometry(dist, task, cosine)
    theirs, ours = build_balancer("torchjd", weighting="mgda").update(seen), build_balancer("gradual").update(seen)
    assert seen.decrease(theirs) == pytest.approx(seen.decrease(ours), abs=1e-9 * max(seen.a, seen.c))


@given(norms, norms, angles)
def test_pcgrad_is_pcgrad(dist: float, task: float, cosine: float) -> None:
    seen = geometry(dist, task, cosine)
    assert build_balancer("torchjd", weighting="pcgrad").update(seen) == pytest.approx(
        build_balancer("pcgrad").update(seen)
    )


@given(norms, norms, angles)
def test_upgrad_is_the_direction_of_pcgrad(dist: float, task: float, cosine: float) -> None:
    seen = geometry(dist, task, cosine)
    # Made directly, for no configuration can hold a projector.
    upgrad = TorchJD(weighting="upgrad", weighting_options={"projector": ClosedFormProjector()})
    # The projector takes a cosine of −1e-9 for none, which is 1e-6 of λ between norms that are 2,000 apart.
    assert upgrad.update(seen) == pytest.approx(build_balancer("pcgrad").update(seen), abs=1e-5)


@given(norms, norms, angles)
def test_imtl_g_is_the_inverse_norm(dist: float, task: float, cosine: float) -> None:
    seen = geometry(dist, task, cosine)
    theirs = build_balancer("torchjd", weighting="imtl_g").update(seen)
    assert theirs == pytest.approx(build_balancer("inverse_norm").update(seen), rel=1e-6)


@pytest.mark.parametrize("cosine", [-0.6, 0.0, 0.6])
def test_nash_bargaining_is_the_inverse_norm(cosine: float) -> None:
    # FairGrad with α = 1 solves Nash-MTL's equations G·w = 1/w.
    fair = build_balancer("torchjd", weighting="fairgrad", weighting_options={"alpha": 1.0})
    assert fair.update(geometry(3.0, 1.0, cosine)) == pytest.approx(0.25)


def test_aligned_mtl_by_hand() -> None:
    # Orthogonal gradients of lengths 2 and 1: the weights are proportional to 1/2 and 1.
    assert build_balancer("torchjd", weighting="aligned_mtl").update(geometry(2.0, 1.0, 0.0)) == pytest.approx(1 / 3)


def test_options_reach_the_method() -> None:
    # With preferences 0.9 and 0.1 the same weights are proportional to 0.9/2 and 0.1.
    options = {"pref_vector": [0.9, 0.1]}
    weighted = build_balancer("torchjd", weighting="aligned_mtl", weighting_options=options)
    assert weighted.update(geometry(2.0, 1.0, 0.0)) == pytest.approx(0.45 / 0.55)


def test_negative_weights_count_as_zero() -> None:
    # Orthogonal gradients of one length leave the preferences as they are: weights 1 and −3, so the first takes all.
    skewed = {"pref_vector": [1.0, -3.0]}
    weighted = build_balancer("torchjd", weighting="aligned_mtl", weighting_options=skewed)
    assert weighted.update(geometry(1.0, 1.0, 0.0)) == 1.0


@pytest.mark.parametrize("spelling", ["MGDA", "MGDAWeighting", "mgda"])
def test_a_method_answers_to_its_class_names(spelling: str) -> None:
    assert build_balancer("torchjd", weighting=spelling).update(geometry(3.0, 4.0, 0.0)) == pytest.approx(0.64)


@pytest.mark.parametrize("weighting", METHODS)
def test_lambda_is_a_share_for_extreme_norms(weighting: str) -> None:
    balancer = build_balancer("torchjd", weighting=weighting)
    for dist, task in itertools.product((0.0, 1e-150, 1.0, 1e150), repeat=2):
        for cosine in (-1.0, -0.5, 0.0, 0.5, 1.0):
            assert 0.0 <= balancer.update(geometry(dist, task, cosine)) <= 1.0


@pytest.mark.parametrize("weighting", ["mgda", "aligned_mtl", "pcgrad", "imtl_g"])
def test_a_common_scale_leaves_lambda_alone(weighting: str) -> None:
    balancer = build_balancer("torchjd", weighting=weighting)
    expected = balancer.update(geometry(2.0, 1.0, -0.5))
    assert balancer.update(geometry(2e-150, 1e-150, -0.5)) == pytest.approx(expected)
    assert balancer.update(geometry(2e150, 1e150, -0.5)) == pytest.approx(expected)


@pytest.mark.parametrize("weighting", ["gradvac", "pcd"])
def test_memory_survives_an_interruption(weighting: str) -> None:
    sequence = [geometry(1.0 + step % 3, 2.0 - step % 2, 0.9 * math.sin(step)) for step in range(12)]
    whole = build_balancer("torchjd", weighting=weighting)
    expected = [whole.update(seen) for seen in sequence]
    first = build_balancer("torchjd", weighting=weighting)
    start = [first.update(seen) for seen in sequence[:5]]
    second = build_balancer("torchjd", weighting=weighting)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert start + [second.update(seen) for seen in sequence[5:]] == expected
    forgetful = build_balancer("torchjd", weighting=weighting)
    assert [forgetful.update(seen) for seen in sequence[5:]] != expected[5:]


def test_a_fresh_state_can_be_restored() -> None:
    fresh, restored = build_balancer("torchjd", weighting="gradvac"), build_balancer("torchjd", weighting="gradvac")
    restored.load_state_dict(fresh.state_dict())
    seen = geometry(1.0, 2.0, -0.5)
    assert restored.update(seen) == fresh.update(seen)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    build_balancer("torchjd", weighting="pcgrad").update(geometry(1.0, 2.0, -0.5))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weighting": "mgdaa"}, "unknown weighting 'mgdaa'; choices: .*mgda"),
        ({"weighting": "nash_mtl"}, "inverse_norm"),
        ({"weighting": "krum", "weighting_options": {"n_byzantine": 0}}, "at least 3 rows"),
        ({"weighting": "mgda", "weighting_options": {"epsilon": -1.0}}, "epsilon must be positive"),
        ({"weighting": "mgda", "weighting_options": {"epsilonn": 1.0}}, "epsilonn"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        build_balancer("torchjd", **options)


def test_a_missing_solver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchjd._mixins.find_spec", lambda name: None)
    with pytest.raises(PluginError, match=r"quadprog.*pip install"):
        build_balancer("torchjd", weighting="upgrad")


def test_without_torchjd_the_extra_is_named_and_the_list_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == "torchjd"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torchjd", None)
    monkeypatch.delitem(sys.modules, "fedkd.distillation.balancers.torchjd", raising=False)
    assert "torchjd" in [entry.name for entry in catalogue("balancers")]
    with pytest.raises(PluginError, match=r"fedkd\[torchjd\]"):
        build_balancer("torchjd")


@pytest.mark.parametrize("norm", [0.1, 1.0, 10.0])
def test_cagrad_without_its_ball_is_the_mean(norm: float) -> None:
    cagrad = build_balancer("torchjd", weighting="cagrad", weighting_options={"c": 0.0})
    assert cagrad.update(geometry(norm, 1.0, -0.3)) == pytest.approx(0.5)
