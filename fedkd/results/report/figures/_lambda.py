"""λ over distillation steps."""

from itertools import pairwise

import numpy as np

from fedkd.results.report.figures._rounds import ROOM_ABOVE, STEP_AXIS, mark_rounds
from fedkd.results.report.run_log import Numbers, RunLog
from fedkd.results.report.style import BLUE, Figure, dress, new_figure, say


def draw_lambda(log: RunLog) -> Figure:
    """λ at each step, faint, and its running median within each round."""
    figure = new_figure(height=3.8)
    axes = figure.add_subplot()
    scale = "λ (0: labels only, 1: teacher only)"
    dress(axes, "λ, the weight of distillation, at each step", STEP_AXIS, scale, gap=ROOM_ABOVE)
    weight = log.steps["lambda"]
    known = np.flatnonzero(np.isfinite(weight))
    if known.size == 0:
        say(axes, "No distillation step is recorded.")
        return figure
    starts = [*log.steps.round_starts.values(), log.steps.length]
    width = max(3, int(np.diff(starts).max()) // 20)
    axes.plot(known, weight[known], color=BLUE, alpha=0.25, linewidth=0.8, label="each step")
    label: str | None = f"running median of {width} steps"
    for first, last in pairwise(starts):
        inside = known[(known >= first) & (known < last)]
        if inside.size:
            axes.plot(inside, running_median(weight[inside], width), color=BLUE, linewidth=2, label=label)
            label = None
    mark_rounds(axes, log.steps)
    axes.set_ylim(-0.03, 1.03)
    figure.legend(loc="outside lower right", ncols=2, frameon=False)
    return figure


def running_median(values: Numbers, width: int) -> Numbers:
    """The median of the ``width`` values around each one; fewer at the ends, where the window is cut off."""
    before = (width - 1) // 2
    after = width - 1 - before
    padded = np.concatenate([np.full(before, np.nan), values, np.full(after, np.nan)])
    medians: Numbers = np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1)
    return medians
