"""How early in a network is the task linearly separable?"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Annotated

from pydantic import Field
from torch import nn

from fedkd.analysis.analysis import Analysis, Finding, NotKnown
from fedkd.analysis.answers import key
from fedkd.analysis.probing import NEARLY, Probe, area, probe_layers, separable_depth
from fedkd.analysis.subject import TEACHER, Subject
from fedkd.results.report.style import PALETTE, Figure, dress, new_figure


@dataclass(frozen=True)
class Probes(Analysis):
    """The accuracy of linear classifiers on the outputs of the layers (Alain & Bengio 2016, arXiv 1610.01644).

    Of the teacher, or of the client that weighs most, of the student, and of the network without a teacher. Fitted on
    up to ``samples`` of the labelled public samples, measured on up to ``tests`` of test. Of deep
    networks ``layers`` layers at equal distances are taken; outputs of more than ``width`` numbers are reduced to as
    many random sums, the same for all networks of an architecture.
    """

    samples: Annotated[int, Field(ge=2, le=100_000)] = 1000
    tests: Annotated[int, Field(ge=1, le=100_000)] = 2000
    layers: Annotated[int, Field(ge=1, le=1000)] = 12
    width: Annotated[int, Field(ge=1, le=16_384)] = 256

    def measure(self, subject: Subject) -> Finding:
        networks = probed(subject)
        train = subject.train.some(self.samples, subject.generator("probes: training"))
        test = subject.test.some(self.tests, subject.generator("probes: test"))
        if len(train.labels.unique()) < 2:
            raise NotKnown("the labelled public samples are of one class, and a probe tells classes apart")
        seed = subject.generator("probes").initial_seed()
        found = {
            name: probe_layers(
                network,
                (train.inputs, train.labels),
                (test.inputs, test.labels),
                layers=self.layers,
                width=self.width,
                seed=seed,
            )
            for name, network in networks.items()
        }
        figures = {
            key(name): {
                "layers": [asdict(each) for each in probes],
                "separable_depth": separable_depth(probes),
                "area": area(probes),
            }
            for name, probes in found.items()
        }
        return Finding(
            {"networks": figures, "train_samples": len(train.labels), "test_samples": len(test.labels)},
            tuple(_sentences(found, len(train.labels), len(test.labels))),
            lambda: _draw(found),
            "Each dot is a linear classifier on what a layer puts out; depth 0 are the samples themselves, 1 is the "
            "last layer. A curve that is high on the left separates the classes early. Rings: where "
            f"{NEARLY:.0%} of the last layer's accuracy is reached first.",
        )


def probed(subject: Subject) -> Mapping[str, nn.Module]:
    """The networks to probe by name; raises ``NotKnown`` where there are none."""
    networks = dict(subject.networks)
    if TEACHER not in networks:
        with suppress(NotKnown):
            networks |= _heaviest(subject)
    if not networks:
        raise NotKnown("neither a student nor the network of a client or a teacher is known, whose layers are probed")
    return networks


def _heaviest(subject: Subject) -> dict[str, nn.Module]:
    clients, weights = subject.clients, subject.client_weights or {}
    chosen = sorted(clients, key=lambda client: (-weights.get(client, 0.0), client))[:1]
    return {f"client {client}": clients[client] for client in chosen}


def _sentences(found: Mapping[str, tuple[Probe, ...]], train: int, test: int) -> list[str]:
    said = [
        f"{name[:1].upper()}{name[1:]}: {NEARLY:.0%} of the last layer's probe accuracy ({probes[-1].accuracy:.1%}) is "
        f"first reached at relative depth {separable_depth(probes):.2f}; mean over depth {area(probes):.1%}."
        for name, probes in found.items()
    ]
    error = 0.5 / test**0.5
    said.append(
        f"The lower the depth, the earlier the task is linearly separable. Probes are fitted on {train} training "
        f"samples and measured on {test} test samples: accuracies have a standard error of up to {error:.1%}."
    )
    return said


def _draw(found: Mapping[str, tuple[Probe, ...]]) -> Figure:
    figure = new_figure()
    axes = figure.add_subplot()
    dress(axes, "What a linear classifier makes of each layer", "relative depth", "accuracy of the probe on test (%)")
    for (name, probes), colour in zip(found.items(), PALETTE, strict=False):
        accuracies = [100 * each.accuracy for each in probes]
        axes.plot([each.depth for each in probes], accuracies, "o-", color=colour, label=name)
        first = next(each for each in probes if each.depth == separable_depth(probes))
        axes.plot(first.depth, 100 * first.accuracy, "o", color=colour, markersize=13, fillstyle="none")
    axes.set_xlim(-0.02, 1.02)
    figure.legend(loc="outside right center", frameon=False)
    return figure
