"""The picture of what models do not know."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fedkd.analysis.answers import NAMES
from fedkd.analysis.blends import WEIGHTS, Blends
from fedkd.analysis.subject import ALONE, STUDENT, TEACHER
from fedkd.analysis.uncertainty import Split
from fedkd.results.report.style import BLUE, GREEN, GREY, ORANGE, PURPLE, Axes, Figure, dress, new_figure, say, short

_COLOURS = {TEACHER: ORANGE, STUDENT: BLUE, ALONE: GREY}
_PARTS = {"aleatoric": GREEN, "epistemic": PURPLE}


@dataclass(frozen=True)
class Pictured:
    """What is drawn: entropies and shares by model, AUROCs by score."""

    entropies: Mapping[str, Float[Tensor, " samples"]]
    parts: Split | None
    detected: Mapping[str, float]
    strange: str
    blends: Blends | None
    shares: Mapping[str, Float[Tensor, " blends"]]


def draw(found: Pictured) -> Figure:
    """The student's entropy beside the ensemble's parts, detection by score, and shares of blends."""
    figure = new_figure(width=12.5, height=4.2)
    left, middle, right = figure.subplots(1, 3)
    _draw_parts(left, found)
    _draw_detection(middle, found)
    _draw_shares(right, found)
    return figure


def _draw_parts(axes: Axes, found: Pictured) -> None:
    dress(axes, "What the student inherits", "part of the ensemble's entropy (nats)", "the student's entropy (nats)")
    own = found.entropies.get(STUDENT)
    if found.parts is None or own is None:
        say(axes, "The ensemble's entropy has no known parts here.")
        return
    for name, colour in _PARTS.items():
        part: Tensor = getattr(found.parts, name)
        axes.scatter(part.tolist(), own.tolist(), s=7, alpha=0.4, color=colour, label=name, linewidths=0)
    axes.legend(frameon=False, fontsize=8, markerscale=2)


def _draw_detection(axes: Axes, found: Pictured) -> None:
    dress(axes, "Telling strange samples", f"AUROC, strange: {short(found.strange)}", "")
    colours = {f"{name.replace(' ', '_')}_entropy": colour for name, colour in _COLOURS.items()} | _PARTS
    scores = list(found.detected)
    values = [found.detected[score] for score in scores]
    axes.barh(range(len(scores)), values, color=[colours[score] for score in scores], height=0.6)
    axes.set_yticks(range(len(scores)), [score.replace("_", " ") for score in scores], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.axvline(0.5, color=GREY, linewidth=1, linestyle="--")
    axes.grid(visible=False)


def _draw_shares(axes: Axes, found: Pictured) -> None:
    dress(axes, "Blends of two classes", "true share of the first class", "share that the model gives it")
    if found.blends is None:
        say(axes, "No samples are blended here.")
        return
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    for name, shares in found.shares.items():
        means = dict(zip(WEIGHTS, found.blends.by_weight(shares), strict=True))
        known = {weight: mean for weight, mean in means.items() if mean is not None}
        axes.plot(list(known), list(known.values()), marker="o", markersize=4, color=_COLOURS[name], label=NAMES[name])
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.legend(loc="lower right", frameon=False, fontsize=8)
