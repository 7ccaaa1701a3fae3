"""Models: shapes, initialisation, independence of the batch, cost."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from fedkd.config.values import Plugin
from fedkd.core.errors import PluginError
from fedkd.core.plugins import MODEL, names
from fedkd.core.samples import SampleSpec
from fedkd.models import Architecture, build_model, profile

SHAPES = ((1, 8, 8), (1, 28, 28), (3, 32, 32))
NORMALISED = ("efficientnet_b0", "mobilenet_v2", "resnet18", "resnet8", "shufflenet")
IMAGES = (*NORMALISED, "cnn", "lenet5", "mlp")
SEQUENCES = ("attention", "fixed_context", "gru", "transformer")


def build(
    name: str, shape: tuple[int, ...] = (1, 8, 8), classes: int = 10, seed: int = 0, **options: object
) -> nn.Module:
    return build_model(Plugin(name, dict(options)), SampleSpec(shape), classes, torch.Generator().manual_seed(seed))


def images_of(shape: tuple[int, ...], count: int = 3) -> torch.Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


def test_the_shipped_models() -> None:
    assert names(MODEL) == sorted((*IMAGES, *SEQUENCES))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", IMAGES)
def test_every_parameter_learns_on_every_image_shape(name: str, shape: tuple[int, ...]) -> None:
    model = build(name, shape, classes=7).eval()
    logits = model(images_of(shape))
    assert logits.shape == (3, 7)
    assert logits.isfinite().all()
    keys, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(nn.functional.cross_entropy(logits, torch.arange(3)), parameters)
    assert [key for key, gradient in zip(keys, gradients, strict=True) if not gradient.any()] == []


@pytest.mark.parametrize("name", IMAGES)
def test_the_generator_alone_sets_the_parameters(name: str) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = build(name).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(6)
    again, other = build(name).state_dict(), build(name, seed=1).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    drawn = [key for key, value in first.items() if value.ndim > 1]
    assert drawn
    assert not any(torch.equal(first[key], other[key]) for key in drawn)


def test_initialisation_is_he_with_zero_biases() -> None:
    model = build("mlp", (1, 28, 28), hidden=[2000])
    hidden, output = (module for module in model.modules() if isinstance(module, nn.Linear))
    assert hidden.weight.std().item() == pytest.approx((2 / 784) ** 0.5, rel=0.01)
    assert output.weight.std().item() == pytest.approx((1 / 2000) ** 0.5, rel=0.03)
    assert not hidden.bias.any()
    assert not output.bias.any()
    depthwise = next(
        module
        for module in build("mobilenet_v2").modules()
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels == 960
    )
    assert depthwise.weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.05)
    norms = [module for module in build("resnet18").modules() if isinstance(module, nn.GroupNorm)]
    assert all((norm.weight == 1).all() and not norm.bias.any() for norm in norms)


@pytest.mark.parametrize("name", IMAGES)
def test_by_default_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    model = build(name, (3, 32, 32))
    for module in model.modules():
        # Training mode, but without the layers that draw at random.
        module.training = not isinstance(module, nn.Dropout) and "StochasticDepth" not in type(module).__name__
    inputs = images_of((3, 32, 32))
    with torch.no_grad():
        together, alone = model(inputs), torch.cat([model(image[None]) for image in inputs])
    assert torch.allclose(together, alone, atol=1e-4, rtol=1e-4)
    assert not list(model.buffers())


@pytest.mark.parametrize("name", NORMALISED)
def test_batch_normalisation_is_an_option_with_fresh_statistics(name: str) -> None:
    model = build(name, norm="batch")
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(isinstance(module, nn.GroupNorm) for module in model.modules())
    assert all(norm.running_mean is not None and not norm.running_mean.any() for norm in norms)
    before = model(images_of((1, 8, 8), 32))
    assert before.shape == (32, 10)
    assert any(norm.running_mean is not None and norm.running_mean.any() for norm in norms)


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        # 16·9+16 + 32·16·9+32 + 64·1568+64 + 10·64+10
        ("cnn", (1, 28, 28), 105_866),
        # 6·25+6 + 16·6·25+16 + 120·400+120 + 84·120+84 + 10·84+10
        ("lenet5", (1, 28, 28), 61_706),
        # 200·784+200 + 200·200+200 + 10·200+10
        ("mlp", (1, 28, 28), 199_210),
        # The 11,173,962 commonly given for CIFAR-10.
        ("resnet18", (3, 32, 32), 11_173_962),
    ],
)
def test_parameter_counts(name: str, shape: tuple[int, ...], parameters: int) -> None:
    assert profile(build(name, shape), SampleSpec(shape)).parameters == parameters


def test_a_cnn_may_be_wider() -> None:
    # 2·9+2 and 3·2·9+3; two halvings of 8 leave 2·2·3 numbers for 5 hidden units; 5·10+10.
    assert profile(build("cnn", (1, 8, 8), channels=[2, 3], hidden=5), SampleSpec((1, 8, 8))).parameters == 202


def test_a_profile_by_hand_leaves_the_model_alone() -> None:
    model = build("resnet8", (1, 8, 8), norm="batch").train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    profile(model, SampleSpec((1, 8, 8)))
    assert all(module.training for module in model.modules())
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    logistic = profile(build("mlp", (1, 8, 8), hidden=[]), SampleSpec((1, 8, 8)))
    assert (logistic.parameters, logistic.flops, logistic.bytes) == (650, 2 * 640, 650 * 4)
    assert logistic.megabytes == 0.0026


@pytest.mark.parametrize("side", [4, 5, 8, 13, 14, 64])
@pytest.mark.parametrize("name", ["cnn", "lenet5", "resnet8"])
def test_small_models_take_any_side_and_oblong_images(name: str, side: int) -> None:
    for shape in ((1, side, side), (2, side, side + 3)):
        assert build(name, shape)(images_of(shape, 2)).shape == (2, 10)


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(PluginError, match=r"model 'cnn': images must be at least 4×4 pixels, got 3×3; choose another"):
        build("cnn", (1, 3, 3))


def test_bad_options_are_refused() -> None:
    with pytest.raises(PluginError, match=r"hidden\.1: input should be greater than or equal to 1, got 0"):
        build("mlp", hidden=[10, 0])
    # No model is begun that would take more memory than there is.
    for hidden in ([10, 10**6], [16] * 100):
        with pytest.raises(PluginError, match=r"hidden.* at most|hidden.*less than or equal"):
            build("mlp", hidden=hidden)
    with pytest.raises(PluginError, match=r"norm.*'group' or 'batch'"):
        build("resnet8", norm="layer")


def test_architectures_are_abstract() -> None:
    @dataclass(frozen=True)
    class Unfinished(Architecture):
        width: int = 1

    with pytest.raises(TypeError, match="abstract"):
        Unfinished()  # type: ignore[abstract]
