"""Combined targets, the direction of the two distillation losses, and what temperature does to them."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd.functional import hessian

from fedkd.aggregation.types import Teacher
from fedkd.distillation.divergence import distillation_loss
from fedkd.distillation.loss import Answers, Batch, build_loss
from fedkd.distillation.targets import consensus_target, smoothed_one_hot

shares = st.floats(0.0, 1.0)
DIVERGENCES = ("kl", "reverse_kl")


def divergence(name: str, student: Tensor, target: Tensor, temperature: float, weight: Tensor | None = None) -> Tensor:
    unknown = torch.full((len(student),), -1)
    return build_loss(name).value(Answers(student), Answers(target), Batch(temperature, unknown, weight))


def logits(samples: int, classes: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    values = torch.randn(samples, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values * scale


def entropy(log_probabilities: Tensor) -> Tensor:
    each: Tensor = torch.special.entr(log_probabilities.exp())
    return each.sum(dim=-1)


def test_reverse_loss_by_hand() -> None:
    # KL([½, ½] ‖ [¾, ¼]) = ½·ln(2/3) + ½·ln 2; the other way round it is ¾·ln 1.5 + ¼·ln 0.5.
    target, student = torch.tensor([[0.75, 0.25]]).log(), torch.zeros(1, 2)
    backward = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)
    forward = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert float(divergence("reverse_kl", student, target, 1.0)) == pytest.approx(backward, rel=1e-6)
    assert float(divergence("kl", student, target, 1.0)) == pytest.approx(forward, rel=1e-6)


def test_losses_go_by_their_names_and_mirror_each_other() -> None:
    student, target = logits(6, 4, 1), logits(6, 4, 2)
    forward, backward = divergence("kl", student, target, 2.0), divergence("reverse_kl", student, target, 2.0)
    torch.testing.assert_close(forward, divergence("reverse_kl", target, student, 2.0))
    assert abs(float(forward - backward)) > 0.1


def test_each_direction_punishes_its_own_fault() -> None:
    """Leaving out one of the teacher's two classes costs much forwards, adding a third one backwards."""
    target = torch.tensor([[0.4999, 0.4999, 0.0002]]).log()
    missing, adding = torch.tensor([[0.9998, 0.0001, 0.0001]]).log(), torch.tensor([[0.34, 0.33, 0.33]]).log()
    assert distillation_loss(missing, target, 1.0) > 3 * distillation_loss(adding, target, 1.0)
    assert divergence("reverse_kl", adding, target, 1.0) > 2 * divergence("reverse_kl", missing, target, 1.0)


@pytest.mark.parametrize("name", DIVERGENCES)
@given(st.integers(0, 20), st.floats(0.3, 30.0), st.floats(0.01, 30.0))
def test_losses_vanish_for_equal_distributions_only(name: str, seed: int, temperature: float, scale: float) -> None:
    target = logits(3, 5, seed, scale)
    assert float(divergence(name, target + 7.0, target, temperature)) == pytest.approx(0.0, abs=1e-9)
    assert float(divergence(name, logits(3, 5, seed + 100, scale), target, temperature)) > 0.0


@pytest.mark.parametrize("name", DIVERGENCES)
def test_weights_select_samples(name: str) -> None:
    student, target = logits(2, 3, 1), logits(2, 3, 2)
    weighted = divergence(name, student, target, 2.0, torch.tensor([3.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(weighted, divergence(name, student[:1], target[:1], 2.0))
    assert float(divergence(name, student, target, 2.0, torch.zeros(2, dtype=torch.float64))) == 0.0


@pytest.mark.parametrize("name", DIVERGENCES)
def test_softening_shrinks_gradients_by_the_square_of_the_temperature(name: str) -> None:
    """Both KLs tend to ‖z_s − z_t‖²/(2CT²) at large T, for centred logits (Hinton et al. 2015, Eqs. 2–4)."""
    target = logits(4, 6, 2)
    lengths = {}
    for temperature in (100.0, 200.0, 1000.0):
        student = logits(4, 6, 1).requires_grad_()
        (gradient,) = torch.autograd.grad(divergence(name, student, target, temperature), student)
        lengths[temperature] = float(gradient.norm())
    assert lengths[200.0] / lengths[100.0] == pytest.approx(1.0, abs=0.05)
    assert lengths[1000.0] / lengths[100.0] == pytest.approx(1.0, abs=0.05)
    # Without T² the gradient at T = 1000 is a hundredth of that at T = 100.
    plain = [lengths[temperature] / temperature**2 for temperature in (100.0, 1000.0)]
    assert plain[0] / plain[1] == pytest.approx(100.0, rel=0.05)


def test_the_logit_gradient_is_the_difference_of_probabilities() -> None:
    """∂KL/∂z = (p_s − p_t)/T, T² times that in the loss, over the number of samples."""
    temperature, target = 3.0, logits(4, 6, 2)
    student = logits(4, 6, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(distillation_loss(student, target, temperature), student)
    difference = (student / temperature).softmax(dim=-1) - (target / temperature).softmax(dim=-1)
    torch.testing.assert_close(gradient, difference.detach() * temperature / 4)


def test_the_curvature_is_the_softened_covariance() -> None:
    """H = (diag(p) − pp⊤)/T² for the plain KL, so without 1/T² for the loss; p is the softened student."""
    temperature, target, student = 4.0, logits(1, 5, 2), logits(1, 5, 1)
    found = hessian(lambda z: distillation_loss(z.unsqueeze(0), target, temperature), student[0])
    p = (student[0] / temperature).softmax(dim=-1)
    torch.testing.assert_close(found, torch.diag(p) - torch.outer(p, p))


@given(st.integers(0, 50), st.floats(0.1, 20.0), st.floats(1.01, 5.0))
def test_the_targets_entropy_rises_with_temperature(seed: int, temperature: float, factor: float) -> None:
    target = logits(5, 6, seed)
    cool, warm = ((target / t).log_softmax(dim=-1) for t in (temperature, temperature * factor))
    assert bool((entropy(warm) >= entropy(cool) - 1e-12).all())
    assert float(entropy(warm).mean()) > float(entropy(cool).mean())


def test_smoothing_by_hand() -> None:
    # ε = 0.04 over four classes: 0.01 everywhere, 0.97 at the label.
    expected = torch.tensor([[0.01, 0.01, 0.97, 0.01], [0.97, 0.01, 0.01, 0.01]])
    torch.testing.assert_close(smoothed_one_hot(torch.tensor([2, 0]), 4, 0.04), expected)
    assert torch.equal(smoothed_one_hot(torch.tensor([1]), 3, 0.0), torch.tensor([[0.0, 1.0, 0.0]]))
    torch.testing.assert_close(smoothed_one_hot(torch.tensor([1]), 4, 1.0), torch.full((1, 4), 0.25))


def test_smoothing_is_that_of_the_cross_entropy_of_torch() -> None:
    scores, labels = logits(6, 4, 3).float(), torch.tensor([0, 1, 2, 3, 0, 1])
    mine = -(smoothed_one_hot(labels, 4, 0.1) * scores.log_softmax(dim=-1)).sum(dim=-1).mean()
    torch.testing.assert_close(mine, torch.nn.functional.cross_entropy(scores, labels, label_smoothing=0.1))


def test_consensus_by_hand() -> None:
    # ½·[0.9, 0.1] + ½·[0.2, 0.8] at T = 1, and the teacher alone where the label is unknown.
    target = torch.tensor([[0.2, 0.8], [0.2, 0.8]]).log()
    found = consensus_target(target, torch.tensor([0, -1]), alpha=0.5, epsilon=0.2, temperature=1.0)
    torch.testing.assert_close(found.exp(), torch.tensor([[0.55, 0.45], [0.2, 0.8]]))


def test_each_sample_of_a_consensus_may_have_a_temperature_of_its_own() -> None:
    # Odds of 16 to 1 are 4 to 1 at T = 2 and 2 to 1 at T = 4; half of it is the label.
    target = torch.tensor([[16 / 17, 1 / 17]] * 3).log()
    found = consensus_target(
        target, torch.tensor([1, 1, -1]), alpha=0.5, epsilon=0.0, temperature=torch.tensor([2.0, 4.0, 4.0])
    )
    torch.testing.assert_close(found.exp(), torch.tensor([[0.4, 0.6], [1 / 3, 2 / 3], [2 / 3, 1 / 3]]))


@pytest.mark.parametrize(
    ("alpha", "epsilon", "temperature"), [(0.3, 0.1, 2.0), (0.8, 0.0, 0.7), (0.5, 0.4, 5.0), (0.0, 0.1, 3.0)]
)
def test_consensus_minimises_the_weighted_sum_of_cross_entropies(
    alpha: float, epsilon: float, temperature: float
) -> None:
    teacher, labels = logits(3, 4, 5), torch.tensor([1, 3, -1])
    soft = (teacher / temperature).softmax(dim=-1)
    hard = torch.eye(4, dtype=torch.float64)[labels.clamp_min(0)] * (1 - epsilon) + epsilon / 4
    hard_weight = torch.tensor([alpha, alpha, 0.0], dtype=torch.float64).unsqueeze(1)
    guess = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([guess], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        search.zero_grad()
        both = hard_weight * hard + (1 - hard_weight) * soft
        loss = -(both * guess.log_softmax(dim=-1)).sum()
        loss.backward()
        return loss

    search.step(objective)
    found = consensus_target(teacher, labels, alpha=alpha, epsilon=epsilon, temperature=temperature)
    torch.testing.assert_close(found.exp(), guess.detach().softmax(dim=-1), atol=1e-5, rtol=0)


def test_consensus_at_its_limits() -> None:
    teacher, labels = logits(3, 4, 5), torch.tensor([1, 3, -1])
    soft = (teacher / 2.0).log_softmax(dim=-1)
    alone = consensus_target(teacher, labels, alpha=0.0, epsilon=0.1, temperature=2.0)
    torch.testing.assert_close(alone, soft)
    labelled = consensus_target(teacher, labels, alpha=1.0, epsilon=0.1, temperature=2.0)
    torch.testing.assert_close(labelled[:2].exp(), smoothed_one_hot(labels[:2], 4, 0.1).double())
    torch.testing.assert_close(labelled[2], soft[2])


@given(shares, shares, st.floats(0.05, 50.0), st.integers(0, 20), st.sampled_from([0.0, 1.0, 100.0, 1e6]))
def test_consensus_is_a_distribution(alpha: float, epsilon: float, temperature: float, seed: int, scale: float) -> None:
    teacher, labels = logits(4, 5, seed, scale).float(), torch.tensor([0, 4, -1, 2])
    found = consensus_target(teacher, labels, alpha=alpha, epsilon=epsilon, temperature=temperature)
    assert bool(torch.isfinite(found).all())
    torch.testing.assert_close(found.exp().sum(dim=-1), torch.ones(4), atol=1e-4, rtol=0)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_a_certain_teacher_and_unsmoothed_labels_stay_finite(alpha: float) -> None:
    certain = Teacher.from_probabilities(torch.eye(3)).log_probabilities
    found = consensus_target(certain, torch.tensor([0, 2, -1]), alpha=alpha, epsilon=0.0, temperature=1.0)
    assert bool(torch.isfinite(found).all())
    torch.testing.assert_close(found[0].exp(), torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(found[1].exp(), torch.tensor([0.0, 1 - alpha, alpha]))
    torch.testing.assert_close(found[2].exp(), torch.tensor([0.0, 0.0, 1.0]))


def test_consensus_without_samples_is_empty() -> None:
    found = consensus_target(
        torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), alpha=0.5, epsilon=0.0, temperature=1.0
    )
    assert found.shape == (0, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 1.1}, "alpha must lie in"),
        ({"alpha": math.nan}, "alpha must lie in"),
        ({"epsilon": -0.1}, "epsilon must lie in"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"temperature": torch.tensor([1.0, 0.0])}, "temperature must be positive"),
        ({"temperature": math.inf}, "temperature must be positive"),
        ({"labels": torch.tensor([0, 3])}, r"labels must lie in \[-1, 2\]"),
        ({"labels": torch.tensor([0, -2])}, r"labels must lie in \[-1, 2\]"),
        ({"labels": torch.tensor([0])}, "labels one per sample"),
        ({"teacher_log_probs": torch.tensor([[0.0, math.nan, 0.0]] * 2)}, "must be finite"),
        ({"teacher_log_probs": torch.tensor([[0.0, -math.inf, 0.0]] * 2)}, "must be finite"),
    ],
)
def test_bad_arguments_are_refused(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "teacher_log_probs": torch.zeros(2, 3),
        "labels": torch.tensor([0, 1]),
        "alpha": 0.5,
        "epsilon": 0.1,
        "temperature": 1.0,
    }
    # The shapes are checked by the annotations where those are in force, and by the function itself elsewhere.
    consensus = getattr(consensus_target, "__wrapped__", consensus_target)
    with pytest.raises(ValueError, match=message):
        consensus(**(arguments | change))


def test_smoothing_refuses_unknown_labels() -> None:
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 2\]"):
        smoothed_one_hot(torch.tensor([0, -1]), 3, 0.1)
