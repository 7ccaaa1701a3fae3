"""The script of Figure 2, and what its curves must look like."""

import math
import os
import runpy
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkd.distillation.balancer import build_balancer
from fedkd.distillation.geometry import GradientGeometry
from tests.support import ROOT

SCRIPT = ROOT / "scripts/figure2.py"
NORMS = st.floats(1e-5, 1e-1)
ACUTE = st.floats(0.0, math.pi / 2)
OBTUSE = st.floats(math.pi / 2 + 1e-3, math.pi)
SMALLEST_Q = 1e-13
"""Of the size of rounding errors in q, whose terms reach 1e-2."""


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


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


def test_the_curves_are_of_the_asked_kind_and_size(script: dict[str, Any]) -> None:
    weights, curves = script["WEIGHTS"], script["curves"](200, 3)
    assert (weights[0], weights[-1]) == (0.0, 1.0)
    assert set(curves) == {"acute", "obtuse"}
    for kind, lines in curves.items():
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


def test_the_seed_alone_decides(script: dict[str, Any]) -> None:
    assert script["curves"](3, 7) == script["curves"](3, 7)
    assert script["curves"](3, 7) != script["curves"](3, 8)


def test_the_script_draws_red_and_green_curves_and_is_short(tmp_path: Path) -> None:
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) <= 65
    out = tmp_path / "new" / "figure.png"
    command = [sys.executable, str(SCRIPT), "--trials", "3", "--seed", "1", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stderr
    assert str(out) in done.stdout
    red, green, blue = np.moveaxis(matplotlib.image.imread(out)[..., :3], -1, 0)
    assert bool(((red > green + 0.3) & (red > blue + 0.3)).any())
    assert bool(((green > red + 0.2) & (green > blue + 0.2)).any())


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
