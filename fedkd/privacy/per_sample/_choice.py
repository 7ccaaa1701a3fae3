"""Which way of computing per-sample gradients is exact for a model, found out on made-up samples before training."""

import copy
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Int, Shaped
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # noqa: PLC2701

from fedkd.core.compute import failing_layer, laid_out_for
from fedkd.core.samples import unlike
from fedkd.core.seeding import ambient_randomness
from fedkd.privacy.per_sample._book_keeping import book_kept_sum, covers
from fedkd.privacy.per_sample._functional import vectorised_sum

ClippedSum = Callable[[nn.Module, Tensor, Tensor, float], list[Tensor]]
"""From a model, inputs [samples, ...], labels [samples] and a bound C to Σ_i g_i·min(1, C/‖g_i‖) per trainable
parameter, g_i being the gradient of sample i's cross-entropy. A sample whose gradient is not finite adds nothing."""

SAMPLES = 3
MOST_REMEMBERED = 64

_remembered: dict[Hashable, ClippedSum] = {}


def check_trainable_privately(model: nn.Module) -> None:
    """Raises ``ValueError`` for layers that mix the samples of a batch by their nature, in the model's mode."""
    for name, module in model.named_modules():
        # In evaluation mode its statistics are constants.
        if isinstance(module, _BatchNorm) and (module.training or not module.track_running_stats):
            raise ValueError(
                f"DP-SGD cannot train {type(module).__name__} ({name or 'the model'}): its statistics mix the samples "
                "of a batch, so that no sample has a gradient of its own, and they leave the client without noise; "
                "use group normalisation instead (GroupNorm; models of fedkd take the option norm: group)"
            )


def clipped_gradient_sum(
    model: nn.Module,
    inputs: Shaped[Tensor, "samples ..."],
    labels: Int[Tensor, " samples"],
    clip_norm: float,
) -> list[Tensor]:
    """Σ_i g_i·min(1, C/‖g_i‖) per trainable parameter, by what ``clipped_sum_of`` finds, whose errors it raises."""
    return clipped_sum_of(model, inputs.shape[1:], inputs.dtype)(model, inputs, labels, clip_norm)


def clipped_sum_of(model: nn.Module, shape: tuple[int, ...], kind: torch.dtype = torch.float32) -> ClippedSum:
    """What computes the clipped sums of such a model, for samples of ``shape``, numbers or tokens by ``kind``, exactly.

    Whatever it is, it was compared with one backward pass per sample, on random samples and near the model's
    parameters, once per architecture and process. Raises ``ValueError`` where a sample has no gradient of its own, a
    parameter is not used, or torch cannot compute gradients sample by sample. The model is left as it was.
    """
    key = _structure(model), tuple(shape), kind.is_floating_point
    if key not in _remembered:
        if len(_remembered) >= MOST_REMEMBERED:
            _remembered.clear()
        _remembered[key] = _Probe(model, tuple(shape), tokens=not kind.is_floating_point).choice()
    return _remembered[key]


def _structure(model: nn.Module) -> Hashable:
    """Equal for models that compute alike, up to the numbers in their tensors."""
    own = {"training", "_parameters", "_buffers", "_modules"}
    layers = tuple(
        (name, type(module), tuple(f"{key}={value!r}" for key, value in vars(module).items() if key not in own))
        for name, module in model.named_modules(remove_duplicate=False)
    )
    first: dict[int, str] = {}
    parameters = tuple(
        (name, first.setdefault(id(each), name), each.shape, each.stride(), each.dtype, each.device, each.requires_grad)
        for name, each in model.named_parameters(remove_duplicate=False)
    )
    return layers, parameters


class _Probe:
    """A copy of a model near its parameters, where none is 0 by its initialisation, and a few made-up samples."""

    def __init__(self, model: nn.Module, shape: tuple[int, ...], *, tokens: bool) -> None:
        draw = torch.Generator().manual_seed(0)
        self._model = copy.deepcopy(model).train()
        check_trainable_privately(self._model)
        named = [(name, each) for name, each in self._model.named_parameters() if each.requires_grad]
        self._names, self._parameters = [name for name, _ in named], [each for _, each in named]
        like = self._parameters[0]
        with torch.no_grad():
            for each in self._parameters:
                each.add_(torch.randn(each.shape, generator=draw).to(each), alpha=0.05)
        numbers = torch.rand(SAMPLES, *shape, generator=draw)
        made_up = _made_up_tokens(numbers).to(like.device) if tokens else numbers.to(like)
        self._inputs = laid_out_for(self._model, made_up)
        with torch.no_grad():
            classes = self._logits(self._inputs).shape[1]
        self._labels = (torch.arange(SAMPLES) % classes).to(like.device)

    def choice(self) -> ClippedSum:
        """The faster one of those that are exact."""
        self._check_apart()
        self._check_vectorisable()
        expected = self._gradients()
        self._check_used(expected)
        if covers(self._model) and self._agrees(book_kept_sum, expected):
            return book_kept_sum
        with self._vectorising():
            self._sums(vectorised_sum, 1.0)
        return vectorised_sum

    def _check_apart(self) -> None:
        """No sample's output, and no buffer, may depend on what the other samples are."""
        output, kept = self._seeing(self._inputs)
        for row in (0, SAMPLES - 1):
            others = unlike(self._inputs)
            others[row] = self._inputs[row]
            beside, kept_then = self._seeing(others)
            if changed := [name for name in kept if not torch.equal(kept[name], kept_then[name])]:
                raise ValueError(
                    "DP-SGD cannot train a model that keeps what it sees: a forward pass changes the buffers "
                    f"{', '.join(changed)} by the samples, and they leave the client without noise; normalise without "
                    "running statistics"
                )
            if not torch.allclose(output[row], beside[row], rtol=1e-4, atol=1e-5, equal_nan=True):
                raise ValueError(
                    "DP-SGD cannot train a model whose output for a sample depends on the other samples of its batch: "
                    "no sample has a gradient of its own; normalise over channels or features instead of the batch "
                    "(GroupNorm, LayerNorm), and reshape without mixing the first axis"
                )

    @torch.no_grad()
    def _seeing(self, inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Output, and buffers after it; they are put back."""
        before = {name: each.clone() for name, each in self._model.named_buffers()}
        output = self._logits(inputs)
        after = {name: each.clone() for name, each in self._model.named_buffers()}
        for name, each in self._model.named_buffers():
            each.copy_(before[name])
        return output, after

    def _check_used(self, gradients: list[list[Tensor | None]]) -> None:
        unused = [name for index, name in enumerate(self._names) if all(each[index] is None for each in gradients)]
        if unused:
            raise ValueError(
                f"DP-SGD adds noise to every parameter, and {', '.join(unused)} have no influence on the model's "
                "output; take them out of the model"
            )

    def _check_vectorisable(self) -> None:
        """What torch can vectorise over samples does the same for whatever samples it sees."""
        for module in self._model.modules():
            library = type(module).__module__.partition(".")[0] in {"torch", "torchvision"}
            if library and not any(True for _ in module.parameters()):
                # Of random layers not all can be vectorised, and none looks at the samples.
                module.eval()
        try:
            with self._vectorising():
                found = self._sums(vectorised_sum, 1.0)
        finally:
            self._model.train()
        if not all(bool(each.isfinite().all()) for each in found):
            raise ValueError("DP-SGD cannot train a model whose gradients are not finite")

    def _agrees(self, sums: ClippedSum, gradients: list[list[Tensor | None]]) -> bool:
        """Whether sums are those of the samples' gradients, clipped to half their median norm and not at all."""
        filled = [
            [torch.zeros_like(own) if each is None else each for each, own in zip(row, self._parameters, strict=True)]
            for row in gradients
        ]
        norms = torch.stack([torch.stack([each.norm() for each in row]).norm() for row in filled])
        for bound in (float(norms.median()) / 2, float(norms.max()) * 2):
            factors = (bound / norms).clamp_max(1.0)
            expected = [
                sum(
                    (factor * each for factor, each in zip(factors, column, strict=True)), torch.zeros(()).to(column[0])
                )
                for column in zip(*filled, strict=True)
            ]
            try:
                found = self._sums(sums, bound)
            except (ValueError, RuntimeError, IndexError, TypeError):
                return False
            size = float(torch.stack([each.norm() for each in expected]).norm())
            if any(
                float((one - other).norm()) > 1e-3 * float(other.norm()) + 1e-6 * size
                for one, other in zip(found, expected, strict=True)
            ):
                return False
        return True

    def _logits(self, inputs: Tensor) -> Tensor:
        with _same_randomness():
            logits: Tensor = self._model(inputs.clone())
        return logits

    def _gradients(self) -> list[list[Tensor | None]]:
        """By sample and parameter, from one backward pass per sample: None where a parameter plays no part."""
        losses = F.cross_entropy(self._logits(self._inputs), self._labels, reduction="none")
        return [
            list(torch.autograd.grad(loss, self._parameters, retain_graph=True, allow_unused=True)) for loss in losses
        ]

    def _sums(self, sums: ClippedSum, bound: float) -> list[Tensor]:
        with _same_randomness():
            return sums(self._model, self._inputs.clone(), self._labels, bound)

    @contextmanager
    def _vectorising(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, ValueError, NotImplementedError, TypeError) as error:
            layer, reason = failing_layer(self._model, error), " ".join(str(error).split())
            raise ValueError(
                f"DP-SGD cannot train {layer}: torch cannot compute its gradients sample by sample "
                f"({type(error).__name__}: {reason[:200]}); let the forward pass neither branch on values nor change "
                "outer tensors in place, or exchange that layer"
            ) from error


def _made_up_tokens(numbers: Tensor) -> Tensor:
    """Tokens that every vocabulary has, 0, which is padding, and 1: texts of different lengths, with gaps."""
    tokens = (numbers < 0.7).long()
    tokens[..., -1], tokens[..., 0] = 0, 1
    return tokens


@contextmanager
def _same_randomness() -> Iterator[None]:
    with ambient_randomness(torch.Generator().manual_seed(1)):
        yield
