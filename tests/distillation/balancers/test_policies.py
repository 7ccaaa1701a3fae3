"""Balancing policies: golden numbers by hand, closed forms against slow versions, and their memory."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fedkd.core import plugins
from fedkd.core.errors import PluginError
from fedkd.distillation.balancer import LambdaBalancer, build_balancer
from fedkd.distillation.geometry import GradientGeometry

norms = st.floats(1e-6, 1e6)
angles = st.floats(-1.0, 1.0)
shares = st.floats(0.0, 1.0)


def geometry(
    norm_dist: float = 1.0, norm_cls: float = 1.0, cosine: float = 0.0, *, step: int = 0, steps: int = 11, **other: Any
) -> GradientGeometry:
    numbers = {"loss_dist": 1.0, "loss_cls": 2.0, **other}
    return GradientGeometry(
        a=norm_dist**2, b=norm_dist * norm_cls * cosine, c=norm_cls**2, step=step, steps=steps, **numbers
    )


def losses(dist: float, task: float) -> GradientGeometry:
    return geometry(loss_dist=dist, loss_cls=task)


def run(balancer: LambdaBalancer, sequence: Sequence[GradientGeometry]) -> list[float]:
    return [balancer.update(seen) for seen in sequence]


def over_a_round(name: str, steps: int = 11, **options: Any) -> list[float]:
    return run(build_balancer(name, **options), [geometry(step=step, steps=steps) for step in range(steps)])


def test_cosine_starts_and_ends_flat_and_halves_in_the_middle() -> None:
    weights = over_a_round("cosine", start=0.9, end=0.1)
    assert weights[0] == pytest.approx(0.9)
    assert weights[5] == pytest.approx(0.5)
    assert weights[10] == pytest.approx(0.1)
    # cos 36° = 0.80902: 0.1 + 0.8·1.80902/2.
    assert weights[2] == pytest.approx(0.823607, abs=1e-6)


def test_step_switches_at_shares_of_the_round() -> None:
    weights = over_a_round("step", values=[0.9, 0.5, 0.1], at=[0.2, 0.7])
    assert weights == [0.9] * 2 + [0.5] * 5 + [0.1] * 4


def test_step_switches_every_k_steps_and_stays_at_its_last_value() -> None:
    assert over_a_round("step", steps=7, values=[0.8, 0.4], every=2) == [0.8, 0.8] + [0.4] * 5
    # Without the length of the round, counting still works.
    assert build_balancer("step", values=[0.8, 0.4], every=2).update(geometry(step=2, steps=0)) == 0.4


def test_step_shares_the_round_equally_by_default() -> None:
    assert over_a_round("step", steps=9, values=[1.0, 0.5, 0.0]) == [1.0] * 3 + [0.5] * 3 + [0.0] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"values": []}, "values"),
        ({"values": [0.5, 1.5]}, "values.1"),
        ({"values": [1, 0], "at": [0.5], "every": 2}, "not both"),
        ({"values": [1, 0], "at": [0.3, 0.6]}, "one share per switch"),
        ({"values": [1, 0.5, 0], "at": [0.6, 0.3]}, "rise strictly"),
        ({"values": [1, 0], "every": 0}, "every"),
    ],
)
def test_step_refuses_schedules_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        build_balancer("step", **options)


def test_target_decrease_by_hand() -> None:
    # g_dist = (3, 0), g_cls = (0, 4): q = 25λ² − 32λ + 16 has its minimum 5.76 at 0.64 and its maximum 16 at 0.
    # ρ = ¼: q = 8.32 at 0.64 ± √(2.56/25), that is 0.32 and 0.96.
    seen = geometry(3.0, 4.0)
    quarter = {"rho_start": 0.25, "rho_end": 0.25}
    assert build_balancer("target_decrease", start=0.5, **quarter).update(seen) == pytest.approx(0.32)
    assert build_balancer("target_decrease", start=0.7, **quarter).update(seen) == pytest.approx(0.96)
    # ρ = 0.81: 0.64 ± 0.576; the upper root lies beyond 1.
    high = build_balancer("target_decrease", start=1.0, rho_start=0.81, rho_end=0.81)
    assert high.update(seen) == pytest.approx(0.064)


def test_target_decrease_goes_from_rapid_to_gradual() -> None:
    sequence = [geometry(3.0, 4.0, step=step) for step in range(11)]
    weights = run(build_balancer("target_decrease"), sequence)
    assert weights[0] == pytest.approx(build_balancer("rapid").update(sequence[0]))
    assert weights[-1] == pytest.approx(build_balancer("gradual").update(sequence[-1]))
    assert weights == sorted(weights)


def test_target_decrease_stays_on_its_branch() -> None:
    balancer = build_balancer("target_decrease", rho_start=0.25, rho_end=0.25, start=0.9)
    assert balancer.update(geometry(3.0, 4.0)) == pytest.approx(0.96)
    assert balancer.update(geometry(3.0, 4.0, 0.01)) == pytest.approx(0.96, abs=0.02)
    assert balancer.update(geometry(3.0, 4.0)) == pytest.approx(0.96)


def test_target_decrease_stays_where_every_lambda_is_equal() -> None:
    balancer = build_balancer("target_decrease", start=0.3)
    assert balancer.update(geometry(2.0, 2.0, 1.0)) == 0.3
    assert balancer.update(geometry(0.0, 0.0)) == 0.3


@given(norms, norms, angles, shares, shares, shares, shares)
def test_target_decrease_is_the_nearest_root(
    dist: float, task: float, cosine: float, rho: float, start: float, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    assume(high - low > 0.01)
    seen = geometry(dist, task, cosine)
    unit = max(seen.a, seen.c)
    grid = np.linspace(low, high, 2001)
    curve = np.array([seen.decrease(float(weight)) for weight in grid]) / unit
    target = rho * curve.max() + (1 - rho) * curve.min()
    options = {"rho_start": rho, "rho_end": rho, "start": start, "minimum": low, "maximum": high}
    found = build_balancer("target_decrease", **options).update(seen)
    assert low <= found <= high
    assert seen.decrease(found) / unit == pytest.approx(target, abs=2e-6)
    # Nearer to the start q never crosses the target: it is on one side of it all the way.
    last = min(max(start, low), high)
    excess = (curve - target)[np.abs(grid - last) < abs(found - last) - 1e-3]
    assert (excess > -2e-6).all() or (excess < 2e-6).all()


def test_pcgrad_by_hand() -> None:
    # g_dist = (2, 0), g_cls = (−1, 1): a = 4, b = −2, c = 2, so w_d = 1.5 and w_c = 2.
    seen = GradientGeometry(a=4.0, b=-2.0, c=2.0, loss_dist=1.0, loss_cls=1.0, step=0)
    assert build_balancer("pcgrad").update(seen) == pytest.approx(1.5 / 3.5)
    assert build_balancer("pcgrad").update(geometry(3.0, 0.1, 0.2)) == 0.5


def project_conflicts(dist: np.ndarray, task: np.ndarray) -> np.ndarray:
    """PCGrad as its paper writes it: each gradient loses its component along the other, and both are added."""
    inner = float(dist @ task)
    if inner >= 0:
        return np.asarray(dist + task)
    return np.asarray((dist - inner / (task @ task) * task) + (task - inner / (dist @ dist) * dist))


@given(st.integers(0, 10_000), st.integers(2, 8), st.floats(-3.0, 3.0))
def test_pcgrad_is_the_direction_of_the_projected_sum(seed: int, size: int, exponent: float) -> None:
    generator = np.random.default_rng(seed)
    dist, task = generator.normal(size=size) * 10.0**exponent, generator.normal(size=size)
    seen = GradientGeometry(
        a=float(dist @ dist), b=float(dist @ task), c=float(task @ task), loss_dist=1.0, loss_cls=1.0, step=0
    )
    weight = build_balancer("pcgrad").update(seen)
    ours, theirs = weight * dist + (1 - weight) * task, project_conflicts(dist, task)
    assert ours @ theirs == pytest.approx(np.linalg.norm(ours) * np.linalg.norm(theirs))


def test_gradnorm_by_hand() -> None:
    # Norms 3 and 1, weights 1 and 1, mean norm 2; both losses at their first value, so r = 1: distillation is above
    # the mean and steps down by 0.1·3/2, the task is below and steps up by 0.1·1/2: 0.85 and 1.05, λ = 0.85/1.9.
    balancer = build_balancer("gradnorm", learning_rate=0.1)
    assert balancer.update(geometry(3.0, 1.0)) == pytest.approx(0.85 / 1.9)


def test_gradnorm_gives_the_slower_loss_more_weight() -> None:
    balancer = build_balancer("gradnorm", alpha=1.0)
    first, *_, last = run(balancer, [losses(1.0, 1.0)] + [losses(1.0, 0.5)] * 20)
    assert first == 0.5
    assert last > 0.6


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, 2 / 3), (1.0, 0.8), (2.0, 0.875)])
def test_gradnorm_settles_where_the_weighted_norms_follow_the_rates(alpha: float, expected: float) -> None:
    # Norms 1 and 2, r = 4/3 and 2/3. α = 0 wants λ·1 = (1−λ)·2, α = 1 wants 2 : 1. α = 2 wants 16/9 and 4/9 of the
    # mean, more than there is: the task reaches its 4/9 and distillation the remaining 14/9, 3.5 : 1.
    balancer = build_balancer("gradnorm", alpha=alpha, learning_rate=0.001)
    balancer.update(geometry(1.0, 2.0, loss_dist=1.0, loss_cls=1.0))
    weights = run(balancer, [geometry(1.0, 2.0, loss_dist=1.0, loss_cls=0.5)] * 3000)
    assert weights[-1] == pytest.approx(expected, abs=0.005)


def test_gradnorm_does_not_depend_on_the_unit_of_the_gradients() -> None:
    small = run(build_balancer("gradnorm"), [geometry(3e-100, 1e-100)] * 5)
    assert small == pytest.approx(run(build_balancer("gradnorm"), [geometry(3e100, 1e100)] * 5))


def test_dwa_by_hand() -> None:
    balancer = build_balancer("dwa", window=1, temperature=2.0)
    assert run(balancer, [losses(2.0, 4.0), losses(1.0, 4.0)]) == [0.5, 0.5]
    # r = ½ and 1: 1/(1 + e^(½/2)) = 0.43782.
    assert balancer.update(losses(9.0, 9.0)) == pytest.approx(0.437823, abs=1e-6)


def test_dwa_compares_the_means_of_two_windows() -> None:
    balancer = build_balancer("dwa", window=2, temperature=2.0)
    weights = run(balancer, [losses(1.0, 4.0), losses(3.0, 4.0), losses(0.5, 3.0), losses(1.5, 5.0), losses(7.0, 7.0)])
    assert weights[:4] == [0.5] * 4
    assert weights[4] == pytest.approx(0.437823, abs=1e-6)


def test_uncertainty_by_hand() -> None:
    # From s = 0 with step 0.1: s_d = −0.1·(½ − 1) = 0.05, s_c = −0.1·(½ − 2) = 0.15; λ = σ(0.1).
    balancer = build_balancer("uncertainty", learning_rate=0.1)
    assert balancer.update(losses(1.0, 2.0)) == pytest.approx(1 / (1 + math.exp(-0.1)))


def test_uncertainty_settles_at_the_inverse_losses() -> None:
    assert run(build_balancer("uncertainty"), [losses(1.0, 3.0)] * 2000)[-1] == pytest.approx(0.75)


def test_validation_guided_by_hand() -> None:
    balancer = build_balancer("validation_guided", step_size=0.5, start=0.5)
    assert balancer.update(geometry()) == 0.5
    # logit 0 + 0.5·2 = 1; then it stays; then 1 − 0.5·3 = −0.5.
    assert balancer.update(geometry(validation_slope=2.0)) == pytest.approx(1 / (1 + math.exp(-1.0)))
    assert balancer.update(geometry()) == pytest.approx(1 / (1 + math.exp(-1.0)))
    assert balancer.update(geometry(validation_slope=-3.0)) == pytest.approx(1 / (1 + math.exp(0.5)))


def test_validation_guided_smooths_the_slope() -> None:
    balancer = build_balancer("validation_guided", step_size=1.0, slope_ema=0.75)
    # Slopes 1 and then 0.75·1 − 0.25·1 = 0.5: logit 1.5.
    weights = run(balancer, [geometry(validation_slope=1.0), geometry(validation_slope=-1.0)])
    assert weights[-1] == pytest.approx(1 / (1 + math.exp(-1.5)))


def test_validation_guided_finds_the_lambda_that_serves_the_validation_loss() -> None:
    # Quadratic losses ½‖θ − target‖² with the validation target three quarters of the way to the teacher's.
    teacher, label, held_out = np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([0.75, 0.25])
    parameters, weight = np.zeros(2), 0.5
    balancer = build_balancer("validation_guided", step_size=0.5)
    for step in range(2000):
        dist, task = parameters - teacher, parameters - label
        slope = float((parameters - held_out) @ (dist - task))
        weight = balancer.update(
            geometry(float(np.linalg.norm(dist)), float(np.linalg.norm(task)), step=step, validation_slope=slope)
        )
        parameters = parameters - 0.2 * (weight * dist + (1 - weight) * task)
    assert weight == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("slope", [1e300, -1e300])
def test_validation_guided_returns_from_a_huge_slope(slope: float) -> None:
    balancer = build_balancer("validation_guided", minimum=0.2, maximum=0.8)
    assert balancer.update(geometry(validation_slope=slope)) == pytest.approx(0.8 if slope > 0 else 0.2)
    back = run(balancer, [geometry(validation_slope=-math.copysign(1.0, slope))] * 30)
    assert back[-1] == pytest.approx(0.2 if slope > 0 else 0.8)


def test_task_decrease_by_hand() -> None:
    # Half-way s = ½, and no more where the gradients agree. c = 4, b = −2: 2/6; b = −1: 2/5.
    for cosine, expected in ((0.0, 0.5), (1.0, 0.5), (-0.5, 2 / 5), (-1.0, 1 / 3)):
        seen = geometry(1.0, 2.0, cosine, step=5)
        assert build_balancer("task_decrease", ema=0.0).update(seen) == pytest.approx(expected)
        assert build_balancer("task_decrease", ema=0.0, gradients=False).update(seen) == pytest.approx(0.5)


@given(norms, norms, angles, st.integers(0, 10))
def test_task_decrease_is_the_largest_share_up_to_the_clocks_that_leaves_the_labels_theirs(
    dist: float, task: float, cosine: float, step: int
) -> None:
    seen = geometry(dist, task, cosine, step=step)
    share = (1 + math.cos(math.pi * step / 10)) / 2
    found = build_balancer("task_decrease", ema=0.0).update(seen)
    grid = np.linspace(0.0, share, 4001)
    falls = (grid * seen.b + (1 - grid) * seen.c) / seen.c
    allowed = grid[falls >= 1 - share - 1e-9]
    assert found == pytest.approx(float(allowed.max()), abs=5e-4)


def test_task_decrease_does_not_follow_a_teacher_that_the_student_has_outgrown() -> None:
    # As good as each other: λ = s = 1. Errors of 0.1 and 0.2: (½)² of it, until the next measurement; worse: all of it.
    measured = [(0.2, 0.2), (0.2, 0.1), (None, None), (0.1, 0.3)]
    seen = [
        geometry(step=1, steps=0, teacher_error=teacher, student_error=student, validation_samples=98)
        for teacher, student in measured
    ]
    plain = {"power": 2.0, "gradients": False}
    assert run(build_balancer("task_decrease", prior=2.0, **plain), seen) == pytest.approx([1.0, 0.25, 0.25, 1.0])
    # 19 and 9 of 98 samples wrong, with 10 of 20 added to both: (19/29)².
    balancer = build_balancer("task_decrease", prior=20.0, **plain)
    assert balancer.update(seen[1]) == pytest.approx((19 / 29) ** 2)
    # Another round, another teacher: trusted until it is measured.
    assert balancer.update(geometry(step=0)) == 1.0


def test_three_policies_ask_for_measurements_on_validation_samples() -> None:
    built = {name: build_balancer(name) for name in plugins.names(plugins.BALANCER)}
    assert {name: balancer.asks_for for name, balancer in built.items() if balancer.asks_for != "nothing"} == {
        "validation_guided": "slope",
        "error_ratio": "errors",
        "task_decrease": "errors",
    }


def test_a_slope_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="validation_slope must be finite"):
        build_balancer("validation_guided").update(geometry(validation_slope=math.nan))


WITH_MEMORY: dict[str, dict[str, Any]] = {
    "target_decrease": {"rho_start": 0.5, "rho_end": 0.2, "start": 0.9},
    "gradnorm": {"learning_rate": 0.2},
    "dwa": {"window": 3},
    "uncertainty": {"learning_rate": 0.5},
    "validation_guided": {"slope_ema": 0.5, "step_size": 1.0},
    "error_ratio": {},
    "task_decrease": {"ema": 0.5},
}


VARIED = [
    geometry(
        1.0 + step % 3,
        2.0 - step % 2,
        math.sin(step),
        step=step,
        steps=16,
        loss_dist=2.0 / (1 + step),
        loss_cls=1.0 + math.cos(step),
        validation_slope=math.sin(step) if step % 3 == 0 else None,
        teacher_error=0.4 if step % 3 == 0 else None,
        student_error=0.8 / (1 + step) if step % 3 == 0 else None,
    )
    for step in range(16)
]


@pytest.mark.parametrize("name", [name for name in plugins.names(plugins.BALANCER) if name != "torchjd"])
def test_lambda_depends_on_the_gradients_exactly_where_the_policy_says_so(name: str) -> None:
    # From where the gradients are at odds and nothing has been measured on validation samples yet.
    seen = VARIED[4:]
    blind = [replace(each, a=0.0, b=0.0, c=0.0) for each in seen]
    same = run(build_balancer(name), seen) == run(build_balancer(name), blind)
    assert same is not build_balancer(name).uses_gradients


@pytest.mark.parametrize("stop", [1, 4, 9, 10])
@pytest.mark.parametrize("name", WITH_MEMORY)
def test_memory_survives_an_interruption(name: str, stop: int) -> None:
    expected = run(build_balancer(name, **WITH_MEMORY[name]), VARIED)
    first = build_balancer(name, **WITH_MEMORY[name])
    start = run(first, VARIED[:stop])
    second = build_balancer(name, **WITH_MEMORY[name])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert start + run(second, VARIED[stop:]) == expected


@pytest.mark.parametrize("name", WITH_MEMORY)
def test_memory_matters(name: str) -> None:
    whole = run(build_balancer(name, **WITH_MEMORY[name]), VARIED)
    assert run(build_balancer(name, **WITH_MEMORY[name]), VARIED[10:]) != whole[10:]


extremes = st.sampled_from([0.0, 1e-150, 1e-20, 1.0, 1e20, 1e150])


@pytest.mark.parametrize("name", [name for name in plugins.names(plugins.BALANCER) if name != "torchjd"])
@given(
    st.lists(
        st.tuples(extremes, extremes, angles, extremes, extremes, st.floats(-1e300, 1e300)), min_size=1, max_size=6
    )
)
def test_lambda_stays_a_share_under_extreme_sequences(name: str, rows: list[tuple[float, ...]]) -> None:
    balancer = build_balancer(name, **({"window": 1} if name == "dwa" else {}))
    for step, (dist, task, cosine, loss_dist, loss_cls, slope) in enumerate(rows):
        seen = geometry(
            dist, task, cosine, step=step, steps=6, loss_dist=loss_dist, loss_cls=loss_cls, validation_slope=slope
        )
        assert 0.0 <= balancer.update(seen) <= 1.0
