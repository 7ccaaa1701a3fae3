"""Is the student's error within its teacher's error and a generalisation term, and where is that bound loose?"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fedkd.analysis.analysis import Analysis, Finding
from fedkd.analysis.answers import key
from fedkd.analysis.risk import RiskBound, bound
from fedkd.analysis.subject import ALONE, STUDENT, Subject
from fedkd.models import predict
from fedkd.results.report.style import BLUE, GREEN, GREY, ORANGE, SKY, Figure, dress, new_figure

_PARTS = (
    ("teacher_error", "the teacher's error", ORANGE),
    ("disagreement_train", "disagreement on samples learned from", SKY),
)


@dataclass(frozen=True)
class Risk(Analysis):
    """R(h) ≤ ε_T + disagreement on training samples + its generalisation gap, measured (``fedkd.analysis.risk``).

    Of the student, and of the network without a teacher, which disagrees with a teacher that it never saw. Training
    samples are the public ones on which the student heard its teacher, at most ``samples`` of them.
    """

    samples: Annotated[int, Field(ge=1)] = 4000

    def measure(self, subject: Subject) -> Finding:
        networks = {STUDENT: subject.network(STUDENT)}
        networks |= {ALONE: subject.networks[ALONE]} if ALONE in subject.networks else {}
        test, heard = subject.test, subject.taught_on
        if len(heard) > self.samples:
            heard = heard[torch.randperm(len(heard), generator=subject.generator("risk"))[: self.samples]]
        taught = [_named(subject.teacher(inputs)) for inputs in (test.inputs, heard)]
        bounds = {}
        for name, network in networks.items():
            named = [_named(predict(network, inputs)) for inputs in (test.inputs, heard)]
            bounds[name] = bound(named[0], taught[0], test.labels, named[1], taught[1])
        figures = {key(name): _figures(found) for name, found in bounds.items()}
        return Finding(
            {**figures, "test_samples": len(test.labels), "train_samples": len(heard)},
            tuple(_sentences(bounds)),
            lambda: _draw(bounds),
            "A bar is the bound, piece by piece: the teacher's error, how often the network disagrees with the teacher "
            "on the samples that it learned from, and by how much more on others. The dot is the error: what lies "
            "between it and the end of the bar is how loose the bound is.",
        )


def _named(scores: Tensor) -> Tensor:
    return scores.argmax(dim=-1)


def _figures(found: RiskBound) -> dict[str, float]:
    return {**asdict(found), "gap": found.gap, "bound": found.bound, "slack": found.slack}


def _sentences(bounds: Mapping[str, RiskBound]) -> list[str]:
    student = bounds[STUDENT]
    said = [
        f"The student errs on {student.error:.1%} of test samples; the bound is {student.bound:.1%}: the teacher's "
        f"error of {student.teacher_error:.1%}, {student.disagreement_train:.1%} disagreement on the samples it "
        f"learned from, and a generalisation gap of {student.gap:+.1%}{_vacuous(student)}.",
        f"The bound always holds, and is loose by {student.slack:.1%}: on {student.right_alone:.1%} of test samples "
        "the student is right where its teacher is wrong, which the bound counts as two mistakes, and on "
        f"{student.both_wrong:.1%} each makes a mistake of its own.",
    ]
    if (alone := bounds.get(ALONE)) is not None:
        said.append(
            f"Without a teacher the same network errs on {alone.error:.1%}, within {alone.bound:.1%}; it disagrees "
            f"with the teacher on {alone.disagreement_test:.1%} of test samples, the student on "
            f"{student.disagreement_test:.1%}."
        )
    return said


def _vacuous(found: RiskBound) -> str:
    return "; a bound above 100% says nothing" if found.bound > 1 else ""


def _draw(bounds: Mapping[str, RiskBound]) -> Figure:
    figure = new_figure(height=1.8 + 0.7 * len(bounds))
    axes = figure.add_subplot()
    dress(axes, "The error on test samples, and its bound", "share of samples (%)", "")
    axes.grid(visible=False)
    places = np.arange(len(bounds))[::-1]
    ends = np.zeros(len(bounds))
    for part, label, colour in _PARTS:
        lengths = np.array([100 * getattr(each, part) for each in bounds.values()])
        axes.barh(places, lengths, 0.5, left=ends, color=colour, label=label)
        ends += lengths
    gaps = np.array([100 * each.gap for each in bounds.values()])
    # A negative gap takes away from the end.
    axes.barh(places, gaps, 0.22, left=ends, color=GREY, label="generalisation gap of the disagreement")
    axes.plot([100 * each.error for each in bounds.values()], places, "o", color=BLUE, markersize=9, label="error")
    axes.vlines(ends + gaps, places - 0.3, places + 0.3, color=GREEN, linewidth=2.5, label="bound")
    axes.set_yticks(places, list(bounds))
    axes.set_xlim(left=0)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure
