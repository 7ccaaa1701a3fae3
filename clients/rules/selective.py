"""Clients that answer only where they know their way."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from fedkd import ClientContext, ClientRule, Upload
from fedkd.client.density import Components, DensityRatio, typical_distance
from fedkd.core import plugins
from fedkd.core.array_specs import ArraySpec
from fedkd.core.errors import first_of
from fedkd.experiment import Experiment

QUERIES, MASK = "selective/queries", "selective/mask"


@dataclass(frozen=True)
class Selective(ClientRule):
    """Another rule's answers, withheld where the client's own samples are not dense enough.

    The client-side selector of Selective-FD (Shao, Wu and Zhang 2024, Nature Communications 15, arXiv 2304.01731): a
    client estimates how much denser its own samples lie at a query than reference samples do, and votes where the ratio
    exceeds the ``quantile`` of what it is on samples of its own that the estimate has not seen. There is an estimate
    for each class that the client holds (or, with ``per_class`` false, one for all), and one of them has to exceed its
    quantile.

    ``reference`` uniform is the published choice, noise between the least and the greatest pixel. With public, the
    unlabelled public samples, the ratio is P(class | x)/P(class) instead of a density, and tells similar classes apart
    far better. Inputs are reduced to ``components`` principal components of the public inputs (null: all pixels).
    ``width`` is the kernel's, in typical distances between public inputs; ``ridge`` is λ; at most ``samples`` own and
    as many reference samples are used. The published demonstration has 250 uniform samples, λ = 1/√250 and, on pixels
    of MNIST, σ = 5.

    ``base`` is the rule whose answers are withheld, ``base_options`` its options. What is withheld tells the server
    where the client's data are not.
    """

    base: str = "own_model"
    base_options: dict[str, Any] = field(default_factory=dict)
    quantile: Annotated[float, Field(ge=0, lt=1)] = 0.25
    reference: Literal["public", "uniform"] = "public"
    per_class: bool = True
    components: Annotated[int, Field(ge=1)] | None = 50
    width: Annotated[float, Field(gt=0)] = 0.4
    ridge: Annotated[float, Field(gt=0)] = 1e-3
    samples: Annotated[int, Field(ge=1, le=20_000)] = 2000

    remembers: ClassVar[bool] = True
    abstains: ClassVar[bool] = True
    measures_distances: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if problems := plugins.check(plugins.CLIENT_RULE, self.base, self.base_options):
            raise ValueError("base: " + "; ".join(first_of(problems)))
        if self._rule.sends != "logits":
            raise ValueError(f"base: must be a rule that sends logits, got {self.base!r}; name another")

    @cached_property
    def _rule(self) -> ClientRule:
        rule: ClientRule = plugins.build(plugins.CLIENT_RULE, self.base, self.base_options)
        return rule

    @property
    def receives(self) -> frozenset[str]:
        return self._rule.receives

    def arrays(self, experiment: Experiment, client: int, examples: int) -> Mapping[str, ArraySpec]:
        return self._rule.arrays(experiment, client, examples)

    def respond(self, context: ClientContext) -> Upload:
        upload = self._rule.respond(context)
        mask = self._mask(context)
        return replace(upload, mask=mask if upload.mask is None else mask & upload.mask)

    def respond_again(self, context: ClientContext, upload: Upload) -> Upload:
        again = self._rule.respond_again(context, upload)
        mask = self._select(context)
        return replace(again, mask=mask if again.mask is None else mask & again.mask)

    def _mask(self, context: ClientContext) -> Bool[Tensor, " queries"]:
        """Where the client votes; remembered for as long as the queries stay the same."""
        digest = hashlib.sha256(context.queries.cpu().contiguous().numpy().data).digest()
        asked = torch.tensor(list(digest), dtype=torch.uint8)
        if QUERIES not in context.memory or not torch.equal(context.memory[QUERIES], asked):
            context.memory |= {QUERIES: asked, MASK: self._select(context)}
        return context.memory[MASK]

    def _select(self, context: ClientContext) -> Bool[Tensor, " queries"]:
        # The selector is the same in every round, so its draws must not depend on the round.
        generator = replace(context, round=0).generator("density ratio")
        public = context.experiment.data.public.inputs.flatten(1)
        project = _projection(public, self.components)
        known = project(public)
        own = project(context.inputs.cpu().flatten(1))
        labels = context.labels if self.per_class else torch.zeros_like(context.labels)
        fitted, held_out = _divide(labels, self.samples, generator)
        if len(fitted) == 0:
            return torch.ones(len(context.queries), dtype=torch.bool)
        groups, members = labels[fitted].unique(return_inverse=True)
        ratio = DensityRatio.fit(
            own[fitted],
            project(self._uniform(public, generator)) if self.reference == "uniform" else self._draw(known, generator),
            width=self.width * typical_distance(known),
            ridge=self.ridge,
            groups=members,
        )
        at_home, at_queries = ratio(own[held_out]), ratio(project(context.queries.cpu().flatten(1)))
        mask = torch.zeros(len(context.queries), dtype=torch.bool)
        for index, label in enumerate(groups.tolist()):
            mask |= at_queries[:, index] > at_home[labels[held_out] == label, index].quantile(self.quantile)
        return mask

    def _draw(self, known: Tensor, generator: torch.Generator) -> Tensor:
        return known[torch.randperm(len(known), generator=generator)[: self.samples]]

    def _uniform(self, public: Tensor, generator: torch.Generator) -> Tensor:
        low, high = float(public.min()), float(public.max())
        return low + (high - low) * torch.rand(self.samples, public.shape[1], generator=generator)


def _projection(public: Float[Tensor, "samples pixels"], components: int | None) -> Callable[[Tensor], Tensor]:
    if components is None:
        return Tensor.double
    return Components.fit(public, min(components, public.shape[1]))


def _divide(labels: Tensor, most: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Positions to fit on, at most ``most``, and positions held out: a fifth of each class, which needs two samples."""
    order = torch.randperm(len(labels), generator=generator)
    parts = [order[labels[order] == label] for label in labels.unique()]
    parts = [part for part in parts if len(part) > 1]
    if not parts:
        return order[:0], order[:0]
    share = min(1.0, most / sum(map(len, parts)))
    cuts = [max(1, len(part) // 5) for part in parts]
    fitted = [part[cut : cut + max(1, int(share * len(part)))] for part, cut in zip(parts, cuts, strict=True)]
    return torch.cat(fitted), torch.cat([part[:cut] for part, cut in zip(parts, cuts, strict=True)])
