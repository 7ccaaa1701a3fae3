"""Taylor fidelity: does the loss fall as the first-order expansion says?"""

import numpy as np
import numpy.typing as npt

from fedkd.results.report.run_log import Numbers, RunLog, StepLog
from fedkd.results.report.style import GREY, Axes, Figure, PathCollection, dress, new_panels, say, small

_PARTS = {"": "Total loss", "_dist": "Distillation loss", "_cls": "Label loss"}


def draw_fidelity(log: RunLog) -> Figure:
    """Measured against predicted decrease of the total loss and, where recorded, of its two parts."""
    parts = [part for part in _PARTS if part == "" or _pairs(log.steps, part).any()]
    figure, panels = new_panels(len(parts), width=4.0 * len(parts) + 1.4, height=4.7)
    colour, meaning = _colouring(log.steps)
    dots: PathCollection | None = None
    for axes, part in zip(panels, parts, strict=True):
        rows = _pairs(log.steps, part)
        dress(axes, _PARTS[part], "predicted decrease", "measured decrease", gap=20)
        if not rows.any():
            say(axes, "No decrease was measured in this run.")
            continue
        predicted, measured = log.steps[f"predicted_decrease{part}"][rows], log.steps[f"measured_decrease{part}"][rows]
        dots = axes.scatter(
            predicted,
            measured,
            c=colour[rows],
            vmin=float(np.nanmin(colour)),
            vmax=float(np.nanmax(colour)),
            cmap="viridis",
            s=14,
            alpha=0.8,
            linewidths=0,
        )
        _scale(axes, predicted, measured)
        axes.text(0.0, 1.0, _verdict(predicted, measured), transform=axes.transAxes, va="bottom", fontsize=small())
    if dots is not None:
        figure.colorbar(dots, ax=panels, label=meaning, pad=0.01, shrink=0.8)
    return figure


def _pairs(steps: StepLog, part: str) -> npt.NDArray[np.bool_]:
    """Which rows have both numbers."""
    found: npt.NDArray[np.bool_] = np.isfinite(steps[f"predicted_decrease{part}"]) & np.isfinite(
        steps[f"measured_decrease{part}"]
    )
    return found


def _colouring(steps: StepLog) -> tuple[Numbers, str]:
    """What colours the dots: the learning rate where it varies and is known everywhere, else the step."""
    rate = steps["learning_rate"]
    if rate.size and bool(np.isfinite(rate).all()) and float(np.ptp(rate)) > 0:
        return rate, "learning rate"
    return np.arange(steps.length, dtype=np.float64), "distillation step"


def _verdict(predicted: Numbers, measured: Numbers) -> str:
    usable = predicted != 0
    count = f"{predicted.size} steps"
    if not usable.any():
        return count
    return f"median ratio {np.median(measured[usable] / predicted[usable]):.2f}, {count}"


def _scale(axes: Axes, predicted: Numbers, measured: Numbers) -> None:
    """Equal axes: logarithmic where all is positive, else logarithmic on both sides of a small linear middle."""
    both = np.concatenate([predicted, measured])
    sizes = np.abs(both[both != 0])
    low, high = (float(sizes.min()), float(sizes.max())) if sizes.size else (0.1, 1.0)
    kind = "log" if both.min() > 0 else "symlog"
    if kind == "log":
        limits = (low / 1.5, high * 1.5)
        axes.set_xscale("log")
        axes.set_yscale("log")
    else:
        # At most four decades on each side: tiny decreases are noise and would fill the axes.
        middle = max(low, high / 1e4)
        limits = (min(1.5 * float(both.min()), -middle), 1.5 * high)
        ticks = _ticks(middle, limits)
        axes.set_xscale("symlog", linthresh=middle, linscale=0.5)
        axes.set_yscale("symlog", linthresh=middle, linscale=0.5)
        axes.set_xticks(ticks)
        axes.set_yticks(ticks)
        axes.axhline(0, color=GREY, alpha=0.4, linewidth=0.8, zorder=0)
        axes.axvline(0, color=GREY, alpha=0.4, linewidth=0.8, zorder=0)
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.set_aspect("equal")
    axes.set_xlabel(f"predicted decrease ({kind})")
    axes.set_ylabel(f"measured decrease ({kind})")
    axes.plot(limits, limits, color=GREY, linewidth=1, zorder=0)


def _ticks(middle: float, limits: tuple[float, float]) -> list[float]:
    """0 and every second power of ten, counted from the largest; none so near to 0 that their names would overlap."""
    largest = int(np.floor(np.log10(max(abs(limit) for limit in limits))))
    powers = [10.0**power for power in range(largest, int(np.ceil(np.log10(3 * middle))) - 1, -2)]
    return sorted(tick for tick in (0.0, *powers, *(-power for power in powers)) if limits[0] <= tick <= limits[1])
