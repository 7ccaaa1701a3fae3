"""Networks as users write them, for images of one channel and 8×8 pixels: those that work, and those that do not."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedkd.models import Architecture

PIXELS = 64


@dataclass(frozen=True)
class Own(Architecture):
    """What a function of this module, called ``net``, builds."""

    net: str = "view"

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        model: nn.Module = globals()[self.net](classes)
        return model


class Net(nn.Module):
    """Some layers by name, and a forward pass over them."""

    def __init__(self, forward: Callable[[Any, Tensor], Any], **layers: nn.Module | Tensor) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, nn.Parameter(layer) if isinstance(layer, Tensor) else layer)
        self._pass = forward

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self._pass(self, images)
        return output


def tied(classes: int = 4) -> nn.Module:
    """Two layers that share a weight."""
    first, second = nn.Linear(PIXELS, PIXELS), nn.Linear(PIXELS, PIXELS)
    second.weight = first.weight
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), second, nn.ReLU(), nn.Linear(PIXELS, classes))


def used_twice(classes: int = 4) -> nn.Module:
    layer = nn.Linear(PIXELS, PIXELS)
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(PIXELS, classes))


def functional_head(classes: int = 4) -> nn.Module:
    """A layer whose weights are used without calling it."""
    return Net(
        lambda net, x: F.linear(torch.relu(net.body(x.flatten(1))), net.head.weight, net.head.bias),
        body=nn.Linear(PIXELS, 16),
        head=nn.Linear(16, classes),
    )


def called_and_functional(classes: int = 4) -> nn.Module:
    """A layer that is called once, and whose weight is used besides."""
    return Net(
        lambda net, x: net.head(net.body(x.flatten(1))) + F.linear(x.flatten(1)[:, :16], net.head.weight),
        body=nn.Linear(PIXELS, 16),
        head=nn.Linear(16, classes),
    )


def bypassed(classes: int = 4) -> nn.Module:
    """A layer of which the forward method is called, around its hooks."""
    return Net(lambda net, x: net.head.forward(x.flatten(1)), head=nn.Linear(PIXELS, classes))


def normalised_by_hand(classes: int = 4) -> nn.Module:
    return Net(
        lambda net, x: 8 * F.linear(F.normalize(net.body(x.flatten(1))), F.normalize(net.head.weight)),
        body=nn.Linear(PIXELS, 16),
        head=nn.Linear(16, classes, bias=False),
    )


def weight_normed(classes: int = 4) -> nn.Module:
    head = nn.utils.parametrizations.weight_norm(nn.Linear(PIXELS, classes))
    return nn.Sequential(nn.Flatten(), head)


def own_parameters(classes: int = 4) -> nn.Module:
    """A learned scale that begins at 0, and a learned offset, beside layers."""
    return Net(
        lambda net, x: net.head((x.flatten(1) + net.offset) + net.scale * net.body(x.flatten(1))),
        offset=torch.zeros(PIXELS),
        scale=torch.zeros(1),
        body=nn.Linear(PIXELS, PIXELS),
        head=nn.Linear(PIXELS, classes),
    )


def prelu(classes: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 16), nn.PReLU(), nn.Linear(16, classes))


def circular(classes: int = 4) -> nn.Module:
    convolution = nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")
    return nn.Sequential(convolution, nn.Flatten(), nn.Linear(2 * PIXELS, classes))


def transposed(classes: int = 4) -> nn.Module:
    return nn.Sequential(nn.ConvTranspose2d(1, 2, 3), nn.Flatten(), nn.Linear(200, classes))


def embedding(classes: int = 4) -> nn.Module:
    """A table of grey levels."""
    return Net(
        lambda net, x: net.head(net.table((x.flatten(1).clamp(0, 1) * 15).long()).mean(dim=1)),
        table=nn.Embedding(16, 5),
        head=nn.Linear(5, classes),
    )


def attention(classes: int = 4) -> nn.Module:
    """Attention over the rows of an image, with a class token and position embeddings."""

    def forward(net: Any, x: Tensor) -> Any:
        rows = torch.cat([net.token.expand(x.shape[0], -1, -1), x.squeeze(1)], dim=1) + net.position
        return net.head(net.attend(rows, rows, rows)[0][:, 0])

    return Net(
        forward,
        token=torch.zeros(1, 1, 8),
        position=0.02 * torch.randn(1, 9, 8),
        attend=nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True),
        head=nn.Linear(8, classes),
    )


def lstm(classes: int = 4) -> nn.Module:
    return Net(
        lambda net, x: net.head(net.rows(x.squeeze(1))[0][:, -1]),
        rows=nn.LSTM(8, 6, batch_first=True),
        head=nn.Linear(6, classes),
    )


def residual_in_place(classes: int = 4) -> nn.Module:
    def forward(net: Any, x: Tensor) -> Any:
        hidden = net.first(x.flatten(1))
        hidden += x.flatten(1)
        return net.head(hidden.relu_())

    return Net(forward, first=nn.Linear(PIXELS, PIXELS), head=nn.Linear(PIXELS, classes))


def dropout(classes: int = 4) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(PIXELS, 16), nn.ReLU(), nn.Dropout(0.5), nn.PReLU(), nn.Linear(16, classes)
    )


def mixing(classes: int = 4) -> nn.Module:
    """Batch statistics by hand."""
    return Net(lambda net, x: net.head(x.flatten(1) - x.flatten(1).mean(dim=0)), head=nn.Linear(PIXELS, classes))


def cumulative(classes: int = 4) -> nn.Module:
    """A sample that sees those before it."""
    return Net(lambda net, x: net.head(x.flatten(1).cumsum(dim=0)), head=nn.Linear(PIXELS, classes))


def running_statistics(classes: int = 4) -> nn.Module:
    return nn.Sequential(nn.InstanceNorm2d(1, track_running_stats=True), nn.Flatten(), nn.Linear(PIXELS, classes))


def branching(classes: int = 4) -> nn.Module:
    """A choice between layers by what the samples are."""
    return Net(
        lambda net, x: net.one(x.flatten(1)) if x.mean() > 0 else net.other(x.flatten(1)) + net.one(x.flatten(1)),
        one=nn.Linear(PIXELS, classes),
        other=nn.Linear(PIXELS, classes),
    )


def unused(classes: int = 4) -> nn.Module:
    return Net(
        lambda net, x: net.head(x.flatten(1)), head=nn.Linear(PIXELS, classes), forgotten=nn.Linear(3, 3, bias=False)
    )


def recurrent(classes: int = 4) -> nn.Module:
    """A layer that torch cannot vectorise over samples."""
    return Net(
        lambda net, x: net.head(net.rows(x.squeeze(1))[0][:, -1]),
        rows=nn.GRU(8, 6, batch_first=True),
        head=nn.Linear(6, classes),
    )


def view(classes: int = 4) -> nn.Module:
    """``x.view`` after a convolution, which takes one memory format only."""

    def forward(net: Any, x: Tensor) -> Any:
        x = F.max_pool2d(torch.relu(net.first(x)), 2)
        return net.head(x.view(x.size(0), -1))

    return Net(forward, first=nn.Conv2d(1, 8, 3, padding=1), head=nn.Linear(8 * 16, classes))


def by_strides(classes: int = 4) -> nn.Module:
    """Numbers taken as they lie in memory: in another format others."""

    def forward(net: Any, x: Tensor) -> Any:
        x = net.first(x)
        return net.head(torch.as_strided(x, (x.shape[0], 4 * PIXELS), (4 * PIXELS, 1)))

    return Net(forward, first=nn.Conv2d(1, 4, 3, padding=1), head=nn.Linear(4 * PIXELS, classes))


def volumes(classes: int = 4) -> nn.Module:
    """Convolutions over three axes, for which channels_last does not exist, beside one over two."""
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.Unflatten(1, (1, 2)), nn.Conv3d(1, 2, (1, 3, 3)), nn.Flatten(), nn.Linear(64, classes)
    )


def normalised(classes: int = 4) -> nn.Module:
    """Batch normalisation of features, which takes two samples."""
    return nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, classes))


def twelve_outputs(classes: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 12))


def squeezed(classes: int = 4) -> nn.Module:
    """``squeeze`` takes the axis of a single sample away."""
    return Net(lambda net, x: net.head(x.flatten(1)).squeeze(), head=nn.Linear(PIXELS, classes))


def two_outputs(classes: int = 4) -> nn.Module:
    return Net(lambda net, x: (net.head(x.flatten(1)), x), head=nn.Linear(PIXELS, classes))


def named_outputs(classes: int = 4) -> nn.Module:
    return Net(lambda net, x: {"logits": net.head(x.flatten(1))}, head=nn.Linear(PIXELS, classes))


def larger_images(classes: int = 4) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 24 * 24, classes))


def top_classes(classes: int = 4) -> nn.Module:
    return Net(lambda net, x: net.head(x.flatten(1)).argsort(dim=1), head=nn.Linear(PIXELS, classes))


def detached(classes: int = 4) -> nn.Module:
    return Net(lambda net, x: net.head(x.flatten(1)).detach(), head=nn.Linear(PIXELS, classes))


def infinite(classes: int = 4) -> nn.Module:
    return Net(lambda net, x: net.head(x.flatten(1)) / 0.0, head=nn.Linear(PIXELS, classes))


def infinite_gradient(classes: int = 4) -> nn.Module:
    return Net(
        lambda net, x: net.head(x.flatten(1) * net.scale.sqrt()), scale=torch.zeros(1), head=nn.Linear(64, classes)
    )


def changed_in_place(classes: int = 4) -> nn.Module:
    """What the backward pass needs is overwritten."""

    def forward(net: Any, x: Tensor) -> Any:
        x = x.flatten(1)
        x += net.first(x)
        return net.head(x)

    return Net(forward, first=nn.Linear(PIXELS, PIXELS), head=nn.Linear(PIXELS, classes))


def probabilities(classes: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, classes), nn.Softmax(dim=-1))


def nothing_to_train(classes: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(classes))


def old_weight_norm(classes: int = 4) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.Sequential(nn.Flatten(), nn.utils.weight_norm(nn.Linear(PIXELS, classes)))


def loaded(classes: int = 4) -> nn.Module:
    """Weights from somewhere else."""
    body = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 8))
    with torch.no_grad():
        body.get_parameter("1.weight").copy_(torch.linspace(-1, 1, PIXELS).expand(8, PIXELS))
    return nn.Sequential(body, nn.ReLU(), nn.Linear(8, classes))


def frozen(classes: int = 4) -> nn.Module:
    body = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 8)).requires_grad_(False)
    return nn.Sequential(body, nn.ReLU(), nn.Linear(8, classes))


def loaded_table(classes: int = 4) -> nn.Module:
    model = embedding(classes)
    with torch.no_grad():
        model.get_parameter("table.weight").copy_(torch.arange(80.0).reshape(16, 5))
    return model


def constants(classes: int = 4) -> nn.Module:
    """Parameters that begin at one number: a head and a residual norm at 0, a scale, a token, a prior in a bias."""
    model = Net(
        lambda net, x: net.head(net.norm(x.flatten(1) * net.scale + net.token)) * net.temperature,
        scale=torch.full((PIXELS,), 1e-3),
        token=torch.zeros(1, PIXELS),
        temperature=torch.tensor(2.5),
        norm=nn.LayerNorm(PIXELS),
        head=nn.Linear(PIXELS, classes),
    )
    nn.init.zeros_(model.get_parameter("head.weight"))
    nn.init.constant_(model.get_parameter("head.bias"), -4.6)
    nn.init.zeros_(model.get_parameter("norm.weight"))
    return model


def lazy(classes: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))


def no_module(classes: int = 4) -> Any:
    return {"head": nn.Linear(PIXELS, classes)}


def raises(classes: int = 4) -> nn.Module:
    return {"four": nn.Linear(PIXELS, classes)}["five"]


def raises_in_forward(classes: int = 4) -> nn.Module:
    def forward(net: Any, x: Tensor) -> Any:
        raise LookupError("no such feature")

    return Net(forward, head=nn.Linear(PIXELS, classes))
