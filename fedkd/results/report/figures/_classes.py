"""The two losses class by class."""

import numpy as np

from fedkd.results.report.run_log import RunLog
from fedkd.results.report.style import Figure, dress, new_panels, say

_PANELS = {
    "cos_by_class": "Cosine of the gradients",
    "gap_by_class": "p_student − p_teacher",
}


def draw_classes(log: RunLog) -> Figure:
    """A row per class and a column per measured step: the gradients' cosine, and student minus teacher."""
    figure, panels = new_panels(2, width=11.0, height=4.5)
    for axes, (name, title) in zip(panels, _PANELS.items(), strict=True):
        dress(axes, title, "measured step", "class", gap=6)
        values = log.steps.by_class[name]
        measured = np.flatnonzero(np.isfinite(values).any(axis=1)) if values.size else np.array([], dtype=int)
        if measured.size == 0:
            say(axes, "Nothing was measured by class in this run\n(distillation.measure_classes_every).")
            continue
        shown = values[measured].T
        limit = float(np.nanmax(np.abs(shown))) or 1.0
        image = axes.imshow(shown, aspect="auto", cmap="RdBu", vmin=-limit, vmax=limit, interpolation="nearest")
        ticks = np.unique(np.linspace(0, measured.size - 1, 6).astype(int))
        axes.set_xticks(ticks, [str(measured[tick]) for tick in ticks])
        axes.set_yticks(range(len(shown)))
        axes.grid(visible=False)
        figure.colorbar(image, ax=axes, pad=0.01)
    return figure
