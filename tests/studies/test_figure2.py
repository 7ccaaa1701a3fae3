"""The script of Figure 2, and what its curves must look like."""

import math
from itertools import pairwise
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from studies.figure2 import WEIGHTS, curves

from fedkd.distillation.balancer import build_balancer
from fedkd.distillation.geometry import GradientGeometry
from tests.support.scripts_run import run_script

NORMS = st.floats(1e-5, 1e-1)
ACUTE = st.floats(0.0, math.pi / 2)
OBTUSE = st.floats(math.pi / 2 + 1e-3, math.pi)
SMALLEST_Q = 1e-13
"""Of the size of rounding errors in q, whose terms reach 1e-2."""


def geometry(dist: float, task: float, angle: float) -> GradientGeometry:
    product = dist * task * math.cos(angle)
    return GradientGeometry(a=dist**2, b=product, c=task**2, loss_dist=0.0, loss_cls=0.0, step=0)


def least(found: GradientGeometry) -> float:
    return build_balancer("gradual").update(found)


@given(NORMS, NORMS, ACUTE | OBTUSE, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_q_is_convex_and_ends_at_the_squared_norms(
    dist: float, task: float, angle: float, left: float, right: float, share: float
) -> None:
    q = geometry(dist, task, angle).decrease
    assert q(0.0) == pytest.approx(task**2)
    assert q(1.0) == pytest.approx(dist**2)
    chord = share * q(left) + (1 - share) * q(right)
    assert q(share * left + (1 - share) * right) <= chord + SMALLEST_Q
    assert q(left) <= max(q(0.0), q(1.0)) + SMALLEST_Q, "the maximum is at an end"


@given(NORMS, NORMS, OBTUSE)
def test_at_obtuse_angles_the_least_decrease_is_inside_and_below_both_ends(
    dist: float, task: float, angle: float
) -> None:
    found = geometry(dist, task, angle)
    weight = least(found)
    assert 0.0 < weight < 1.0
    assert found.decrease(weight) < min(found.a, found.c)


@given(NORMS, NORMS, ACUTE)
def test_at_acute_angles_the_least_decrease_is_inside_only_where_the_norms_are_alike(
    dist: float, task: float, angle: float
) -> None:
    found = geometry(dist, task, angle)
    ratio = min(dist, task) / max(dist, task)
    if math.cos(angle) < ratio - 1e-6:
        weight = least(found)
        assert 0.0 < weight < 1.0
        assert found.decrease(weight) < min(found.a, found.c)
    elif math.cos(angle) > ratio + 1e-6:
        assert least(found) == (1.0 if dist < task else 0.0), "the end of the smaller gradient"


def test_the_curves_are_of_the_asked_kind_and_size() -> None:
    assert (WEIGHTS[0], WEIGHTS[-1]) == (0.0, 1.0)
    drawn = curves(200, 3)
    assert set(drawn) == {"acute", "obtuse"}
    for kind, lines in drawn.items():
        assert len(lines) == 200
        ends = np.sqrt([[line[0], line[-1]] for line in lines])
        assert ends.min() >= 1e-5
        assert ends.max() <= 1e-1
        assert abs(ends.mean() - 0.05) < 0.005, "uniform norms: mean 0.05, standard error 0.0014"
        # q(½) = (a + 2b + c)/4 gives back b, and with it the angle, uniform over its range: standard error 0.03.
        products = np.array([(4 * line[100] - line[0] - line[-1]) / 2 for line in lines])
        angles = np.arccos(np.clip(products / ends.prod(axis=1), -1, 1))
        centre = math.pi / 4 if kind == "acute" else 3 * math.pi / 4
        assert abs(angles.mean() - centre) < 0.12
        assert bool(((products > 0) == (kind == "acute")).all())
        for line in lines[:20]:
            slopes = np.diff(line)
            assert all(left <= right + SMALLEST_Q for left, right in pairwise(slopes))


def test_the_seed_alone_decides() -> None:
    assert curves(3, 7) == curves(3, 7)
    assert curves(3, 7) != curves(3, 8)


def test_the_script_draws_red_and_green_curves(tmp_path: Path) -> None:
    out = tmp_path / "new" / "figure.png"
    assert str(out) in run_script("scripts/figure2.py", "--trials", "3", "--seed", "1", "--out", str(out))
    red, green, blue = np.moveaxis(matplotlib.image.imread(out)[..., :3], -1, 0)
    assert bool(((red > green + 0.3) & (red > blue + 0.3)).any())
    assert bool(((green > red + 0.2) & (green > blue + 0.2)).any())
