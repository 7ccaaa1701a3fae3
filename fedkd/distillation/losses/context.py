"""The student's fixed context, drawn to what the teacher's attention sees on average."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from jaxtyping import Float
from pydantic import Field
from torch import Size, Tensor, finfo, nn

from fedkd.distillation.divergence import weighted_mean
from fedkd.distillation.loss import Answers, Batch, LayerLoss


@dataclass(kw_only=True)
class Context(LayerLoss):
    """‖c_S − c̄_T‖²/width + ``pattern`` · KL(ᾱ_T ‖ α_S), where c̄_T and ᾱ_T are means over the teacher's queries.

    ``layers`` are modules that put out contexts [samples, (queries,) width], hints as in FitNets (Romero et al. 2015,
    arXiv:1412.6550, Eq. 3), with a learned projection where widths differ; ``patterns`` put out weights of the steps
    [samples, (queries,) time] (Bahdanau et al. 2015, arXiv:1409.0473, Eq. 6). A pattern that is the same for all
    samples has the least divergence where it is the mean of ᾱ_T over them. The defaults are those of ``fixed_context``
    and ``attention``.
    """

    layers: dict[str, str] = field(default_factory=lambda: {"context": "context"})
    patterns: dict[str, str] = field(default_factory=lambda: {"weights": "weights"})
    pattern: Annotated[float, Field(ge=0, le=1e9)] = 1.0

    def pairs(self, student: nn.Module, teacher: nn.Module) -> Mapping[str, str]:
        return self.layers | self.patterns

    def projection(self, student: Size, teacher: Size) -> nn.Module | None:
        return None if student[-1] == teacher[-1] else nn.Linear(student[-1], teacher[-1])

    def value(self, student: Answers, teacher: Answers, batch: Batch) -> Float[Tensor, ""]:
        seen, shown = _averaged(student), _averaged(teacher)
        apart = [(seen[name] - shown[name]).square().mean(dim=1) for name in self.layers]
        apart += [self.pattern * _divergence(shown[name], seen[name]) for name in self.patterns]
        return weighted_mean(sum(apart, start=student.logits.new_zeros(len(student.logits))), batch.weight)


def _averaged(answers: Answers) -> dict[str, Tensor]:
    """Features, the mean over the queries where there are several."""
    return {name: each.mean(dim=1) if each.ndim == 3 else each for name, each in answers.features.items()}


def _divergence(
    teacher: Float[Tensor, "samples time"], student: Float[Tensor, "samples time"]
) -> Float[Tensor, " samples"]:
    """KL(teacher ‖ student), in which steps without weight, such as padding, count for nothing."""
    least = finfo(teacher.dtype).tiny
    return (teacher * (teacher.clamp_min(least).log() - student.clamp_min(least).log())).sum(dim=1)
