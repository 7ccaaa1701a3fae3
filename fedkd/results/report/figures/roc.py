"""What attacks on membership find at small false-positive rates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from fedkd.privacy.ceiling import ceiling
from fedkd.results.report.run_log import Numbers
from fedkd.results.report.style import (
    GREY,
    PALETTE,
    Axes,
    Figure,
    drawing,
    dress,
    ink,
    legend,
    new_panels,
    save,
    say,
)

ROC_FIGURE = "audit_roc.png"
CAPTION = (
    "ROC of each attack by observation point, with the limits of its true-positive rate, and the ceiling e^ε·FPR + δ "
    "of the claim."
)


class Attacked(Protocol):
    """What is drawn of an attack."""

    @property
    def attack(self) -> str: ...
    @property
    def observation(self) -> str: ...
    @property
    def auc(self) -> float: ...
    @property
    def non_members(self) -> int: ...
    @property
    def covered(self) -> bool: ...
    @property
    def roc(self) -> Sequence[tuple[float, float, float, float]]: ...


class Audited(Protocol):
    """What is drawn of an audit, one that was just made or one read back."""

    @property
    def attacks(self) -> Sequence[Attacked]: ...
    @property
    def epsilon(self) -> float | None: ...
    @property
    def delta(self) -> float: ...


@dataclass(frozen=True)
class Curve:
    """``points`` are, by column, false-positive rates, true-positive rates, and the lower and upper limits of these."""

    label: str
    colour: str
    points: Numbers
    line: str = "-"


def save_roc(audit: Audited, path: Path) -> None:
    """Write ``draw_roc`` as a PNG."""
    with drawing():
        save(draw_roc(audit), path)


def draw_roc(audit: Audited) -> Figure:
    """One panel per observation point: ROC curves with the limits of their true-positive rates, the line of guessing,
    and, where the run's ε is about the observation, the ceiling e^ε·FPR + δ.
    """
    found = audit.attacks
    names = sorted({each.attack for each in found})
    colours = {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(names)}
    panels: dict[str, list[Curve]] = {}
    for each in found:
        label = f"{each.attack} (AUC {each.auc:.3f})"
        curve = Curve(label, colours[each.attack], np.array(each.roc, dtype=np.float64))
        panels.setdefault(each.observation, []).append(curve)
    covered = {each.observation for each in found if each.covered}
    least = 0.5 / max((each.non_members for each in found), default=1)
    claim = None if audit.epsilon is None else (audit.epsilon, audit.delta)
    return draw_curves(panels, least, claim, covered)


def draw_curves(
    panels: Mapping[str, Sequence[Curve]],
    least: float,
    claim: tuple[float, float] | None = None,
    covered: frozenset[str] | set[str] = frozenset(),
) -> Figure:
    """A log-log panel per observation point, from the rate ``least`` on; of the ``claim`` (ε, δ) over those it covers.

    What has no false positive at all is drawn at ``least``.
    """
    count = max(1, len(panels))
    figure, all_axes = new_panels(count, max(4.5, 4.2 * count), 4.5)
    if not panels:
        say(all_axes[0], "No attack on membership was run.")
    rates = np.geomspace(least, 1.0, 200)
    for axes, (observation, curves) in zip(all_axes, panels.items(), strict=False):
        axes.plot(rates, rates, color=GREY, linewidth=1, linestyle=":", label="guessing")
        for curve in curves:
            _draw(axes, curve, least)
        if claim is not None and observation in covered:
            epsilon, delta = claim
            bars = [ceiling(float(rate), epsilon=epsilon, delta=delta) for rate in rates]
            axes.plot(rates, bars, color=ink(), linewidth=1.5, linestyle="--", label=f"ceiling, ε = {epsilon:.3g}")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(least, 1)
        axes.set_ylim(least, 1)
        dress(axes, observation, "false-positive rate", "true-positive rate" if axes is all_axes[0] else "")
    if panels:
        legend(figure)
    return figure


def _draw(axes: Axes, curve: Curve, least: float) -> None:
    rates, hits, low, high = np.maximum(curve.points.T, least)
    axes.step(rates, hits, curve.line, where="post", color=curve.colour, linewidth=1.4, label=curve.label)
    axes.fill_between(rates, low, high, step="post", color=curve.colour, alpha=0.12, linewidth=0)
