"""Density ratios: a case to be solved by hand, ratios that are known, and the least-squares problem itself."""

import math

import pytest
import torch
from torch import Tensor

from fedkd.client import density
from fedkd.client.density import Components, DensityRatio, typical_distance


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_one_sample_of_each_by_hand() -> None:
    # u = 0, v = 1, σ = 1, λ = ½, so k(u, v) = e^−½ =: e. α solves (1 + ½)α = −e/(½·1·1) = −2e, so α = −4e/3, and
    # r(x) = α k(x, 1) + 2 k(x, 0). At 0: −4e²/3 + 2, and at 2: −4e²/3 + 2e⁴; e² = exp −1, e⁴ = exp −2.
    ratio = DensityRatio.fit(torch.tensor([[0.0]]), torch.tensor([[1.0]]), width=1.0, ridge=0.5)
    found = ratio(torch.tensor([[0.0], [2.0], [1.0]])).squeeze(1).tolist()
    assert found[0] == pytest.approx(2 - 4 * math.exp(-1) / 3)
    assert found[1] == pytest.approx(2 * math.exp(-2) - 4 * math.exp(-1) / 3)
    # At v itself: as without v, 2 k(1, 0) = 2e.
    assert found[2] == pytest.approx(2 * math.exp(-0.5))


def test_at_a_reference_sample_it_is_left_out() -> None:
    above, below = draw(8, 2), draw(6, 2, seed=1)
    ratio = DensityRatio.fit(above, below, width=1.0, ridge=0.1)
    # Without the third: the loss keeps its 1/n with n = 6, so that with n = 5 both λ and the mean over u grow by 6/5.
    rest = torch.cat([below[:2], below[3:]])
    alone = DensityRatio.fit(above, rest, width=1.0, ridge=0.1 * 6 / 5)
    expected = alone(below[2:3]) * 6 / 5
    assert torch.allclose(ratio(below[2:3]), expected)


def test_a_known_ratio_is_recovered() -> None:
    # p = N(½, 1), q = N(0, 1): p/q = exp(x/2 − 1/8).
    ratio = DensityRatio.fit(draw(2000, 1) + 0.5, draw(2000, 1, seed=1), width=1.0, ridge=1e-3)
    points = torch.linspace(-1.5, 1.5, 13).unsqueeze(1)
    truth = (points / 2 - 1 / 8).exp().squeeze(1)
    assert torch.allclose(ratio(points).squeeze(1).float(), truth, atol=0.15)


def test_samples_of_the_same_distribution_have_the_ratio_one() -> None:
    ratio = DensityRatio.fit(draw(1500, 2), draw(1500, 2, seed=1), width=1.5, ridge=1e-2)
    inner = draw(200, 2, seed=2) * 0.5
    assert (ratio(inner) - 1).abs().mean() < 0.1


def test_the_estimate_minimises_the_regularised_squared_loss() -> None:
    # ½ mean_v r(v)² − mean_u r(u) + λ/2 ‖r‖² has its minimum there: no change of a coefficient lowers it.
    above, below = draw(6, 2) + 1, draw(5, 2, seed=1)
    ratio = DensityRatio.fit(above, below, width=1.0, ridge=0.1)
    centres = torch.cat([above, below]).double()
    kernel = (-0.5 * torch.cdist(centres, centres) ** 2).exp()
    best = torch.cat([ratio.outer[:, 0], ratio.inner[:, 0]])

    def loss(weights: Tensor) -> float:
        values = kernel @ weights
        return float(values[6:].square().mean() / 2 - values[:6].mean() + 0.05 * weights @ kernel @ weights)

    for direction in draw(20, 11, seed=3).double() * 1e-2:
        assert loss(best + direction) > loss(best)


def test_groups_are_estimated_as_if_alone() -> None:
    above, below, points = draw(9, 3), draw(12, 3, seed=1), draw(7, 3, seed=2)
    member = torch.tensor([0, 1, 1, 2, 0, 2, 2, 1, 0])
    together = DensityRatio.fit(above, below, width=1.0, ridge=0.1, groups=member)(points)
    for group in range(3):
        alone = DensityRatio.fit(above[member == group], below, width=1.0, ridge=0.1)(points)
        assert torch.allclose(together[:, group], alone[:, 0])


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    above, below, points = draw(20, 3), draw(30, 3, seed=1), draw(50, 3, seed=2)
    whole = DensityRatio.fit(above, below, width=1.0, ridge=0.1)(points)
    monkeypatch.setattr(density, "BLOCK", 64)
    assert torch.allclose(DensityRatio.fit(above, below, width=1.0, ridge=0.1)(points), whole)


def test_duplicated_samples_do_no_harm() -> None:
    same = torch.zeros(50, 4)
    ratio = DensityRatio.fit(same, same, width=1.0, ridge=1e-3)
    # All samples in one point: r = 1/(1 + λ) there, n/(n − 1 + nλ) with one left out, and nothing far away.
    assert ratio(torch.zeros(1, 4)).item() == pytest.approx(50 / 49.05)
    assert abs(ratio(torch.full((1, 4), 1e3)).item()) < 1e-9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0.0}, "width must be a positive number, got 0.0"),
        ({"ridge": math.nan}, "ridge must be a positive number, got nan"),
        ({"groups": torch.tensor([0, 2, 2])}, "groups must be one per sample"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, object], message: str) -> None:
    options: dict[str, object] = {"width": 1.0, "ridge": 0.1} | change
    with pytest.raises(ValueError, match=message):
        DensityRatio.fit(draw(3, 2), draw(3, 2), **options)  # type: ignore[arg-type]


def test_samples_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="as many dimensions, got 2 and 3"):
        DensityRatio.fit(draw(3, 2), draw(3, 3), width=1.0, ridge=0.1)
    with pytest.raises(ValueError, match="numerator must be finite"):
        DensityRatio.fit(draw(3, 2) / 0, draw(3, 2), width=1.0, ridge=0.1)
    with pytest.raises(ValueError, match=r"denominator must be \[samples, dimensions\]"):
        DensityRatio.fit(draw(3, 2), draw(0, 2), width=1.0, ridge=0.1)
    with pytest.raises(ValueError, match=r"points must be \[points, 2\]"):
        DensityRatio.fit(draw(3, 2), draw(3, 2), width=1.0, ridge=0.1)(draw(3, 1))


def test_components_follow_the_variance() -> None:
    # Spread 3 along (3, 4)/5 and 1 across it.
    along, across = torch.tensor([[0.6, 0.8]]), torch.tensor([[-0.8, 0.6]])
    samples = 3 * draw(5000, 1) * along + draw(5000, 1, seed=1) * across + 7
    found = Components.fit(samples, 1)
    assert torch.allclose(found.directions[:, 0].float(), along[0], atol=0.02)
    assert found(samples).std().item() == pytest.approx(3, rel=0.05)


def test_all_components_keep_distances() -> None:
    samples = draw(30, 4)
    moved = Components.fit(samples, 4)(samples)
    assert torch.allclose(torch.cdist(moved, moved), torch.cdist(samples.double(), samples.double()), atol=1e-6)


def test_more_components_than_features_are_refused() -> None:
    with pytest.raises(ValueError, match="dimensions must lie between 1 and the features"):
        Components.fit(draw(10, 3), 4)


def test_typical_distance_by_hand() -> None:
    # Halves {0, 1} and {3, 5}: distances 3, 5, 2, 4, of which torch takes the lower middle one.
    assert typical_distance(torch.tensor([[0.0], [1.0], [3.0], [5.0]])) == 3.0
    with pytest.raises(ValueError, match="needs two points"):
        typical_distance(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="give no scale"):
        typical_distance(torch.zeros(4, 2))
