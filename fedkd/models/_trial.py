"""Trying a model out on made-up samples before anything depends on it."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedkd.core.compute import failing_layer, laid_out_for
from fedkd.core.errors import PluginError
from fedkd.core.faults import described
from fedkd.core.samples import SampleSpec
from fedkd.core.seeding import ambient_randomness
from fedkd.models._build import some


@dataclass(frozen=True)
class Trial:
    """What a trial has shown of a model that works: ``remarks`` for its user, and whether one sample is a batch.

    ``trains_on_one`` is false where batch normalisation has no statistics of a single sample.
    """

    remarks: tuple[str, ...]
    trains_on_one: bool


def placed(model: nn.Module, name: str, sample: SampleSpec, device: torch.device) -> nn.Module:
    """The model called ``name``, on ``device``, for such samples.

    For images with convolutions in the memory format channels_last, which is faster, if the model computes the same so,
    forward and backward. ``laid_out_for`` lays images out alike. Raises ``PluginError`` for a model that cannot be
    copied.
    """
    try:
        other = copy.deepcopy(model)
    except RuntimeError as error:
        raise PluginError(
            f"model {name!r}: cannot be copied ({error}); keep tensors that are computed from parameters out of its "
            "attributes (take torch.nn.utils.parametrizations.weight_norm for torch.nn.utils.weight_norm)"
        ) from error
    model = model.to(device)
    if not sample.is_image or not any(parameter.ndim == 4 for parameter in model.parameters()):
        return model
    try:
        other = other.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        alike = _alike(model, other, sample)
    except Exception:
        # Whatever such a model raises in the one format (view, as_strided), it need not raise in the other.
        return model
    return other if alike else model


def try_model(model: nn.Module, name: str, sample: SampleSpec, classes: int) -> Trial:
    """One training step and two predictions with a copy of the model, on random samples.

    Raises ``PluginError`` where the output is not one finite tensor [batch, ``classes``], a gradient is missing or not
    finite, or the model raises anything, with the file and line.
    """
    tried = _Tried(copy.deepcopy(model), name, classes, "images" if sample.is_image else "samples")
    inputs = _made_up(model, sample)
    unused = tried.unused(inputs)
    probabilities = False
    tried.model.eval()
    with torch.no_grad():
        for count in (2, 1):
            logits = tried.logits(inputs[:count])
            probabilities = bool((logits >= 0).all()) and torch.allclose(
                logits.sum(dim=1), torch.ones(count).to(logits)
            )
    tried.model.train()
    remarks = []
    if unused:
        remarks.append(f"model {name!r}: {some(unused)} have no influence on its output, and are not trained")
    if probabilities and classes > 1:
        remarks.append(
            f"model {name!r}: its outputs are probabilities already, where logits are expected, and so it hardly "
            "learns; leave out the softmax at its end"
        )
    try:
        with torch.no_grad():
            tried.logits(inputs[:1])
    except PluginError:
        return Trial(tuple(remarks), trains_on_one=False)
    return Trial(tuple(remarks), trains_on_one=True)


@dataclass(frozen=True)
class _Tried:
    """A model that tells what goes wrong in it."""

    model: nn.Module
    name: str
    classes: int
    word: str

    def logits(self, inputs: Tensor) -> Tensor:
        """The checked output."""
        with ambient_randomness(torch.Generator().manual_seed(0)):
            try:
                found: object = self.model(laid_out_for(self.model, inputs.clone()))
            except (Exception, SystemExit) as error:
                raise self._fails("forward", inputs, error) from error
        expected = [len(inputs), self.classes]
        if not isinstance(found, Tensor):
            raise PluginError(
                f"model {self.name!r}: must return one tensor of logits {expected}, got a {type(found).__name__}; "
                "return the logits alone"
            )
        if list(found.shape) != expected:
            raise PluginError(
                f"model {self.name!r}: must return logits {expected} for {len(inputs)} {self.word} and {self.classes} "
                f"classes, got {list(found.shape)}; let it take the number of classes, and forward() keep the first "
                "axis"
            )
        if not found.is_floating_point():
            raise PluginError(
                f"model {self.name!r}: must return floating-point logits, got {found.dtype}; return the scores of the "
                "classes"
            )
        if not bool(found.isfinite().all()):
            raise PluginError(
                f"model {self.name!r}: its logits are not finite from the start, got {found.flatten()[:3].tolist()}; "
                "look for divisions by 0 and logarithms of 0"
            )
        return found

    def unused(self, inputs: Tensor) -> list[str]:
        """The parameters without a gradient after a pass forward and backward in training mode."""
        named = {key: each for key, each in self.model.named_parameters() if each.requires_grad}
        if not named:
            raise PluginError(
                f"model {self.name!r}: must have parameters, and has none to train; choose another model, or let some "
                "require gradients"
            )
        self.model.train()
        logits = self.logits(inputs)
        if not logits.requires_grad:
            raise PluginError(
                f"model {self.name!r}: no gradient reaches its parameters; leave out detach() and no_grad() between "
                "them and the output"
            )
        loss = nn.functional.cross_entropy(logits, torch.arange(len(inputs), device=inputs.device) % self.classes)
        try:
            gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        except (Exception, SystemExit) as error:
            raise self._fails("backward", inputs, error) from error
        found = dict(zip(named, gradients, strict=True))
        if wild := [key for key, each in found.items() if each is not None and not bool(each.isfinite().all())]:
            raise PluginError(
                f"model {self.name!r}: the gradients of {some(wild)} are not finite from the start; look for divisions "
                "by 0 and roots and logarithms of 0"
            )
        return [key for key, each in found.items() if each is None]

    def _fails(self, way: str, inputs: Tensor, error: BaseException) -> PluginError:
        mode = "training" if self.model.training else "evaluation"
        return PluginError(
            f"model {self.name!r}: its {way} pass in {mode} mode fails on {self.word} {list(inputs.shape)}, in "
            f"{failing_layer(self.model, error)}: {described(error)}; mend it there, or choose another model"
        )


def _alike(one: nn.Module, other: nn.Module, sample: SampleSpec) -> bool:
    """Whether two models compute the same; raises what the other raises, in training too."""
    one, other = copy.deepcopy(one).eval(), copy.deepcopy(other).eval()
    inputs = _made_up(one, sample)
    for count in (2, 1):
        with torch.no_grad(), ambient_randomness(torch.Generator().manual_seed(0)):
            expected, found = (each(laid_out_for(each, inputs[:count].clone())) for each in (one, other))
        if not torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())):
            return False
    with ambient_randomness(torch.Generator().manual_seed(0)):
        other.train()(laid_out_for(other, inputs)).sum().backward()
    return True


def _made_up(model: nn.Module, sample: SampleSpec) -> Tensor:
    return sample.made_up(2, next(model.parameters(), None))
