"""Batch normalisation that gives what a teacher's gives: the transformation, folded into the student's layer or not."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fedkd.core.errors import ConfigError
from fedkd.distillation.batch_norm import ChannelAffine, align, alignment

KINDS = {nn.BatchNorm1d: (6, 3), nn.BatchNorm2d: (4, 3, 2, 2), nn.BatchNorm3d: (2, 3, 2, 1, 2)}


def layer(
    mean: list[float],
    variance: list[float],
    gamma: list[float] | None = None,
    beta: list[float] | None = None,
    *,
    eps: float = 1e-5,
    kind: type[_BatchNorm] = nn.BatchNorm1d,
) -> _BatchNorm:
    """In evaluation mode and float64."""
    made = kind(len(mean), eps=eps, affine=gamma is not None).double().eval()
    state = {"running_mean": mean, "running_var": variance}
    if gamma is not None and beta is not None:
        state |= {"weight": gamma, "bias": beta}
    made.load_state_dict({name: torch.tensor(value).double() for name, value in state.items()}, strict=False)
    return made


@st.composite
def layers(draw: st.DrawFn, *, least: float = 0.05) -> _BatchNorm:
    def three(low: float, high: float) -> list[float]:
        return draw(st.lists(st.floats(low, high), min_size=3, max_size=3))

    signs = draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=3, max_size=3))
    gamma = [sign * size for sign, size in zip(signs, three(least, 5.0), strict=True)]
    affine = draw(st.booleans())
    return layer(
        three(-10.0, 10.0),
        three(0.0, 20.0),
        gamma if affine else None,
        three(-5.0, 5.0) if affine else None,
        eps=draw(st.sampled_from([1e-5, 1e-3, 0.5])),
    )


def tensor(value: object) -> Tensor:
    assert isinstance(value, Tensor)
    return value.detach()


def inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3


def test_by_hand() -> None:
    # Student: 2·(x − 1)/2 + 3 = x + 2. Teacher: 6·(x + 1)/3 − 1 = 2x + 1. So 2x + 1 = (2x − 1) + 2.
    student, teacher = layer([1.0], [4.0], [2.0], [3.0], eps=0.0), layer([-1.0], [9.0], [6.0], [-1.0], eps=0.0)
    scale, shift = alignment(student, teacher)
    assert (scale.tolist(), shift.tolist()) == ([pytest.approx(2.0)], [pytest.approx(-1.0)])


@given(layers(), layers(least=0.0))
def test_with_its_input_transformed_the_student_gives_what_the_teacher_gives(
    student: _BatchNorm, teacher: _BatchNorm
) -> None:
    scale, shift = alignment(student, teacher)
    seen = inputs(6, 3)
    found = student(ChannelAffine(scale, shift)(seen))
    torch.testing.assert_close(found, teacher(seen), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_images_and_volumes_are_transformed_per_channel(kind: type[_BatchNorm]) -> None:
    student = layer([0.0, 1.0, 2.0], [1.0, 4.0, 9.0], [1.0, -1.0, 0.5], [0.0, 1.0, 2.0], kind=kind)
    teacher = layer([3.0, -1.0, 0.0], [0.1, 2.0, 1.0], [2.0, 0.0, -1.0], [1.0, 0.5, 0.0], eps=0.1, kind=kind)
    seen = inputs(*KINDS[kind])
    expected = teacher(seen)
    torch.testing.assert_close(student(ChannelAffine(*alignment(student, teacher))(seen)), expected)
    align(student, teacher, {"": ""})
    torch.testing.assert_close(student(seen), expected)


def test_channel_that_lets_nothing_through_is_named() -> None:
    student = layer([0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 2.0])
    for gamma, beta in ((1.0, 2.0), (0.0, 1.0)):
        with pytest.raises(ValueError, match=r"channel 1 .* γ = 0"):
            alignment(student, layer([0.0, 0.0], [1.0, 1.0], [1.0, gamma], [0.0, beta]))
    # The same constant, whatever the input: nothing has to change.
    scale, shift = alignment(student, layer([5.0, 5.0], [1.0, 1.0], [1.0, 0.0], [0.0, 2.0]))
    assert (scale.tolist(), shift.tolist()) == ([1.0, 1.0], [-5.0, 0.0])


@given(layers(least=0.0), layers(least=0.0))
def test_folded_into_the_students_layer_it_is_the_same(student: _BatchNorm, teacher: _BatchNorm) -> None:
    if not student.affine and teacher.affine:
        return
    pair = nn.ModuleDict({"own": student, "untouched": copy.deepcopy(student)})
    seen = inputs(6, 3)
    before = pair["untouched"](seen)
    if not student.affine and teacher.eps < student.eps:
        # Without γ nothing is steeper than 1/√ε_s, as a small σ_t² is.
        teacher.running_var = tensor(teacher.running_var).clamp_min(1.0)
    align(pair, nn.Sequential(teacher), {"own": "0"})
    torch.testing.assert_close(tensor(pair["own"](seen)), tensor(teacher(seen)), rtol=1e-6, atol=1e-6)
    assert torch.equal(pair["untouched"](seen), before)
    assert float(tensor(student.running_var).min()) >= 0


def test_training_goes_on_with_the_teachers_scale_and_shift_on_batches_of_its_own() -> None:
    student, teacher = layer([0.0], [1.0], [1.0], [0.0]), layer([50.0], [4.0], [3.0], [7.0])
    align(student, teacher, {"": ""})
    # The batch has mean 0 and variance 1: γ_t·(∓1) + β_t. Its unbiased variance is 2, of momentum 0.1.
    found = student.train()(torch.tensor([[-1.0], [1.0]], dtype=torch.float64))
    assert found.flatten().tolist() == pytest.approx([4.0, 10.0], abs=1e-4)
    assert tensor(student.running_mean).item() == pytest.approx(45.0)
    assert tensor(student.running_var).item() == pytest.approx(0.9 * 4.0 + 0.1 * 2.0)


def test_layer_without_scale_takes_the_statistics_that_do_the_same_or_says_why_not() -> None:
    # 2·(x − 1)/√4 + 3 = x + 2, as 1·(x + 2) with σ² = 1.
    student, teacher = layer([0.0], [9.0], eps=0.0), layer([1.0], [4.0], [2.0], [3.0], eps=0.0)
    align(student, teacher, {"": ""})
    assert (student.running_mean, student.running_var) == (torch.tensor([-2.0]), torch.tensor([1.0]))
    for gamma in (-2.0, 0.0, 1e4):
        with pytest.raises(ConfigError, match=r"not both γ and β, .* channel 0; make it with affine=True"):
            align(layer([0.0], [1.0]), layer([1.0], [4.0], [gamma], [3.0]), {"": ""})


def test_pairs_that_are_no_batch_normalisation_are_all_named_and_nothing_is_changed() -> None:
    student = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.BatchNorm1d(2))
    teacher = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3, track_running_stats=False))
    with torch.no_grad():
        teacher.get_parameter("0.bias").fill_(2.0)
    before = copy.deepcopy(student.state_dict())
    with pytest.raises(ConfigError) as caught:
        align(student, teacher, {"1": "0", "0": "0", "3": "0", "layer": "9"})
    problems = caught.value.problems
    assert len(problems) == 4
    assert "'0' is a Linear of the student; name one of 1, 3" in problems[0]
    assert "2 channels and the teacher's 3" in problems[1]
    assert "'layer' is no layer of the student; name one of 1, 3" in problems[2]
    assert "'9' is no layer of the teacher; name one of 0, 1" in problems[3]
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    with pytest.raises(ConfigError, match="keeps no running statistics"):
        align(student, teacher, {"1": "1"})
    with pytest.raises(ConfigError, match="for the student has none"):
        align(nn.Linear(2, 2), teacher, {"": "0"})


def test_networks_are_aligned_layer_by_layer() -> None:
    generator = torch.Generator().manual_seed(1)
    student, teacher = (nn.Sequential(nn.BatchNorm2d(2), nn.ReLU(), nn.BatchNorm2d(2)) for _ in range(2))
    for _ in range(5):
        teacher.train()(torch.randn(8, 2, 3, 3, generator=generator) * 3 + 2)
    student.eval(), teacher.eval()
    seen = torch.randn(8, 2, 3, 3, generator=generator)
    expected = tensor(teacher(seen))
    assert float((tensor(student(seen)) - expected).abs().max()) > 0.1
    align(student, teacher, {"0": "0", "2": "2"})
    torch.testing.assert_close(tensor(student(seen)), expected, atol=1e-6, rtol=1e-6)
