"""Curvature against eigenvalues that are known."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from fedkd.analysis.curvature import top_eigenvalue, top_logit_curvature
from fedkd.distillation.divergence import classification_loss, distillation_loss


def draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("classes", "largest"), [(2, 1 / 2), (5, 1 / 5)])
def test_a_uniform_distribution_curves_by_one_over_its_classes(classes: int, largest: float) -> None:
    logits = torch.full((3, classes), 7.0)
    for temperature in (1.0, 4.0):
        found = top_logit_curvature(logits, temperature)
        torch.testing.assert_close(found, torch.full((3,), largest, dtype=torch.float64))


def test_certainty_does_not_curve() -> None:
    found = top_logit_curvature(torch.tensor([[2000.0, 0.0, 0.0], [0.0, 90.0, 0.0]]), 1.0)
    torch.testing.assert_close(found, torch.zeros(2, dtype=torch.float64), atol=1e-15, rtol=0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_largest_eigenvalue_is_that_of_the_whole_matrix(temperature: float) -> None:
    logits = torch.randn(200, 7, generator=draw()) * 3
    logits[:50, 1] = logits[:50, 0]
    shares = (logits.double() / temperature).softmax(dim=-1)
    matrices = shares.diag_embed() - shares.unsqueeze(2) * shares.unsqueeze(1)
    torch.testing.assert_close(top_logit_curvature(logits, temperature), torch.linalg.eigvalsh(matrices)[:, -1])


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_the_bare_divergence_curves_by_one_over_the_squared_temperature_of_that(temperature: float) -> None:
    logits = torch.randn(1, 4, generator=draw(), dtype=torch.float64)
    target = torch.randn(1, 4, generator=draw(), dtype=torch.float64) * 2
    step, ways = 1e-3, torch.eye(4, dtype=torch.float64) * 1e-3

    def bare(point: Tensor) -> float:
        return float(distillation_loss(point, target, temperature)) / temperature**2

    hessian = torch.tensor(
        [
            [sum(a * b * bare(logits + a * one + b * two) for a in (1, -1) for b in (1, -1)) for two in ways]
            for one in ways
        ]
    ) / (4 * step**2)
    shares = (logits[0] / temperature).softmax(dim=-1)
    exact = (shares.diag() - shares.outer(shares)) / temperature**2
    torch.testing.assert_close(hessian.double(), exact, atol=1e-6, rtol=1e-4)
    largest = float(torch.linalg.eigvalsh(hessian.double())[-1])
    assert float(top_logit_curvature(logits, temperature)) / temperature**2 == pytest.approx(largest, rel=1e-4)


def quadratic(*eigenvalues: float) -> tuple[nn.Parameter, Tensor]:
    """A point, and a symmetric matrix of these eigenvalues."""
    turn = torch.linalg.qr(torch.randn(len(eigenvalues), len(eigenvalues), generator=draw()))[0]
    return nn.Parameter(torch.ones(len(eigenvalues))), turn @ torch.diag(torch.tensor(eigenvalues)) @ turn.T


@pytest.mark.parametrize(
    "eigenvalues",
    [
        (7.0, 2.0, 1.0, 0.5, 0.1, 0.0),
        (7.0, -20.0, 3.0, 1.0, 0.0, -5.0),
        (7.0, 2.0),
        (7.0,),
        tuple([7.0] * 9),
        (7.0, *[1.0] * 200),
    ],
    ids=["positive", "a larger negative one", "two", "one", "all the same", "many"],
)
def test_the_largest_eigenvalue_of_a_quadratic(eigenvalues: tuple[float, ...]) -> None:
    point, matrix = quadratic(*eigenvalues)
    found = top_eigenvalue([lambda: point @ matrix @ point / 2], [point], draw(), tolerance=1e-4)
    assert found == pytest.approx(7.0, rel=1e-3)


def test_losses_add_up_and_frozen_parameters_do_not_count() -> None:
    point, matrix = quadratic(6.0, 1.0, 0.5, 0.25)
    frozen = nn.Parameter(torch.ones(3), requires_grad=False)
    part = lambda: point @ matrix @ point / 4 + 1000 * frozen.square().sum()  # noqa: E731
    assert top_eigenvalue([part, part], [point, frozen], draw(), tolerance=1e-4) == pytest.approx(6.0, rel=1e-3)


@pytest.mark.parametrize("size", [1, 2, 50])
def test_a_loss_without_curvature(size: int) -> None:
    point = nn.Parameter(torch.ones(size))
    assert top_eigenvalue([lambda: point.sum()], [point], draw()) == 0.0
    assert top_eigenvalue([lambda: (point**3).sum() * 0.0], [point], draw()) == 0.0


def test_in_the_parameters_of_a_network_it_is_that_of_the_whole_hessian() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)).double()
    samples, labels = torch.randn(30, 3, generator=draw()).double(), torch.randint(4, (30,), generator=draw())
    names, parameters = zip(*model.named_parameters(), strict=True)

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([each.numel() for each in parameters])
        state = {name: part.view_as(each) for name, part, each in zip(names, parts, parameters, strict=True)}
        return classification_loss(torch.func.functional_call(model, state, (samples,)), labels)

    flat = torch.cat([each.detach().flatten() for each in parameters])
    largest = float(torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))[-1])
    chunks = [
        partial(lambda chosen: classification_loss(model(samples[chosen]), labels[chosen]) / 3, chosen)
        for chosen in torch.arange(30).split(10)
    ]
    assert top_eigenvalue(chunks, parameters, draw()) == pytest.approx(largest, rel=1e-2)


def test_there_must_be_something_to_differentiate_by() -> None:
    with pytest.raises(ValueError, match="needs a parameter that requires a gradient"):
        top_eigenvalue([lambda: torch.zeros(())], [], draw())
