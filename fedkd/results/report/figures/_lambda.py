"""λ over distillation steps."""

from itertools import pairwise

import numpy as np

from fedkd.results.report.figures._rounds import LAMBDA, ROOM_ABOVE, STEP_AXIS, mark_rounds
from fedkd.results.report.run_log import Numbers, RunLog
from fedkd.results.report.style import WEIGHT, Figure, dress, legend, new_figure, say


def draw_lambda(log: RunLog) -> Figure:
    """λ at each step, faint, and its running median within each round."""
    figure = new_figure(height=3.8)
    axes = figure.add_subplot()
    dress(axes, "λ, the weight of distillation, at each step", STEP_AXIS, LAMBDA, gap=ROOM_ABOVE)
    weight = log.steps["lambda"]
    known = np.flatnonzero(np.isfinite(weight))
    if known.size == 0:
        say(axes, "No distillation step is recorded.")
        return figure
    starts = [*log.steps.round_starts.values(), log.steps.length]
    width = max(3, int(np.diff(starts).max()) // 20)
    axes.plot(known, weight[known], color=WEIGHT, alpha=0.25, linewidth=0.8, label="each step")
    label: str | None = f"running median of {width} steps"
    for first, last in pairwise(starts):
        inside = known[(known >= first) & (known < last)]
        if inside.size:
            axes.plot(inside, running_median(weight[inside], width), color=WEIGHT, linewidth=2, label=label)
            label = None
    mark_rounds(axes, log.steps)
    axes.set_ylim(-0.03, 1.03)
    legend(figure)
    return figure


def running_median(values: Numbers, width: int) -> Numbers:
    """The median of the ``width`` values around each one; fewer at the ends, where the window is cut off."""
    before = (width - 1) // 2
    after = width - 1 - before
    padded = np.concatenate([np.full(before, np.nan), values, np.full(after, np.nan)])
    medians: Numbers = np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1)
    return medians
