"""DP-SGD: gradients clipped one by one, Poisson samples, as much noise as declared, nothing that mixes samples."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn

from fedkd.config.values import Plugin
from fedkd.core.optimisers import SGD
from fedkd.core.samples import SampleSpec
from fedkd.models import build_model
from fedkd.privacy.dp_sgd import PrivateSchedule, poisson_batches, private_steps, sampling_rate, train_privately
from fedkd.privacy.mechanism import PrivateTraining
from fedkd.privacy.per_sample import clipped_gradient_sum


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise_of(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def plain_sum(model: nn.Module, inputs: Tensor, labels: Tensor, clip_norm: float) -> list[Tensor]:
    """The definition: one sample at a time."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for image, label in zip(inputs, labels, strict=True):
        gradients = torch.autograd.grad(F.cross_entropy(model(image[None]), label[None]), parameters)
        norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
        for index, gradient in enumerate(gradients):
            total[index] += gradient * min(1.0, clip_norm / max(norm, 1e-30))
    return total


def problem(samples: int, shape: tuple[int, int, int] = (1, 8, 8), classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = draw(1)
    return torch.randn(samples, *shape, generator=generator), torch.randint(classes, (samples,), generator=generator)


def linear(features: int = 64, classes: int = 4) -> nn.Module:
    layer = nn.Linear(features, classes)
    nn.init.zeros_(layer.bias)
    nn.init.normal_(layer.weight, generator=draw(2))
    return nn.Sequential(nn.Flatten(), layer)


class _Sequence(nn.Module):
    """A linear layer over positions, a layer norm, and a residual that is added in place."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 6)
        self.norm = nn.LayerNorm(6)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(6, 4, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.embed(inputs.squeeze(1))
        hidden = self.act(self.norm(hidden)) + hidden
        logits: Tensor = self.head(hidden.mean(dim=1))
        return logits


def convolutional() -> nn.Module:
    """Everything a convolution can have; the last is one where norms are cheaper than gradients."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding="same", dilation=2),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=4, bias=False),
        nn.GroupNorm(2, 8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 24, (3, 2), stride=(2, 1)),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(24, 24, 1, groups=2),
        nn.Flatten(),
        nn.Linear(24, 4),
    )


@pytest.mark.parametrize("clip_norm", [0.5, 1e6])
@pytest.mark.parametrize("build", [linear, convolutional, _Sequence])
def test_the_clipped_sum_is_that_of_one_sample_at_a_time(build: Callable[[], nn.Module], clip_norm: float) -> None:
    with torch.random.fork_rng():
        torch.random.set_rng_state(draw(3).get_state())
        model = build()
    inputs, labels = problem(6)
    expected = plain_sum(model, inputs, labels, clip_norm)
    for found, wanted in zip(clipped_gradient_sum(model, inputs, labels, clip_norm), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["cnn", "resnet8", "lenet5", "mlp"])
def test_shipped_models_can_be_trained_privately(name: str) -> None:
    shape = (1, 28, 28)
    model = build_model(Plugin(name), SampleSpec(shape), 10, draw()).to(memory_format=torch.channels_last)
    inputs, labels = problem(3, shape, 10)
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    expected = plain_sum(model, inputs, labels, 1.0)
    for found, wanted in zip(clipped_gradient_sum(model, inputs, labels, 1.0), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)


IMAGES = arrays(
    np.float32,
    (1, 8, 8),
    elements=st.one_of(
        st.floats(width=32), st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 3.4e38, -3.4e38, 1e-45, 1e18])
    ),
)


@pytest.mark.parametrize("build", [linear, convolutional])
@given(image=IMAGES, label=st.integers(0, 3), clip_norm=st.floats(1e-3, 1e3))
@settings(max_examples=50, deadline=None)
def test_no_sample_moves_the_sum_by_more_than_the_clip_norm_whatever_it_is(
    build: Callable[[], nn.Module], image: np.ndarray, label: int, clip_norm: float
) -> None:
    with torch.random.fork_rng():
        torch.random.set_rng_state(draw(3).get_state())
        model = build()
    inputs, labels = problem(4)
    rest = clipped_gradient_sum(model, inputs, labels, clip_norm)
    added, known = torch.cat([inputs, torch.from_numpy(image)[None]]), torch.cat([labels, torch.tensor([label])])
    with_it = clipped_gradient_sum(model, added, known, clip_norm)
    assert all(bool(total.isfinite().all()) for total in with_it)
    distance = math.sqrt(sum(float((a - b).double().square().sum()) for a, b in zip(with_it, rest, strict=True)))
    # The others' sum is rounded to float32.
    assert distance <= clip_norm * (1 + 1e-4)


def test_one_image_of_the_same_number_everywhere_moves_it_no_further_either() -> None:
    model = linear()
    inputs, labels = problem(5)
    rest = clipped_gradient_sum(model, inputs[:4], labels[:4], 0.7)
    for value in (0.0, 1.0, 1e18, 3e38, math.inf, math.nan):
        added = inputs.clone()
        added[4] = value
        with_it = clipped_gradient_sum(model, added, labels, 0.7)
        distance = math.sqrt(sum(float((a - b).square().sum()) for a, b in zip(with_it, rest, strict=True)))
        assert distance <= 0.7 * (1 + 1e-5), value


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(inplace=True), nn.Linear(8, 4))
    frozen = model[1].bias
    assert isinstance(frozen, nn.Parameter)
    frozen.requires_grad_(False)
    inputs, labels = problem(3)
    assert len(clipped_gradient_sum(model, inputs, labels, 1.0)) == 3
    assert [parameter.requires_grad for parameter in model.parameters()] == [True, False, True, True]
    assert isinstance(model[2], nn.ReLU)
    assert model[2].inplace
    assert not model[1]._forward_hooks
    assert all(parameter.grad is None for parameter in model.parameters())


def test_batch_sizes_are_those_of_poisson_sampling() -> None:
    # Binomial(200, 0.1): mean 20, variance 18. Every record is drawn with the same probability, and on its own.
    steps = 4000
    drawn = torch.zeros(steps, 200)
    for index, batch in enumerate(poisson_batches(200, 0.1, steps, noise_of())):
        drawn[index, batch] = 1.0
    sizes = drawn.sum(dim=1)
    assert float(sizes.mean()) == pytest.approx(20.0, abs=0.35)
    assert float(sizes.var()) == pytest.approx(18.0, rel=0.1)
    assert float((drawn.mean(dim=0) - 0.1).abs().max()) < 0.025
    together = float((drawn[:, 0] * drawn[:, 1]).mean())
    assert together == pytest.approx(0.01, abs=0.006)


def test_rate_and_steps() -> None:
    assert (sampling_rate(320, 32), private_steps(320, 32, 3)) == (0.1, 30)
    assert (sampling_rate(33, 32), private_steps(33, 32, 1)) == (32 / 33, 2)
    assert (sampling_rate(5, 32), private_steps(5, 32, 2)) == (1.0, 2)


def train(
    model: nn.Module, inputs: Tensor, labels: Tensor, noise: float, clip: float = 1.0, seed: int = 0, **changes: float
) -> None:
    arguments = {"epochs": 1, "batch_size": 8, "lr": 1.0} | changes
    train_privately(
        model,
        inputs,
        labels,
        SGD(model.parameters(), arguments["lr"]),
        PrivateTraining(noise, clip),
        PrivateSchedule(int(arguments["epochs"]), int(arguments["batch_size"]), changes.get("proximal", 0.0)),
        noise_of(seed),
    )


def flat(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_noise_is_the_multiplier_times_the_clip_norm_over_the_expected_batch() -> None:
    """At learning rate 1, what two runs that differ in noise alone differ by is the noise of the one step."""
    inputs, labels = problem(8, (1, 40, 40))
    trained = []
    for noise in (1e-9, 3.0):
        model = linear(1600)
        train(model, inputs, labels, noise, clip=0.5)
        trained.append(flat(model))
    difference = trained[1] - trained[0]
    # One step, q = 1, expected size 8: σ = 3·0.5/8 over 6,404 coordinates, known to 1 %.
    assert float(difference.std()) == pytest.approx(3.0 * 0.5 / 8, rel=0.04)
    assert abs(float(difference.mean())) < 0.01


def test_noise_is_drawn_anew_at_every_step_and_for_every_parameter() -> None:
    steps = []

    class Recording(SGD):
        def step(self) -> None:
            steps.append(torch.cat([p.grad.flatten() for p in self.parameters if p.grad is not None]))

    # All inputs 0: the gradients of the weights are noise alone.
    model = linear(1600)
    inputs, labels = torch.zeros(8, 1, 40, 40), torch.zeros(8, dtype=torch.long)
    optimiser = Recording(model.parameters(), 1.0)
    train_privately(model, inputs, labels, optimiser, PrivateTraining(2.0, 1.0), PrivateSchedule(6, 8), noise_of())
    noise = torch.stack(steps)[:, :6400]
    assert noise.shape[0] == 6
    correlation = torch.corrcoef(noise) - torch.eye(6)
    assert float(correlation.abs().max()) < 0.06
    rows = torch.corrcoef(noise[0].view(4, 1600)) - torch.eye(4)
    assert float(rows.abs().max()) < 0.12


@pytest.mark.parametrize("count", [2, 24])
def test_a_schedule_for_more_samples_depends_on_theirs_alone(count: int) -> None:
    """As many steps, and noise of the same size in each, however many samples there are."""
    steps = []

    class Recording(SGD):
        def step(self) -> None:
            steps.append(torch.cat([p.grad.flatten() for p in self.parameters if p.grad is not None]))

    model, labels = linear(1600), torch.zeros(count, dtype=torch.long)
    inputs, optimiser = torch.zeros(count, 1, 40, 40), Recording(model.parameters(), 1.0)
    private = PrivateTraining(2.0, 1.0)
    train_privately(model, inputs, labels, optimiser, private, PrivateSchedule(2, 8, examples=24), noise_of())
    assert len(steps) == private_steps(24, 8, 2) == 6
    # σ = 2 over the expected size of 8, over 38,400 coordinates, known to 1 %.
    assert float(torch.stack(steps)[:, :6400].std()) == pytest.approx(2.0 / 8, rel=0.03)
    with pytest.raises(ValueError, match=r"at most the 1 that the schedule is for; raise clients\.max_examples"):
        train_privately(model, inputs, labels, optimiser, private, PrivateSchedule(2, 8, examples=1), noise_of())


def test_the_sum_is_divided_by_the_expected_size_not_the_realised_one() -> None:
    inputs, labels = problem(40)
    model, other = linear(), linear()
    train(model, inputs, labels, 1e-18, clip=1e9, batch_size=10, lr=0.1)
    generator = noise_of()
    generator.integers(2**63)
    realised = set()
    for _ in range(4):
        batch = torch.from_numpy(np.flatnonzero(generator.random(40) < 0.25))
        realised.add(batch.numel())
        for parameter, total in zip(
            other.parameters(), plain_sum(other, inputs[batch], labels[batch], 1e9), strict=True
        ):
            generator.standard_normal(parameter.shape)
            parameter.data -= 0.1 * total / 10
    assert realised != {10}
    torch.testing.assert_close(flat(model), flat(other), rtol=1e-4, atol=1e-4)


def test_little_noise_still_learns_and_equal_generators_train_alike() -> None:
    inputs, labels = problem(200, classes=2)
    inputs += (labels * 2.0 - 1.0).view(-1, 1, 1, 1)
    trained = []
    for seed in (0, 0, 1):
        model = linear(classes=2)
        nn.init.zeros_(model.get_parameter("1.weight"))
        train(model, inputs, labels, 0.3, seed=seed, epochs=8, batch_size=50)
        trained.append(flat(model))
        assert float((model(inputs).argmax(1) == labels).float().mean()) > 0.8
    assert torch.equal(trained[0], trained[1])
    assert not torch.equal(trained[0], trained[2])


def test_an_empty_sample_is_noise_alone() -> None:
    model = linear()
    before = flat(model)
    # 1 of 10,000 expected, 3 steps of which none draws: the model moves all the same.
    sums = clipped_gradient_sum(model, torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.long), 1.0)
    assert all(bool((total == 0).all()) for total in sums)
    inputs, labels = torch.zeros(3, 1, 8, 8), torch.zeros(3, dtype=torch.long)
    train(model, inputs, labels, 1.0, batch_size=1, lr=0.1)
    assert not torch.equal(flat(model), before)


def test_the_noise_of_a_step_has_values_beyond_those_of_float32() -> None:
    gradients: list[Tensor] = []

    class Recording(SGD):
        def step(self) -> None:
            gradients.extend(p.grad.clone() for p in self.parameters[:1] if p.grad is not None)

    class Extreme(np.random.Generator):
        """Draws what no float32 normal number of torch's can be."""

        def standard_normal(self, shape: tuple[int, ...]) -> np.ndarray:  # type: ignore[override]
            return np.full(shape, 7.25)

    model = linear()
    optimiser = Recording(model.parameters(), 1.0)
    inputs, labels = torch.zeros(8, 1, 8, 8), torch.zeros(8, dtype=torch.long)
    private, schedule = PrivateTraining(2.0, 1.0), PrivateSchedule(1, 8)
    train_privately(model, inputs, labels, optimiser, private, schedule, Extreme(np.random.PCG64(0)))
    assert gradients[0].unique().tolist() == [2.0 * 7.25 / 8]


def test_the_proximal_term_pulls_back() -> None:
    inputs, labels = problem(40)
    moved = []
    for proximal in (0.0, 5.0):
        model = linear()
        before = flat(model)
        train(model, inputs, labels, 1e-6, lr=0.1, epochs=5, proximal=proximal)
        moved.append(float((flat(model) - before).norm()))
    assert moved[1] < 0.8 * moved[0]


def test_there_must_be_samples() -> None:
    with pytest.raises(ValueError, match="labels must hold at least one sample"):
        train(linear(), torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.long), 1.0)


@pytest.mark.filterwarnings("ignore")
def test_opacus_agrees() -> None:
    """The clipped sums of Opacus (per-sample gradients by hooks), as its optimiser makes them before noise."""
    opacus = pytest.importorskip("opacus")
    inputs, labels = problem(7, (1, 12, 12))
    with torch.random.fork_rng():
        torch.random.set_rng_state(draw(4).get_state())
        model = convolutional()
    for layer in model.children():
        # Opacus does not hold with layers that work in place.
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    expected = clipped_gradient_sum(model, inputs, labels, 0.3)
    wrapped = opacus.GradSampleModule(model)
    inner = torch.optim.SGD(wrapped.parameters(), lr=1.0)
    optimiser = opacus.optimizers.DPOptimizer(inner, noise_multiplier=0.0, max_grad_norm=0.3, expected_batch_size=7)
    F.cross_entropy(wrapped(inputs), labels).backward()
    optimiser.clip_and_accumulate()
    for parameter, wanted in zip(wrapped.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.summed_grad, wanted, rtol=1e-3, atol=1e-5)
