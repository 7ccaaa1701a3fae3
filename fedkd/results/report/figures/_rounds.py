"""What axes of several figures have in common: their names, and where rounds begin."""

from fedkd.results.report.run_log import StepLog
from fedkd.results.report.style import GREY, Axes, small

STEP_AXIS = "distillation step, counted over all rounds"
LAMBDA = "λ (1: teacher alone)"
ROOM_ABOVE = 16.0
"""Points between axes and title that the rounds' numbers need."""
_MANY_ROUNDS = 12


def mark_rounds(axes: Axes, steps: StepLog, *, named: bool = True) -> None:
    """A thin line at each round's first step and the round's number above the axes; of many, every n-th."""
    starts = list(steps.round_starts.items())
    every = -(-len(starts) // _MANY_ROUNDS)
    for round, start in starts[::every]:
        axes.axvline(start, color="0.5", alpha=0.4, linewidth=0.8, zorder=0)
        if named:
            text = f"round {round}" if start == starts[0][1] else str(round)
            axes.annotate(
                text,
                (start, 1),
                xycoords=axes.get_xaxis_transform(),
                xytext=(2, 1),
                textcoords="offset points",
                fontsize=small(),
                color=GREY,
                va="bottom",
            )
    axes.set_xlim(-0.01 * steps.length, 1.01 * max(steps.length - 1, 1))
