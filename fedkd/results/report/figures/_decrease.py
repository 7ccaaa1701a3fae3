"""q(λ), what each choice of λ would have gained, at chosen steps."""

import numpy as np

from fedkd.results.report.figures._geometry import geometry_at, where_measured
from fedkd.results.report.figures._rounds import LAMBDA
from fedkd.results.report.run_log import RunLog, StepLog
from fedkd.results.report.style import GREY, Axes, Figure, colormaps, dress, legend, new_panels, say

_SHARES = {0.0: "start", 0.25: "quarter", 0.5: "half", 0.75: "three quarters", 1.0: "end"}
_WEIGHTS = [index / 400 for index in range(401)]


def draw_decrease_curves(log: RunLog) -> Figure:
    """q(λ) in the first and in the last round, with the λ that was used and the λ of the least decrease."""
    rounds = sorted(log.steps.round_starts)
    shown = sorted({rounds[0], rounds[-1]}) if rounds else []
    figure, panels = new_panels(max(len(shown), 1), 5.0 * max(len(shown), 1) + 1.2, 4.6, share_y=True)
    if not shown:
        dress(panels[0], "First-order decrease q(λ)", "λ", "q(λ)")
        say(panels[0], "No distillation step is recorded.")
        return figure
    for axes, round in zip(panels, shown, strict=True):
        dress(
            axes,
            f"Round {round}: decrease q(λ){where_measured(log)}",
            LAMBDA,
            "",
        )
        _draw_round(axes, log.steps, round)
        axes.set_xlim(-0.02, 1.02)
    panels[0].set_ylabel("q(λ), log scale")
    legend(figure)
    return figure


def _draw_round(axes: Axes, steps: StepLog, round: int) -> None:
    here = steps["round"] == round
    complete = np.isfinite(steps["norm_dist"]) & np.isfinite(steps["norm_cls"]) & np.isfinite(steps["cos"])
    rows = np.flatnonzero(here & complete & (steps["norm_dist"] + steps["norm_cls"] > 0))
    if rows.size == 0:
        say(axes, "No step's gradients are recorded.")
        return
    last = float(steps["step"][here].max())
    drawn = set()
    for share, name in _SHARES.items():
        row = int(rows[np.abs(steps["step"][rows] - share * last).argmin()])
        if row in drawn:
            continue
        drawn.add(row)
        geometry = geometry_at(steps, row)
        curve = [geometry.decrease(weight) for weight in _WEIGHTS]
        colour = colormaps["viridis"](0.25 + 0.6 * share)
        axes.plot(_WEIGHTS, curve, color=colour, linewidth=1.8, label=name)
        least = int(np.argmin(curve))
        axes.plot(_WEIGHTS[least], curve[least], "v", color="white", markeredgecolor=colour, markersize=6, zorder=5)
        weight = float(steps["lambda"][row])
        if np.isfinite(weight):
            axes.plot(weight, geometry.decrease(weight), "o", color=colour, markersize=8, zorder=4)
    axes.plot([], [], "o", color=GREY, markersize=8, label="λ used")
    axes.plot([], [], "v", color="white", markeredgecolor=GREY, markersize=6, label="minimum of q")
    axes.set_yscale("log")
