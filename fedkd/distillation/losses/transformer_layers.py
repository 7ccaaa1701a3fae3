"""Layer by layer, between two transformers of different depth and width."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Size, Tensor, nn

from fedkd.config.values import NonNegative
from fedkd.distillation.divergence import weighted_mean
from fedkd.distillation.loss import Answers, Batch, DistillationLoss


@dataclass(kw_only=True)
class TransformerLayers(DistillationLoss):
    """``hidden``·L_hidn + ``attention``·L_attn (Jiao et al. 2020, arXiv:1909.10351, Eqs. 7 and 8).

    Layer m of the student's M learns from layer m·N/M of the teacher's N, the paper's uniform strategy. L_hidn is the
    mean squared difference of what the layers put out, through a learned projection where widths differ; L_attn that of
    their attention, of networks with unequal numbers of heads the means over the heads. Attention is compared as
    probabilities, which for padding are 0; steps to which nobody attends count for nothing. Layers add up.

    The layers are the modules of the list ``blocks``, the same in both networks; inside each, the module
    ``attention_module`` puts out the attention [samples, heads, time, time]. The defaults are those of the model
    ``transformer``.
    """

    hidden: NonNegative = 1.0
    attention: NonNegative = 1.0
    blocks: str = "layers"
    attention_module: str = "attention"

    @property
    def needs_network(self) -> bool:
        return True

    def pairs(self, student: nn.Module, teacher: nn.Module) -> Mapping[str, str]:
        own, its = self._depth(student, "student"), self._depth(teacher, "teacher")
        if its % own:
            raise ValueError(
                f"the teacher's number of layers must be a multiple of the student's, got {its} "
                f"and {own}; change one, or name the pairs of layers with fitnets"
            )
        layers = [(f"{self.blocks}.{m}", f"{self.blocks}.{(m + 1) * its // own - 1}") for m in range(own)]
        attentions = [(f"{mine}.{self.attention_module}", f"{other}.{self.attention_module}") for mine, other in layers]
        return dict([*layers, *attentions])

    def _depth(self, model: nn.Module, who: str) -> int:
        found = dict(model.named_modules()).get(self.blocks)
        if not isinstance(found, nn.ModuleList | nn.Sequential) or len(found) == 0:
            names = [name for name, each in model.named_modules() if isinstance(each, nn.ModuleList | nn.Sequential)]
            raise ValueError(
                f"blocks must name a list of layers in the {who}, got {self.blocks!r}; "
                f"it has {', '.join(filter(None, names)) or 'none'}"
            )
        return len(found)

    def projection(self, student: Size, teacher: Size) -> nn.Module | None:
        if not (len(student) == len(teacher) in (3, 4) and student[-2] == teacher[-2]):
            raise ValueError(
                "both must be as many steps [samples, time, width], or their attention [samples, heads, time, time]; "
                f"got {tuple(student)} and {tuple(teacher)}"
            )
        steps_of_unequal_width = len(student) == 3 and student[2] != teacher[2]
        return nn.Linear(student[2], teacher[2], bias=False) if steps_of_unequal_width else None

    def value(self, student: Answers, teacher: Answers, batch: Batch) -> Float[Tensor, ""]:
        values = student.logits.new_zeros(len(student.logits))
        for name in filter(self._is_attention, student.features):
            layer = name.removesuffix(f".{self.attention_module}")
            # Nobody attends to padding.
            kept = (teacher.features[name] > 0).flatten(1, 2).any(dim=1).to(values.dtype)
            steps = kept.sum(dim=1)
            apart = (student.features[layer] - teacher.features[layer]).square().mean(dim=2)
            looked = _by_step(student.features[name], teacher.features[name]) / steps.unsqueeze(1)
            values = values + ((self.hidden * apart + self.attention * looked) * kept).sum(dim=1) / steps
        return weighted_mean(values, batch.weight)

    def _is_attention(self, name: str) -> bool:
        return name.endswith(f".{self.attention_module}")


def _by_step(
    own: Float[Tensor, "samples heads time time"], its: Float[Tensor, "samples others time time"]
) -> Float[Tensor, "samples time"]:
    """The squared differences of each step's attention to all others, added up; the mean over heads."""
    if own.shape[1] != its.shape[1]:
        own, its = own.mean(dim=1, keepdim=True), its.mean(dim=1, keepdim=True)
    return (own - its).square().sum(dim=3).mean(dim=1)
