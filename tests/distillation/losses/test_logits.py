"""Losses on logits: values by hand, what each does not change under, and numbers that stay finite."""

import math
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedkd.core import plugins
from fedkd.core.errors import PluginError
from fedkd.distillation.loss import Answers, Batch, build_loss

LOGITS = ["dkd", "jensen_shannon", "kl", "mse", "relational", "reverse_kl", "standardised"]
LAYERS = ["attention_transfer", "fitnets", "transformer_layers"]
BY_SAMPLE = [name for name in LOGITS if name != "relational"]
sizes = st.tuples(st.integers(1, 6), st.integers(2, 8), st.floats(0.1, 20.0), st.integers(0, 1_000))


def value(
    name: str,
    student: Tensor,
    teacher: Tensor,
    temperature: float | Tensor = 1.0,
    weight: Tensor | None = None,
    labels: Tensor | None = None,
    **options: Any,
) -> Tensor:
    known = torch.full((len(student),), -1) if labels is None else labels
    return build_loss(name, **options).value(Answers(student), Answers(teacher), Batch(temperature, known, weight))


def gradient(name: str, student: Tensor, teacher: Tensor, temperature: float | Tensor = 1.0, **others: Any) -> Tensor:
    leaf = student.clone().requires_grad_()
    return torch.autograd.grad(value(name, leaf, teacher, temperature, **others), leaf)[0]


def pair(samples: int, classes: int, scale: float, seed: int) -> tuple[Tensor, Tensor]:
    """A student's logits and a teacher's, in double precision."""
    draw = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, samples, classes, generator=draw, dtype=torch.float64) * scale
    return student, teacher


def test_the_package_offers_losses_on_logits_and_between_layers() -> None:
    assert {*LOGITS, *LAYERS} <= {*plugins.names(plugins.LOSS)}
    assert not any(build_loss(name).needs_network for name in LOGITS)


@given(sizes)
def test_the_gradient_of_kl_is_the_difference_of_probabilities_times_t(size: tuple[int, int, float, int]) -> None:
    student, teacher = pair(*size)
    expected = 3.0 * ((student / 3.0).softmax(1) - (teacher / 3.0).softmax(1)) / len(student)
    torch.testing.assert_close(gradient("kl", student, teacher, 3.0), expected)


def test_the_jensen_shannon_divergence_of_two_certainties_is_the_logarithm_of_two() -> None:
    one, other = torch.tensor([[60.0, 0.0]]), torch.tensor([[0.0, 60.0]])
    assert value("jensen_shannon", one, other).item() == pytest.approx(math.log(2))
    # From a certainty to (½, ½): ½·ln(4/3) + ½·(½·ln(2/3) + ½·ln 2).
    half = value("jensen_shannon", torch.zeros(1, 2), one).item()
    assert half == pytest.approx(0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3) + 0.25 * math.log(2))


@given(sizes)
def test_the_jensen_shannon_divergence_is_symmetric_and_bounded(size: tuple[int, int, float, int]) -> None:
    student, teacher = pair(*size)
    found = value("jensen_shannon", student, teacher, 2.0)
    torch.testing.assert_close(found, value("jensen_shannon", teacher, student, 2.0))
    assert 0.0 <= found <= 4.0 * math.log(2) + 1e-12


def test_mse_by_hand_and_as_the_limit_of_kl() -> None:
    # Differences (2, 0, 1) are (1, −1, 0) about their mean.
    student, teacher = torch.tensor([[3.0, 0.0, 1.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    assert value("mse", student, teacher).item() == pytest.approx(1 / 3)
    student, teacher = pair(5, 7, 3.0, 0)
    torch.testing.assert_close(value("mse", student, teacher), value("kl", student, teacher, 1e5), rtol=1e-4, atol=0.0)


@given(st.integers(2, 8), st.floats(0.1, 5.0), st.integers(0, 1_000), st.sampled_from([1.0, 4.0]))
def test_dkd_with_the_weight_that_kl_has_is_kl(classes: int, scale: float, seed: int, temperature: float) -> None:
    student, teacher = pair(1, classes, scale, seed)
    label = torch.tensor([seed % classes])
    other = 1.0 - (teacher / temperature).softmax(1)[0, label].item()
    found = value("dkd", student, teacher, temperature, labels=label, alpha=1.0, beta=other)
    torch.testing.assert_close(found, value("kl", student, teacher, temperature))


def test_the_two_parts_of_dkd_by_hand() -> None:
    # Target against the rest: ½ : ½ and ¼ : ¾. Among the others: ½ : ½ and ⅓ : ⅔.
    student, teacher = torch.tensor([[2.0, 1.0, 1.0]]).log(), torch.tensor([[1.0, 1.0, 2.0]]).log()
    label = torch.tensor([0])
    among = 1 / 3 * math.log(2 / 3) + 2 / 3 * math.log(4 / 3)
    target = 1 / 4 * math.log(1 / 2) + 3 / 4 * math.log(3 / 2)
    assert value("dkd", student, teacher, labels=label, beta=0.0).item() == pytest.approx(target)
    assert value("dkd", student, teacher, labels=label, alpha=0.0, beta=1.0).item() == pytest.approx(among)
    assert value("dkd", student, teacher, labels=label).item() == pytest.approx(target + 8 * among)


def test_dkd_takes_the_teachers_class_where_the_label_is_unknown() -> None:
    student, teacher = pair(6, 4, 2.0, 3)
    top = teacher.argmax(dim=1)
    labels = torch.tensor([-1, 0, -1, 1, 2, -1])
    filled = labels.where(labels >= 0, top)
    assert value("dkd", student, teacher, labels=labels) == value("dkd", student, teacher, labels=filled)
    assert value("dkd", student, teacher) == value("dkd", student, teacher, labels=top)
    assert value("dkd", student, teacher) != value("dkd", student, teacher, labels=(top + 1) % 4)


def test_standardised_logits_by_hand() -> None:
    # Z-scores of two classes are ±1, whatever their size; ln p − ln q is ±2 and p₁ − p₂ is tanh 1.
    student, teacher = torch.tensor([[0.0, 0.1]]), torch.tensor([[30.0, 10.0]])
    assert value("standardised", student, teacher).item() == pytest.approx(2 * math.tanh(1))
    assert value("standardised", -student, teacher).item() == pytest.approx(0.0, abs=1e-6)


@given(sizes, st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_standardised_logits_have_neither_size_nor_shift(
    size: tuple[int, int, float, int], factor: float, shift: float
) -> None:
    student, teacher = pair(*size)
    expected = value("standardised", student, teacher, 2.0)
    torch.testing.assert_close(value("standardised", student * factor + shift, teacher, 2.0), expected)
    torch.testing.assert_close(value("standardised", student, teacher * factor + shift, 2.0), expected)
    # So the gradient is at right angles to the logits and to shifts of them.
    slope = gradient("standardised", student, teacher, 2.0)
    torch.testing.assert_close((slope * student).sum(1), torch.zeros(len(student), dtype=torch.float64))
    torch.testing.assert_close(slope.sum(1), torch.zeros(len(student), dtype=torch.float64))


@pytest.mark.parametrize("name", LOGITS)
@given(sizes)
def test_every_loss_is_least_where_both_agree(name: str, size: tuple[int, int, float, int]) -> None:
    student, teacher = pair(*size)
    assert value(name, student, teacher, 2.0) >= -1e-9
    assert abs(value(name, teacher, teacher, 2.0)) < 1e-9
    torch.testing.assert_close(gradient(name, teacher, teacher, 2.0), torch.zeros_like(teacher))


@pytest.mark.parametrize("name", LOGITS)
@given(sizes)
def test_log_probabilities_do_as_well_as_logits(name: str, size: tuple[int, int, float, int]) -> None:
    student, teacher = pair(*size)
    found = value(name, student, teacher.log_softmax(1), 2.0)
    torch.testing.assert_close(found, value(name, student, teacher, 2.0))
    torch.testing.assert_close(found, value(name, student + 5.0, teacher.log_softmax(1), 2.0))


@pytest.mark.parametrize("name", LOGITS)
@given(sizes)
def test_the_gradient_is_that_of_the_value(name: str, size: tuple[int, int, float, int]) -> None:
    student, teacher = pair(*size)
    draw = torch.Generator().manual_seed(size[-1])
    direction = torch.randn(student.shape, generator=draw, dtype=torch.float64)
    step = 1e-6 * size[2]
    up, down = (value(name, student + sign * step * direction, teacher, 2.0) for sign in (1.0, -1.0))
    slope = (gradient(name, student, teacher, 2.0) * direction).sum()
    torch.testing.assert_close(slope, (up - down) / (2 * step), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", LOGITS)
def test_a_sample_without_weight_changes_nothing(name: str) -> None:
    student, teacher = pair(5, 4, 3.0, 1)
    student[4], weight = 100.0 * student[4], torch.tensor([1.0, 2.0, 0.5, 1.0, 0.0], dtype=torch.float64)
    without = value(name, student[:4], teacher[:4], 2.0, weight[:4])
    torch.testing.assert_close(value(name, student, teacher, 2.0, weight), without)
    assert value(name, student, teacher, 2.0, torch.zeros(5, dtype=torch.float64)) == 0.0
    # Only the weights' proportions count.
    torch.testing.assert_close(value(name, student, teacher, 2.0, 1e-120 * weight), without)


@pytest.mark.parametrize("name", BY_SAMPLE)
def test_weights_and_temperatures_are_by_sample(name: str) -> None:
    student, teacher = pair(3, 4, 3.0, 2)
    temperature, weight = torch.tensor([1.0, 2.0, 5.0]).double(), torch.tensor([1.0, 2.0, 3.0]).double()
    alone = [value(name, student[[i]], teacher[[i]], float(temperature[i])) for i in range(3)]
    expected = (alone[0] + 2 * alone[1] + 3 * alone[2]) / 6
    torch.testing.assert_close(value(name, student, teacher, temperature, weight), expected)


EXTREME = {
    "enormous": torch.tensor([[1e15, -1e15, 0.0], [-1e15, 1e15, 1e15]]),
    "one-hot": torch.tensor([[0.0, -87.0, -87.0], [-87.0, -87.0, 0.0]]),
    "constant": torch.zeros(2, 3),
    "constant elsewhere": torch.full((2, 3), 1e15),
    "nearly constant": torch.tensor([[1.0, 1.0 + 1e-7, 1.0], [1.0, 1.0, 1.0]]),
    "minute": torch.tensor([[1e-30, 0.0, -1e-30], [0.0, 0.0, 1e-38]]),
    "usual": torch.tensor([[2.0, -1.0, 0.5], [0.3, 0.1, -4.0]]),
}


@pytest.mark.parametrize("name", LOGITS)
@pytest.mark.parametrize("temperature", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("own", EXTREME)
def test_values_and_gradients_stay_finite(name: str, temperature: float, own: str) -> None:
    for its, samples, classes in product(EXTREME, (1, 2), (2, 3)):
        student, teacher = EXTREME[own][:samples, :classes], EXTREME[its][:samples, :classes]
        assert value(name, student, teacher, temperature).isfinite(), its
        assert gradient(name, student, teacher, temperature).isfinite().all(), its


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kl", {"weight": -1.0}),
        ("dkd", {"beta": -0.1}),
        ("dkd", {"gamma": 1.0}),
        ("relational", {"angle": math.nan}),
        ("fitnets", {}),
        ("attention_transfer", {"layers": {}}),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(PluginError, match=next(iter(options), "layers")):
        build_loss(name, **options)
