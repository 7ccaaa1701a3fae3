"""How curved are the losses, and what does the temperature do to that?"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int, Shaped
from pydantic import Field
from torch import Tensor, nn

from fedkd.analysis.analysis import Analysis, Finding, NotKnown
from fedkd.analysis.curvature import top_eigenvalue, top_logit_curvature
from fedkd.analysis.subject import STUDENT, Subject
from fedkd.core.compute import laid_out_for
from fedkd.distillation.divergence import classification_loss, distillation_loss
from fedkd.models import predict
from fedkd.results.report.style import BLUE, GREY, ORANGE, Figure, dress, new_figure

_Loss = Callable[[Tensor, Tensor], Tensor]
"""From logits, and the positions of their samples, to the mean loss."""
_PLACES = {"logits": "at the logits", "parameters": "in the parameters"}
_CHUNK = 64


@dataclass(frozen=True)
class Curvature(Analysis):
    """The largest eigenvalue of the Hessian of the distillation loss, against the temperature T.

    At the student's logits exactly, the mean over up to ``logits`` test samples; in the student's parameters by Lanczos
    on up to ``samples`` public samples with the run's own teacher. Both for the bare KL and for T²·KL, the default
    loss. Beside them the cross-entropy on as many labelled public samples, where there are some.
    """

    temperatures: Annotated[tuple[Annotated[float, Field(gt=0, le=1e6)], ...], Field(min_length=1, max_length=100)] = (
        1.0,
        2.0,
        3.0,
        5.0,
        8.0,
    )
    logits: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    samples: Annotated[int, Field(ge=1, le=100_000)] = 128

    def measure(self, subject: Subject) -> Finding:
        student = subject.network(STUDENT)
        heard = subject.taught_on
        order = torch.randperm(len(heard), generator=subject.generator("curvature: batch"))
        batch = heard[order[: self.samples]]
        target = subject.teacher(batch)
        tests = subject.test.some(self.logits, subject.generator("curvature: logits"))
        logits = predict(student, tests.inputs)
        at_logits = [top_logit_curvature(logits, each).mean().item() for each in self.temperatures]

        # A copy, for the subject's network may be frozen.
        network = copy.deepcopy(student).requires_grad_()

        def in_parameters(inputs: Tensor, loss: _Loss) -> float:
            parts = _parts(network, inputs, loss)
            return top_eigenvalue(parts, network.parameters(), subject.generator("curvature"))

        def of_labels() -> float | None:
            try:
                known = subject.train.some(self.samples, subject.generator("curvature: labels"))
            except NotKnown:
                return None
            return in_parameters(known.inputs, lambda logits, chosen: classification_loss(logits, known.labels[chosen]))

        curves = _Curves(
            self.temperatures,
            {
                "logits": at_logits,
                "parameters": [in_parameters(batch, _distillation(target, each)) for each in self.temperatures],
            },
            of_labels(),
        )
        return Finding(
            {**curves.figures(), "temperature": subject.temperature, "public_samples": len(batch)},
            tuple(curves.sentences()),
            lambda: _draw(curves, subject.temperature),
            "The largest eigenvalue of the Hessian: how sharply the loss curves in its steepest direction. The bare KL "
            "is T² times flatter than T²·KL, the loss that the default learning rates are for. Dotted: the "
            "temperature of the run.",
        )


@dataclass(frozen=True)
class _Curves:
    """Largest eigenvalues of T²·KL by place and temperature; that of the cross-entropy (None: no labels)."""

    temperatures: Sequence[float]
    scaled: Mapping[str, Sequence[float]]
    cross_entropy: float | None

    def bare(self, place: str) -> list[float]:
        """Those of the KL without its factor T²."""
        return [value / each**2 for value, each in zip(self.scaled[place], self.temperatures, strict=True)]

    def figures(self) -> dict[str, Any]:
        places = {place: {"bare": self.bare(place), "scaled": list(self.scaled[place])} for place in self.scaled}
        return {"temperatures": list(self.temperatures), **places, "cross_entropy": self.cross_entropy}

    def sentences(self) -> Iterator[str]:
        first, last = self.temperatures[0], self.temperatures[-1]
        for place, name in _PLACES.items():
            bare, scaled = self.bare(place), self.scaled[place]
            yield (
                f"From T = {first:g} to {last:g} the largest eigenvalue {name} goes from {bare[0]:.3g} to "
                f"{bare[-1]:.3g} for the bare KL, and from {scaled[0]:.3g} to {scaled[-1]:.3g} for T²·KL."
            )
        if self.cross_entropy is not None:
            yield f"That of the cross-entropy with the labels is {self.cross_entropy:.3g} in the parameters."
        yield (
            "The smaller, the smoother the loss, and the larger the steps it bears; the factor 1/T² alone does what a "
            "smaller learning rate does. A network that is sure of itself curves little at T = 1, and more where T "
            "undoes that."
        )


def _distillation(target: Float[Tensor, "samples classes"], temperature: float) -> _Loss:
    return lambda logits, chosen: distillation_loss(logits, target[chosen], temperature)


def _parts(network: nn.Module, inputs: Shaped[Tensor, "samples ..."], loss: _Loss) -> list[Callable[[], Tensor]]:
    """The mean loss as a sum, chunk by chunk."""

    def part(chosen: Int[Tensor, " chunk"]) -> Tensor:
        logits = network(laid_out_for(network, inputs[chosen]))
        return loss(logits, chosen) * (len(chosen) / len(inputs))

    return [partial(part, chosen) for chosen in torch.arange(len(inputs)).split(_CHUNK)]


def _draw(curves: _Curves, temperature: float) -> Figure:
    figure = new_figure(width=10.0, height=4.2)
    for axes, (place, name) in zip(figure.subplots(1, 2), _PLACES.items(), strict=True):
        dress(axes, f"Largest eigenvalue {name}", "temperature T", "eigenvalue (log scale)")
        axes.plot(curves.temperatures, curves.scaled[place], "o-", color=BLUE, label="T²·KL")
        axes.plot(curves.temperatures, curves.bare(place), "s-", color=ORANGE, label="bare KL")
        if place == "parameters" and curves.cross_entropy is not None:
            axes.axhline(curves.cross_entropy, color=GREY, linestyle="--", label="cross-entropy with labels")
        axes.axvline(temperature, color=GREY, linestyle=":", linewidth=1)
        axes.set_yscale("log")
    figure.legend(*figure.axes[1].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure
