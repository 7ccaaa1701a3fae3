"""Temperature schedules: ends and shapes by hand, the entropy root against the entropy, and degenerate teachers."""

import copy
import math
import re
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedkd.aggregation.types import Teacher
from fedkd.core import plugins
from fedkd.core.errors import PluginError
from fedkd.distillation.temperature import LOWEST, TemperatureSchedule, build_temperature

NAMES = [name for name in plugins.names(plugins.TEMPERATURE) if name != "auto"]
"""All but the one that has no temperature of its own."""
temperatures = st.floats(0.05, 50.0)
progresses = st.floats(0.0, 1.0)


def teacher(samples: int = 40, classes: int = 5, scale: float = 4.0, seed: int = 0) -> Tensor:
    logits = torch.randn(samples, classes, generator=torch.Generator().manual_seed(seed)) * scale
    return logits.log_softmax(dim=-1)


def share_of_entropy(target: Tensor, temperature: float) -> float:
    """The softened teacher's mean entropy over ln C, by its definition."""
    p = (target.double() / temperature).softmax(dim=-1)
    return float(-(p * p.clamp_min(1e-300).log()).sum(dim=-1).mean()) / math.log(target.shape[1])


def test_the_package_offers_seven_schedules() -> None:
    assert plugins.names(plugins.TEMPERATURE) == ["auto", *NAMES]
    assert NAMES == ["constant", "cosine", "entropy", "exponential", "linear", "per_sample"]


def test_schedules_by_hand() -> None:
    target = teacher()
    halfway = {"linear": 3.0, "cosine": 3.0, "exponential": math.sqrt(5.0)}
    quarter = {"linear": 4.0, "cosine": 3.0 + math.sqrt(2.0), "exponential": 5.0**0.75}
    for name in halfway:
        schedule = build_temperature(name)
        assert [schedule(p, target) for p in (0.0, 1.0)] == pytest.approx([5.0, 1.0])
        assert schedule(0.5, target) == pytest.approx(halfway[name])
        assert schedule(0.25, target) == pytest.approx(quarter[name])
    assert [build_temperature("constant", value=3)(p, target) for p in (0.0, 0.4, 1.0)] == [3.0] * 3
    assert build_temperature("constant")(0.0, target) == 2.0


@pytest.mark.parametrize("name", ["linear", "cosine", "exponential"])
@given(temperatures, temperatures, progresses, progresses)
def test_annealing_is_monotone_between_its_ends(name: str, start: float, end: float, one: float, two: float) -> None:
    schedule, target = build_temperature(name, start=start, end=end), teacher(2)
    low, high = sorted((one, two))
    path = [schedule(p, target) for p in (0.0, low, high, 1.0)]
    if start < end:
        path.reverse()
    slack = 1e-12 * max(start, end)
    assert all(left >= right - slack for left, right in pairwise(path))
    assert sorted((path[0], path[-1])) == pytest.approx(sorted((start, end)))


@given(st.floats(0.05, 0.95), st.integers(2, 12), st.floats(0.5, 30.0), st.integers(0, 10))
def test_entropy_reaches_its_share_or_stops_at_a_bound(share: float, classes: int, scale: float, seed: int) -> None:
    target = teacher(20, classes, scale, seed)
    found = build_temperature("entropy", share=share, minimum=0.5, maximum=30.0)(0.5, target)
    assert isinstance(found, float)
    assert 0.5 <= found <= 30.0
    reached = share_of_entropy(target, found)
    if found == 0.5:
        assert reached >= share
    elif found == 30.0:
        assert reached <= share
    else:
        assert reached == pytest.approx(share, abs=1e-6)


def test_entropy_by_hand() -> None:
    # Two classes with log-odds 4 at T = 1: ¾ against ¼ at T = 4/ln 3, an entropy of ¾·ln(4/3) + ¼·ln 4.
    target = torch.tensor([[4.0, 0.0], [0.0, 4.0]]).log_softmax(dim=-1)
    share = (0.75 * math.log(4 / 3) + 0.25 * math.log(4)) / math.log(2)
    assert build_temperature("entropy", share=share)(0.0, target) == pytest.approx(4 / math.log(3), rel=1e-6)


def test_entropy_asks_for_more_heat_for_a_larger_share_and_for_a_surer_teacher() -> None:
    target = teacher(scale=8.0)
    by_share = [build_temperature("entropy", share=share, minimum=0.1)(0.0, target) for share in (0.2, 0.4, 0.6, 0.8)]
    assert by_share == sorted(set(by_share))
    schedule = build_temperature("entropy", minimum=0.1, maximum=100.0)
    # Doubling the logits doubles the temperature that softens them equally.
    assert schedule(0.0, target * 2) == pytest.approx(2 * schedule(0.0, target), rel=1e-6)


def temperatures_of(target: Tensor, **options: float) -> Tensor:
    found = build_temperature("per_sample", **options)(0.5, target)
    assert isinstance(found, Tensor)
    return found


def test_each_sample_has_the_temperature_of_its_own_by_hand() -> None:
    # Two classes with log-odds z are ¾ against ¼ at T = z/ln 3, whichever of the two is ahead.
    log_odds = torch.tensor([4.0, -2.0, 8.0, 1.0])
    target = torch.stack([log_odds, torch.zeros(4)], dim=1).log_softmax(dim=-1)
    share = (0.75 * math.log(4 / 3) + 0.25 * math.log(4)) / math.log(2)
    found = temperatures_of(target, share=share, minimum=0.1)
    torch.testing.assert_close(found, log_odds.abs() / math.log(3), rtol=1e-5, atol=0.0)
    softened = (target / found.unsqueeze(1)).softmax(dim=-1).amax(dim=1)
    torch.testing.assert_close(softened, torch.full((4,), 0.75))


@given(st.floats(0.05, 0.95), st.integers(2, 12), st.floats(0.5, 30.0), st.integers(0, 10))
def test_every_sample_reaches_its_share_or_stops_at_a_bound(
    share: float, classes: int, scale: float, seed: int
) -> None:
    target = teacher(8, classes, scale, seed)
    for row, temperature in zip(target, temperatures_of(target, share=share, minimum=0.5, maximum=30.0), strict=True):
        reached = share_of_entropy(row.unsqueeze(0), float(temperature))
        if temperature == 0.5:
            assert reached >= share - 1e-6
        elif temperature == 30.0:
            assert reached <= share + 1e-6
        else:
            assert reached == pytest.approx(share, abs=1e-5)
        # Of a single sample the mean entropy is its own.
        alone = build_temperature("entropy", share=share, minimum=0.5, maximum=30.0)(0.0, row.unsqueeze(0))
        assert float(temperature) == pytest.approx(alone, rel=1e-6)


def test_a_samples_temperature_rises_with_the_share_and_depends_on_no_other_sample() -> None:
    target = teacher(scale=8.0)
    cooler, warmer = (temperatures_of(target, share=share, minimum=0.01, maximum=500.0) for share in (0.4, 0.6))
    assert bool((warmer > cooler).all())
    other = target.clone()
    other[1:] *= 3.0
    changed = temperatures_of(other, share=0.4, minimum=0.01, maximum=500.0)
    assert changed[0] == cooler[0]
    torch.testing.assert_close(changed[1:], 3.0 * cooler[1:], rtol=1e-5, atol=0.0)


def test_extreme_samples_get_the_bounds_beside_others() -> None:
    one_hot, uniform = Teacher.from_probabilities(torch.eye(4)[:1]).log_probabilities, torch.full((1, 4), 0.25).log()
    beyond = torch.tensor([[0.0, -1e30, -1e30, -1e30]])
    ordinary = torch.tensor([[3.0, 1.0, 0.0, -1.0]]).log_softmax(dim=-1)
    found = temperatures_of(torch.cat([one_hot, uniform, beyond, ordinary]), minimum=0.5, maximum=7.0)
    assert found[:3].tolist() == [7.0, 0.5, 7.0]
    assert 0.5 < float(found[3]) < 7.0
    assert found.dtype == torch.float32


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (torch.ones(3), "temperatures [samples] as tensor of shape (2,), got float32 tensor of shape (3,)"),
        (torch.ones(2, 1), "got float32 tensor of shape (2, 1)"),
        (torch.tensor(2.0), "got float32 tensor of shape ()"),
        (torch.tensor([1.0, 0.0]), "set the temperature 0.0 for sample 1"),
        (torch.tensor([math.nan, 1.0]), "set the temperature nan for sample 0"),
        (torch.tensor([1.0, 2e4]), "each must lie in [0.001, 10000]"),
    ],
)
def test_temperatures_of_samples_that_cannot_be_used_are_refused(values: Tensor, told: str) -> None:
    class Broken(TemperatureSchedule):
        def at(self, progress: float, teacher: Tensor) -> Tensor:
            return values

    with pytest.raises(ValueError, match=re.escape(told)):
        Broken()(0.5, teacher(2))


def test_candidates_are_numbers_names_and_sections() -> None:
    schedule = build_temperature("auto", candidates=[2, "entropy", {"name": "linear", "start": 4, "end": 2}], steps=7)
    assert schedule.trial_steps == 7
    assert list(schedule.contenders) == ["2", "entropy", "linear(start=4, end=2)"]
    number, entropy, linear = schedule.contenders.values()
    assert (number(0.3, teacher()), linear(0.5, teacher())) == (2.0, 3.0)
    assert entropy(0.3, teacher()) == build_temperature("entropy")(0.3, teacher())
    assert list(build_temperature("auto").contenders) == ["1", "2", "3", "5", "8", "linear(start=5.0, end=1.0)"]
    with pytest.raises(ValueError, match="auto has no temperature of its own"):
        schedule(0.0, teacher())


@pytest.mark.parametrize(
    ("candidates", "told"),
    [
        ([2], "candidates"),
        ([2, 2.0], "candidates.1: each may be listed once, got 2"),
        ([2, "lukewarm"], "candidates.1: unknown temperature schedule 'lukewarm'"),
        ([2, {"name": "linear", "begin": 3}], "candidates.1: temperature schedule 'linear': begin: unknown option"),
        ([2, 0], "candidates.1: temperature schedule 'constant': value"),
        ([2, True], "candidates.1: must be a number, the name of a schedule, or a section"),
        ([2, {"start": 3}], "candidates.1: must be a number, the name of a schedule, or a section"),
        ([2, "auto"], "candidates.1: must be a schedule that tries nothing itself"),
    ],
)
def test_candidates_that_cannot_be_tried_are_refused(candidates: list[Any], told: str) -> None:
    with pytest.raises(PluginError, match=re.escape(told)):
        build_temperature("auto", candidates=candidates)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Teacher.from_probabilities(torch.eye(4)).log_probabilities, 7.0),
        (torch.tensor([[0.0, -1e30], [-1e30, 0.0]]), 7.0),
        (torch.full((3, 4), 0.25).log(), 1.5),
        (torch.zeros(3, 1), 1.5),
    ],
    ids=["one-hot", "beyond one-hot", "uniform", "one class"],
)
def test_entropy_of_degenerate_teachers(target: Tensor, expected: float) -> None:
    assert build_temperature("entropy", minimum=1.5, maximum=7.0)(0.0, target) == expected


def test_entropy_of_the_smallest_temperatures_is_finite() -> None:
    schedule = build_temperature("entropy", share=0.001, minimum=LOWEST, maximum=1.0)
    assert schedule(0.0, torch.tensor([[-3.0, -1e4], [-1e4, -5.0]])) == 1.0


def test_entropy_reads_each_teacher_once() -> None:
    schedule, first, second = build_temperature("entropy"), teacher(scale=10.0), teacher(scale=5.0)
    before = schedule(0.0, first)
    other = schedule(0.5, second)
    assert other < before
    # A teacher changed in place, against the rule, shows that it is not read again while it is the latest.
    second.mul_(3.0)
    assert schedule(0.9, second) == other
    assert schedule(0.9, second.clone()) != other
    assert schedule(1.0, first) == before
    assert copy.deepcopy(schedule)(1.0, first) == before


@pytest.mark.parametrize("name", NAMES)
def test_no_schedule_changes_its_teacher(name: str) -> None:
    target = teacher()
    kept = target.clone()
    build_temperature(name)(0.3, target)
    assert torch.equal(target, kept)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("progress", [-0.01, 1.01, math.nan, math.inf])
def test_progress_outside_the_training_is_refused(name: str, progress: float) -> None:
    with pytest.raises(ValueError, match=r"progress must lie in \[0, 1\]"):
        build_temperature(name)(progress, teacher())


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_schedule_that_sets_an_impossible_temperature_is_refused(value: float) -> None:
    class Broken(TemperatureSchedule):
        def at(self, progress: float, teacher: Tensor) -> float:
            return value

    with pytest.raises(ValueError, match="Broken set the temperature"):
        Broken()(0.5, teacher())


@pytest.mark.parametrize("name", ["entropy", "per_sample"])
@pytest.mark.parametrize(
    "target", [torch.zeros(0, 3), torch.zeros(3, 0), torch.tensor([[0.0, -math.inf]]), torch.tensor([[math.nan, 0.0]])]
)
def test_softness_refuses_teachers_that_are_none(name: str, target: Tensor) -> None:
    with pytest.raises(ValueError, match="teacher must be"):
        build_temperature(name)(0.0, target)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("constant", {"value": 0.0}),
        ("constant", {"value": math.inf}),
        ("constant", {"start": 5.0}),
        ("linear", {"start": -1.0}),
        ("cosine", {"end": math.nan}),
        ("exponential", {"end": 0.0}),
        ("entropy", {"share": 0.0}),
        ("entropy", {"share": 1.0}),
        ("entropy", {"minimum": 3.0, "maximum": 2.0}),
        ("per_sample", {"share": 1.0}),
        ("per_sample", {"minimum": 3.0, "maximum": 2.0}),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(PluginError):
        build_temperature(name, **options)
    if "start" not in options or name != "constant":
        with pytest.raises(ValueError, match="must"):
            plugins.resolve(plugins.TEMPERATURE, name)(**options)
