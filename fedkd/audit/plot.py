"""The figure of an audit: what attacks find at small false-positive rates, under the ceiling of the claim."""

from pathlib import Path

import numpy as np

from fedkd.audit.metrics import ceiling
from fedkd.audit.report import AttackResult, AuditReport
from fedkd.results.report.style import GREY, PALETTE, Axes, Figure, drawing, dress, new_figure, save, say

ROC_FIGURE = "audit_roc.png"


def save_roc(report: AuditReport, path: Path) -> None:
    """Write ``draw_roc`` as a PNG."""
    with drawing():
        save(draw_roc(report), path)


def draw_roc(report: AuditReport) -> Figure:
    """One log-log panel per observation point: ROC curves with the limits of their true-positive rates, the line of
    guessing, and, where the run's ε is about the observation, the ceiling e^ε·FPR + δ.
    """
    observations = list(dict.fromkeys(each.observation for each in report.attacks))
    names = sorted({each.attack for each in report.attacks})
    colours = {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(names)}
    figure = new_figure(width=max(4.5, 4.2 * len(observations)), height=4.5)
    if not observations:
        say(figure.subplots(), "no attack on membership was run")
    for index, observation in enumerate(observations):
        axes = figure.add_subplot(1, len(observations), index + 1)
        found = [each for each in report.attacks if each.observation == observation]
        least = 0.5 / max(each.non_members for each in found)
        rates = np.geomspace(least, 1.0, 200)
        axes.plot(rates, rates, color=GREY, linewidth=1, linestyle=":", label="guessing")
        for each in found:
            _draw(axes, each, colours[each.attack], least)
        if report.epsilon is not None and any(each.covered for each in found):
            bars = [ceiling(float(rate), epsilon=report.epsilon, delta=report.delta) for rate in rates]
            axes.plot(
                rates, bars, color="black", linewidth=1.5, linestyle="--", label=f"ceiling, ε = {report.epsilon:.3g}"
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(least, 1)
        axes.set_ylim(least, 1)
        dress(axes, observation, "false-positive rate", "true-positive rate" if index == 0 else "")
        axes.legend(fontsize=7, frameon=False, loc="lower right")
    return figure


def _draw(axes: Axes, result: AttackResult, colour: str, least: float) -> None:
    """One curve; what has no false positive at all is drawn at half of one."""
    rates, hits, low, high = (np.maximum(values, least) for values in zip(*result.roc, strict=True))
    axes.step(rates, hits, where="post", color=colour, linewidth=1.4, label=f"{result.attack} (AUC {result.auc:.3f})")
    axes.fill_between(rates, low, high, step="post", color=colour, alpha=0.12, linewidth=0)
