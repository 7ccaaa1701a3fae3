"""Whether the student sees the samples as its teacher does, and relates the classes as it does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field
from torch import nn

from fedkd.analysis.analyses._representations_figure import draw
from fedkd.analysis.analysis import Analysis, Finding
from fedkd.analysis.answers import NAMES, answers, called, key, rounded
from fedkd.analysis.dark_knowledge import Relations, agreement, relations, strongest
from fedkd.analysis.representations import Gram, layer_grams, similarities
from fedkd.analysis.subject import ALONE, STUDENT, TEACHER, Samples, Subject

Figures = dict[str, Any]
_SHOWN = 3
"""Relations that are named in a sentence."""


@dataclass(frozen=True)
class Representations(Analysis):
    """How alike networks see the samples, layer by layer (linear CKA), and the classes that they think of besides.

    Classes on ``samples`` test samples, layers (Kornblith et al. 2019, arXiv 1905.00414) on ``layer_samples``, up to
    ``layers`` of each network. The student is compared with the teacher where that is one network, else with itself
    without a teacher and with a client of its architecture.
    """

    samples: Annotated[int, Field(ge=1)] = 2000
    layer_samples: Annotated[int, Field(ge=2, le=5000)] = 512
    layers: Annotated[int, Field(ge=1, le=100)] = 12

    def measure(self, subject: Subject) -> Finding:
        draws = subject.generator("representations")
        test, seen = subject.test.some(self.samples, draws), subject.test.some(self.layer_samples, draws)
        asked = answers(subject, test.inputs)
        found = {name: relations(said, test.labels, subject.temperature) for name, said in asked.of.items()}
        pairs = self._pairs(subject, seen)
        figures: Figures = {
            "samples": len(test.labels),
            "layer_samples": len(seen.labels),
            "layers": pairs,
            "temperature": subject.temperature,
            "classes": list(subject.experiment.data.class_names),
            "relations": {key(name): _rows(each) for name, each in found.items()},
            "agreement": {
                key(name): agreement(found[TEACHER], each)
                for name, each in found.items()
                if TEACHER in found and name != TEACHER
            },
        }
        sentences = (*_of_layers(pairs), *_of_classes(figures, found), *asked.missing)
        return Finding(figures, sentences, lambda: draw(figures), _CAPTION)

    def _pairs(self, subject: Subject, seen: Samples) -> list[Figures]:
        """What there is to compare, with the similarities of all layers."""
        networks = _networks(subject)
        grams = {name: layer_grams(network, seen.inputs, self.layers) for name, network in networks.items()}
        return [_compared(one, other, grams) for one, other in _partners(networks)]


_CAPTION = (
    "Above: linear CKA of the layers of two networks, from the samples' side upwards and to the right; 1 is the same "
    "but for rotation and scale. Below: for samples of the class in a row, how what a model gives to other classes is "
    "divided among them; rows alike are dark knowledge that was passed on."
)


def _networks(subject: Subject) -> dict[str, nn.Module]:
    """The networks whose layers are looked at, by name."""
    found = {name: subject.networks[name] for name in (STUDENT, ALONE, TEACHER) if name in subject.networks}
    if TEACHER in found or STUDENT not in found:
        return found
    shapes = _shapes(found[STUDENT])
    alike = [client for client, network in sorted(subject.clients.items()) if _shapes(network) == shapes]
    return {**found, **{f"client {client}": subject.clients[client] for client in alike[:1]}}


def _shapes(network: nn.Module) -> list[tuple[str, Sequence[int]]]:
    return [(name, tuple(each.shape)) for name, each in network.state_dict().items()]


def _partners(networks: Mapping[str, nn.Module]) -> list[tuple[str, str]]:
    """Who is compared with whom: students with what taught them, and with each other where nobody else is there."""
    taught = [name for name in (STUDENT, ALONE) if name in networks]
    teachers = [name for name in networks if name not in taught]
    pairs = [(name, teacher) for teacher in teachers for name in taught]
    return pairs + ([(STUDENT, ALONE)] if len(taught) == 2 and TEACHER not in networks else [])


def _compared(one: str, other: str, grams: Mapping[str, Mapping[str, Gram]]) -> Figures:
    table = similarities(grams[one], grams[other])
    best = [max(known) for row in table if (known := [value for value in row if value is not None])]
    return {
        "first": key(one),
        "second": key(other),
        "first_layers": list(grams[one]),
        "second_layers": list(grams[other]),
        "cka": table,
        "mean_best": sum(best) / len(best) if best else None,
        "last": table[-1][-1] if table and table[-1] else None,
    }


def _rows(found: Relations) -> list[list[float] | None]:
    """The relations as JSON; None for a class without samples."""
    return [None if any(value != value for value in row) else row for row in found.tolist()]


def _of_layers(pairs: Sequence[Figures]) -> list[str]:
    if not pairs:
        return ["No layers are compared: there are no two networks to compare."]
    found = [
        f"What a layer of {called(each['first'])} makes of the samples is found again in the likest layer of "
        f"{called(each['second'])} with a CKA of {rounded(each['mean_best'])} on average, in the two last layers with "
        f"{rounded(each['last'])} (1 is the same but for rotation and scale, 0 is nothing in common)."
        for each in pairs
    ]
    by_pair = {(each["first"], each["second"]): each["mean_best"] for each in pairs}
    for teacher in dict.fromkeys(each["second"] for each in pairs):
        taught, alone = by_pair.get((STUDENT, teacher)), by_pair.get((key(ALONE), teacher))
        if taught is not None and alone is not None:
            found.append(
                f"Taught, the student is {'nearer to' if taught >= alone else 'farther from'} {called(teacher)} than "
                f"the same network that saw labels alone ({taught:.2f} against {alone:.2f})."
            )
    return found


def _of_classes(figures: Figures, found: Mapping[str, Relations]) -> list[str]:
    names = figures["classes"]
    if len(names) < 3:
        return ["With two classes there are no others to relate."]
    whose = TEACHER if TEACHER in found else next(iter(found))
    thoughts = ", ".join(
        f"{names[column]} for {names[row]} ({100 * share:.0f}%)"
        for row, column, share in strongest(found[whose], _SHOWN)
    )
    sentences = [
        f"Besides the true class {NAMES[whose]} thinks most of {thoughts}: the share of what it gives to other "
        f"classes, at temperature {figures['temperature']:g}."
    ]
    if agreements := figures["agreement"]:
        shown = ", ".join(f"{called(name)} {rounded(value)}" for name, value in agreements.items())
        sentences.append(
            "Such relations between classes are ranked as the teacher ranks them, with a correlation (1 is the same "
            f"order, 0 is none) by: {shown}."
        )
    return sentences
