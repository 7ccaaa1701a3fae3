"""Does the student look at the same parts of a sample as its teacher?"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fedkd.analysis.analysis import Analysis, Finding, NotKnown
from fedkd.analysis.answers import key
from fedkd.analysis.attribution import MeanOpinion, cosines, input_gradients, integrated_gradients
from fedkd.analysis.subject import ALONE, STUDENT, TEACHER, Subject
from fedkd.results.report.style import BLUE, ORANGE, Figure, dress, new_figure

_METHODS = {"gradient": "input gradient", "integrated": "integrated gradients"}
_COLOURS = {STUDENT: BLUE, ALONE: ORANGE}


@dataclass(frozen=True)
class Saliency(Analysis):
    """The cosine, sample by sample, of attributions of the class that the teacher names, as ``attribution`` has them.

    Student against teacher, and the network without a teacher against the same. For an ensemble stands the weighted
    mean of the clients' log-probabilities, of up to ``clients`` clients that weigh most. Gradients are of ``samples``
    test samples, integrated gradients of ``integrated`` of them, in ``steps`` steps each.
    """

    samples: Annotated[int, Field(ge=1, le=100_000)] = 256
    integrated: Annotated[int, Field(ge=1, le=100_000)] = 64
    steps: Annotated[int, Field(ge=1, le=1000)] = 16
    clients: Annotated[int, Field(ge=1, le=10_000)] = 20

    def measure(self, subject: Subject) -> Finding:
        if not subject.test.inputs.is_floating_point():
            raise NotKnown("the samples are tokens, by which nothing can be differentiated")
        networks = {STUDENT: subject.network(STUDENT)}
        networks |= {ALONE: subject.networks[ALONE]} if ALONE in subject.networks else {}
        teacher, stands_for = self._reference(subject)
        inputs = subject.test.some(self.samples, subject.generator("saliency")).inputs
        classes = subject.teacher(inputs).argmax(dim=-1)
        count = min(self.integrated, len(inputs))
        methods: Mapping[str, Callable[[nn.Module], Tensor]] = {
            "gradient": lambda model: input_gradients(model, inputs, classes),
            "integrated": lambda model: integrated_gradients(model, inputs[:count], classes[:count], steps=self.steps),
        }
        found: dict[str, dict[str, Tensor]] = {}
        missing: list[str] = []
        for method, attribute in methods.items():
            try:
                reference = attribute(teacher)
            except NotKnown as reason:
                missing.append(f"Of {_METHODS[method]} nothing is said: {reason}.")
                continue
            found[method] = {name: cosines(attribute(network), reference) for name, network in networks.items()}
        figures = {
            method: {key(name): _summary(values) for name, values in named.items()} for method, named in found.items()
        }
        return Finding(
            {**figures, "teacher": stands_for},
            (*_sentences(found, stands_for), *missing),
            lambda: _draw(found),
            "How alike the attributions of network and teacher are, sample by sample: 1 if both look at the same parts "
            "of a sample with the same sign, 0 if they have nothing in common. The further right, the more alike.",
        )

    def _reference(self, subject: Subject) -> tuple[nn.Module, str]:
        if TEACHER in subject.networks:
            return subject.networks[TEACHER], "the teacher network"
        if not subject.clients:
            raise NotKnown("no network of a teacher or a client is known, whose gradients could be compared")
        clients, weights = subject.clients, subject.client_weights
        by_weight = sorted(clients, key=lambda client: (-(weights or {}).get(client, 0.0), client))
        chosen = sorted(by_weight[: self.clients])
        opinion = MeanOpinion({client: clients[client] for client in chosen}, weights).eval()
        return opinion, f"the weighted mean log-probability of {len(chosen)} clients, which stands for the ensemble"


def _summary(values: Float[Tensor, " samples"]) -> dict[str, float | int | None]:
    """Mean, its standard error and quartiles of the samples whose cosine is known."""
    known = values[~values.isnan()]
    if len(known) == 0:
        return {"samples": 0, "mean": None, "standard_error": None, "lower_quartile": None, "upper_quartile": None}
    low, high = torch.quantile(known, torch.tensor([0.25, 0.75], dtype=known.dtype)).tolist()
    error = known.std().item() / math.sqrt(len(known)) if len(known) > 1 else None
    return {
        "samples": len(known),
        "mean": known.mean().item(),
        "standard_error": error,
        "lower_quartile": low,
        "upper_quartile": high,
    }


def _sentences(found: Mapping[str, Mapping[str, Tensor]], stands_for: str) -> list[str]:
    said = [f"Attributions are of the class that the teacher names; compared with {stands_for}."]
    for method, named in found.items():
        parts = []
        for name, values in named.items():
            if (known := _summary(values))["samples"]:
                parts.append(f"{known['mean']:.2f} of the {name if name == STUDENT else 'network without a teacher'}")
        if not parts:
            said.append(f"No cosine of {_METHODS[method]} is known: they are 0 for every sample.")
            continue
        said.append(
            f"Mean cosine with the teacher's {_METHODS[method]}: {', '.join(parts)} "
            "(1: the same parts of a sample count, 0: nothing in common)."
        )
    return said


def _draw(found: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    figure = new_figure(width=10.0, height=4.0)
    edges = torch.linspace(-1, 1, 41).tolist()
    for axes, (method, named) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
        dress(axes, _METHODS[method].capitalize(), "cosine with the teacher's", "share of samples (%)")
        for name, values in named.items():
            known = values[~values.isnan()]
            if len(known) == 0:
                continue
            weights = torch.full_like(known, 100 / len(known)).tolist()
            axes.hist(known.tolist(), edges, weights=weights, color=_COLOURS[name], alpha=0.5, label=name)
            axes.axvline(known.mean().item(), color=_COLOURS[name], linewidth=2)
        axes.set_xlim(-1, 1)
        axes.set_xticks([-1.0, -0.5, 0.0, 0.5, 1.0])
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure
