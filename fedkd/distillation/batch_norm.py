"""Batch normalisation of a student that is to give what its teacher's gives."""

import copy
from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # noqa: PLC2701

from fedkd.core.errors import ConfigError
from fedkd.core.wording import cut

KEY = "distillation.align_batch_norm"


def alignment(
    student: _BatchNorm, teacher: _BatchNorm
) -> tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]]:
    """Per channel the scale a and shift b of a student's input: BN_student(a·x + b) = BN_teacher(x) in evaluation mode.

    A layer computes k·(x − μ) + β there, with k = γ/√(σ² + ε) from its running statistics (Ioffe and Szegedy 2015,
    arXiv 1502.03167, Algorithm 2). So a = k_t/k_s and b = μ_s − a·μ_t + (β_t − β_s)/k_s, in float64. A channel that is
    the same constant in both needs no change. Raises ``ValueError`` for other channels with γ_s = 0, which let nothing
    of their input through, for other numbers of channels, and for layers without running statistics.
    """
    (own, start), (wanted, end) = _line(student, "student"), _line(teacher, "teacher")
    _check_channels(student, teacher)
    scale, shift = wanted / own, (end - start) / own
    constant = (own == 0) & (wanted == 0) & (start == end)
    scale, shift = scale.masked_fill(constant, 1.0), shift.masked_fill(constant, 0.0)
    if (lost := ~(scale.isfinite() & shift.isfinite())).any():
        raise ValueError(
            f"channel {int(lost.nonzero()[0])} of the student's layer has γ = "
            f"{float(own[lost][0]):g}, so that no input gives the teacher's output; give it a γ other than 0"
        )
    return scale, shift


class ChannelAffine(nn.Module):
    """a·x + b for inputs [samples, channels, ...], per channel: what ``alignment`` finds, as a layer."""

    def __init__(self, scale: Float[Tensor, " channels"], shift: Float[Tensor, " channels"]) -> None:
        super().__init__()
        self.scale, self.shift = nn.Buffer(scale.clone()), nn.Buffer(shift.clone())

    def forward(self, inputs: Float[Tensor, "samples channels ..."]) -> Float[Tensor, "samples channels ..."]:
        ones = [1] * (inputs.ndim - 2)
        scale, shift = (each.to(inputs.dtype).reshape(-1, *ones) for each in (self.scale, self.shift))
        return inputs * scale + shift


@torch.no_grad()
def align(student: nn.Module, teacher: nn.Module, pairs: Mapping[str, str]) -> None:
    """Let layers of batch normalisation of a student, by name, give in evaluation mode what the teacher's give.

    The transformation of ``alignment`` is folded into the student's layer, in place: μ, γ and β become the teacher's,
    and σ² becomes σ_t² + ε_t − ε_s; where that is below 0, it becomes 0, and γ makes up for it. The layer then does the
    same for every channel, also where γ_s was 0. In training mode it goes on from there: it normalises by its own
    batches, scales and shifts as the teacher does, and moves its statistics to its own data. A layer without γ and β
    takes statistics alone that do the same. Raises ``ConfigError`` with every pair that cannot be aligned, before any
    is changed.
    """
    problems: list[str] = []
    folds: list[tuple[_BatchNorm, tuple[Tensor, ...]]] = []
    for own, other in pairs.items():
        found, faults = _pair(student, teacher, own, other)
        problems += faults
        if found is not None:
            try:
                folds.append((found[0], _folded(*found)))
            except ValueError as error:
                problems.append(f"{KEY}: {cut(own)}: {cut(other)}: {error}, or leave the pair out")
    if problems:
        raise ConfigError(problems)
    for layer, values in folds:
        targets = (layer.running_mean, layer.running_var, layer.weight, layer.bias)
        for target, value in zip((each for each in targets if each is not None), values, strict=False):
            target.copy_(value)


def alignment_faults(student: nn.Module, teacher: nn.Module, pairs: Mapping[str, str]) -> tuple[str, ...]:
    """What ``align`` would refuse, one message each; neither network is changed."""
    try:
        align(copy.deepcopy(student), teacher, pairs)
    except ConfigError as error:
        return error.problems
    return ()


def _statistics(layer: _BatchNorm, whose: str) -> tuple[Tensor, Tensor]:
    if layer.running_mean is None or layer.running_var is None:
        raise ValueError(
            f"the {whose}'s layer keeps no running statistics, so that its output depends on the batch; set "
            "track_running_stats=True"
        )
    return layer.running_mean.double(), layer.running_var.double()


def _line(layer: _BatchNorm, whose: str) -> tuple[Tensor, Tensor]:
    """Factor and offset, [channels] each in float64, of what the layer computes in evaluation mode."""
    mean, variance = _statistics(layer, whose)
    factor = (variance + layer.eps).rsqrt()
    if layer.weight is not None:
        factor = factor * layer.weight.detach().double()
    offset = -factor * mean
    return factor, offset if layer.bias is None else offset + layer.bias.detach().double()


def _folded(student: _BatchNorm, teacher: _BatchNorm) -> tuple[Tensor, ...]:
    """The student's new μ and σ², and γ and β where it has them."""
    _statistics(student, "student")
    mean, variance = _statistics(teacher, "teacher")
    factor, offset = _line(teacher, "teacher")
    _check_channels(student, teacher)
    own = dict(student.named_parameters())
    if {"weight", "bias"} <= own.keys():
        variance = (variance + (teacher.eps - student.eps)).clamp_min(0.0)
        return mean, variance, factor * (variance + student.eps).sqrt(), offset + factor * mean
    # 1/√(σ² + ε)·(x − μ) alone: any slope between 0 and 1/√ε.
    gamma = torch.ones_like(factor) if teacher.weight is None else teacher.weight.double()
    variance = variance / gamma.square() + (teacher.eps / gamma.square() - student.eps)
    possible = (gamma > 0) & (variance >= 0) & variance.isfinite()
    if own or not possible.all():
        raise ValueError(
            "the student's layer has not both γ and β, and no statistics alone give the teacher's channel "
            f"{int((~possible).long().argmax())}; make it with affine=True and bias=True"
        )
    return -offset / factor, variance


def _check_channels(student: _BatchNorm, teacher: _BatchNorm) -> None:
    if student.num_features != teacher.num_features:
        raise ValueError(
            f"the student's layer has {student.num_features} channels and the teacher's {teacher.num_features}; take "
            "layers of equal width"
        )


def _pair(
    student: nn.Module, teacher: nn.Module, own: str, other: str
) -> tuple[tuple[_BatchNorm, _BatchNorm] | None, list[str]]:
    layers, problems = [], []
    for name, network, whose in ((own, student, "student"), (other, teacher, "teacher")):
        layer = dict(network.named_modules()).get(name)
        if isinstance(layer, _BatchNorm):
            layers.append(layer)
        else:
            problems.append(_no_such_layer(name, layer, network, whose))
    return (None if problems else (layers[0], layers[1])), problems


def _no_such_layer(name: str, layer: nn.Module | None, network: nn.Module, whose: str) -> str:
    known = list(_batch_norms(network))
    what = "no layer" if layer is None else f"a {type(layer).__name__}"
    remedy = f"name one of {', '.join(known)}" if known else f"set {KEY}={{}}, for the {whose} has none"
    return f"{KEY}: must name layers of batch normalisation, and {cut(name)!r} is {what} of the {whose}; {remedy}"


def _batch_norms(network: nn.Module) -> Iterator[str]:
    return (name for name, layer in network.named_modules() if isinstance(layer, _BatchNorm))
