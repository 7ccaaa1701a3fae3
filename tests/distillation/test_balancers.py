"""Balancers: closed forms against a grid, bounds, smoothing, and state."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkd.core import plugins
from fedkd.core.errors import PluginError
from fedkd.distillation.balancer import build_balancer
from fedkd.distillation.geometry import GradientGeometry

NAMES = plugins.names(plugins.BALANCER)
GRID = [i / 1000 for i in range(1001)]
norms = st.floats(1e-6, 1e6)
angles = st.floats(-1.0, 1.0)


def geometry(norm_dist: float, norm_cls: float, cosine: float, step: int = 0, steps: int = 10) -> GradientGeometry:
    return GradientGeometry(
        a=float(norm_dist) ** 2,
        b=float(norm_dist) * norm_cls * cosine,
        c=float(norm_cls) ** 2,
        loss_dist=1.0,
        loss_cls=2.0,
        step=step,
        steps=steps,
    )


def test_decrease_is_the_squared_norm_of_the_combined_gradient() -> None:
    # g_dist = (3, 0), g_cls = (0, 4): λ = ¼ gives (0.75, 3), of squared norm 9.5625.
    assert geometry(3, 4, 0.0).decrease(0.25) == pytest.approx(9.5625)
    assert geometry(3, 4, 0.5).cosine == pytest.approx(0.5)
    assert geometry(0, 4, 0.5).cosine == 0.0


def test_policies_by_hand() -> None:
    seen = geometry(3, 4, 0.0)
    assert build_balancer("gradual").update(seen) == pytest.approx(16 / 25)
    assert build_balancer("rapid").update(seen) == 0.0
    assert build_balancer("rapid").update(geometry(4, 3, 0.0)) == 1.0
    assert build_balancer("energy_share").update(seen) == pytest.approx(9 / 25)
    assert build_balancer("inverse_norm").update(seen) == pytest.approx(4 / 7)
    assert build_balancer("fixed", value=0.3).update(seen) == 0.3
    line = build_balancer("linear", start=1.0, end=0.5)
    assert [line.update(geometry(1, 1, 0, step)) for step in (0, 9)] == [1.0, 0.5]


@given(norms, norms, angles)
def test_gradual_and_rapid_are_the_ends_of_the_decrease(dist: float, task: float, cosine: float) -> None:
    seen = geometry(dist, task, cosine)
    scale = max(seen.a, seen.c)
    curve = [seen.decrease(weight) for weight in GRID]
    assert seen.decrease(build_balancer("gradual").update(seen)) <= min(curve) + 1e-9 * scale
    assert seen.decrease(build_balancer("rapid").update(seen)) >= max(curve) - 1e-9 * scale


@given(norms, norms, angles)
def test_rapid_keeps_to_its_bounds(dist: float, task: float, cosine: float) -> None:
    seen = geometry(dist, task, cosine)
    best = max((0.2, 0.6), key=seen.decrease)
    assert seen.decrease(build_balancer("rapid", minimum=0.2, maximum=0.6).update(seen)) == pytest.approx(
        seen.decrease(best)
    )


@pytest.mark.parametrize("name", NAMES)
@given(st.one_of(st.just(0.0), st.floats(1e-150, 1e150)), st.one_of(st.just(0.0), st.floats(1e-150, 1e150)), angles)
def test_lambda_stays_within_its_bounds(name: str, dist: float, task: float, cosine: float) -> None:
    seen = geometry(dist, task, cosine)
    assert 0.0 <= build_balancer(name).update(seen) <= 1.0
    assert 0.25 <= build_balancer(name, minimum=0.25, maximum=0.75).update(seen) <= 0.75


def test_smoothing_is_a_running_mean() -> None:
    smooth = build_balancer("energy_share", ema=0.75)
    smooth.update(geometry(1, 1, 0.0))
    # a: 0.75·1 + 0.25·9 = 3, c: 1.
    assert smooth.update(geometry(3, 1, 0.0)) == pytest.approx(0.75)


@pytest.mark.parametrize("name", NAMES)
def test_state_survives_an_interruption_mid_round(name: str) -> None:
    sequence = [geometry(1 + i % 3, 2 - i % 2, math.sin(i), step=i) for i in range(10)]
    whole = build_balancer(name, ema=0.5)
    expected = [whole.update(seen) for seen in sequence]
    first = build_balancer(name, ema=0.5)
    start = [first.update(seen) for seen in sequence[:4]]
    second = build_balancer(name, ema=0.5)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert start + [second.update(seen) for seen in sequence[4:]] == expected


@pytest.mark.parametrize("change", [{"a": math.nan}, {"b": math.inf}, {"a": -1.0}, {"c": -1.0}, {"loss_cls": math.nan}])
def test_impossible_geometries_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"geometry must be finite|must be ≥ 0"):
        build_balancer("gradual").update(replace(geometry(1, 1, 0.0), **change))


@pytest.mark.parametrize("options", [{"ema": 1.0}, {"minimum": 0.8, "maximum": 0.2}, {"value": 2.0}, {"valeu": 0.5}])
def test_bad_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(PluginError):
        build_balancer("fixed", **options)
