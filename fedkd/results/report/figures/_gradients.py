"""The two gradients over distillation steps: their angle and their norms."""

import numpy as np

from fedkd.results.report.figures._geometry import where_measured
from fedkd.results.report.figures._rounds import ROOM_ABOVE, STEP_AXIS, mark_rounds
from fedkd.results.report.run_log import RunLog
from fedkd.results.report.style import ANGLE, GREY, LABELS, TEACHER, Figure, dress, legend, new_figure, say

_NORMS = (
    ("norm_dist", TEACHER, "‖∇L_dist‖, distillation"),
    ("norm_cls", LABELS, "‖∇L_cls‖, labels"),
)


def draw_gradients(log: RunLog) -> Figure:
    """cos φ above; ‖∇L_dist‖ and ‖∇L_cls‖ on a logarithmic scale below, at the steps where they were taken."""
    figure = new_figure(height=5.6)
    above, below = figure.subplots(2, 1, sharex=True)
    dress(
        above,
        f"Angle between the gradients{where_measured(log)}",
        "",
        "cosine",
        gap=ROOM_ABOVE,
    )
    dress(below, f"Norms of the two gradients{where_measured(log)}", STEP_AXIS, "norm (log)")
    steps = log.steps
    taken = np.flatnonzero(np.isfinite(steps["cos"]))
    if taken.size == 0:
        for axes in (above, below):
            say(axes, "No step's gradients are recorded.")
        return figure
    above.axhline(0, color=GREY, linewidth=1)
    above.plot(taken, steps["cos"][taken], color=ANGLE, linewidth=1)
    above.set_ylim(-1.05, 1.05)
    above.set_yticks([-1, -0.5, 0, 0.5, 1], ["−1", "−0.5", "0", "0.5", "1"])
    drawn = False
    for name, colour, label in _NORMS:
        norm = steps[name]
        positive = np.flatnonzero(np.nan_to_num(norm) > 0)
        if positive.size:
            below.plot(positive, norm[positive], color=colour, linewidth=1, label=label)
            drawn = True
    if drawn:
        below.set_yscale("log")
        legend(figure)
    mark_rounds(above, steps)
    mark_rounds(below, steps, named=False)
    return figure
