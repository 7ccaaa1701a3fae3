"""What the study of public sets found: means, gains, tables and a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fedkd.config.load import to_mapping
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import GREY, PALETTE, Axes, Figure, dress, legend, new_figure
from studies.public_data.settings import STRATEGIES, Cell, Preset
from studies.study import aligned, decimals, markdown_table, plus_minus

DEVELOPMENT_SEEDS = (100,)
MARKERS = dict(zip(STRATEGIES, "osD^", strict=True))
TITLES = {
    "size": "Public samples",
    "labels": "Labels that are known",
    "wrong labels": "Share of these that is wrong",
    "origin": "What the samples are like",
    "origin, no labels": "Without labels, and from elsewhere",
}
COLOURS = dict(zip(STRATEGIES, PALETTE, strict=False))


@dataclass(frozen=True)
class Row:
    """A strategy on a public set: what was measured of every seed, and students of the labels alone, in per cent."""

    partition: str
    cell: Cell
    strategy: str
    measured: Sequence[Mapping[str, float | None]]
    alone: Sequence[float] | None

    def values(self, name: str) -> list[float]:
        """A measure of all seeds, in per cent; none of a teacher where no true class is hidden from the server."""
        return [100 * found for each in self.measured if (found := each[name]) is not None]

    def mean(self, name: str) -> tuple[float, float] | None:
        found = self.values(name)
        return mean_and_ci(found) if found else None

    @property
    def gain(self) -> tuple[float, float] | None:
        """Points over the labels alone, paired by seed; None without labels."""
        return None if self.alone is None else mean_and_ci(np.subtract(self.values("test"), self.alone).tolist())


def lead(row: Row, other: Row) -> tuple[float, float]:
    """Points of test accuracy over another row, paired by seed."""
    return mean_and_ci(np.subtract(row.values("test"), other.values("test")).tolist())


def content_of(preset: str, found: Preset, seeds: list[int], rows: Sequence[Row]) -> dict[str, Any]:
    references = {(row.partition, row.strategy): row for row in rows if row.cell == found.reference}
    first = next(iter(found.partitions))
    return {
        "preset": preset,
        "seeds": seeds,
        "development_seeds": DEVELOPMENT_SEEDS,
        "tuned": [],
        "reference": found.reference.name,
        "axes": {axis: [cell.name for cell in cells] for axis, cells in found.axes.items()},
        "strategies": STRATEGIES,
        "origins": found.origins,
        "rows": [
            {
                "partition": row.partition,
                "cell": row.cell.name,
                **asdict(row.cell),
                "strategy": row.strategy,
                "values": row.values("test"),
                "teacher_values": row.values("teacher"),
                "heard_values": row.values("heard"),
                "public_only_values": row.alone,
                "test": row.mean("test"),
                "teacher": row.mean("teacher"),
                "heard": row.mean("heard"),
                "public_only": None if row.alone is None else mean_and_ci(row.alone),
                "gain": row.gain,
                "versus_reference": None
                if row.cell == found.reference
                else lead(row, references[row.partition, row.strategy]),
            }
            for row in rows
        ],
        "config": to_mapping(found.config(first, seeds[0], found.reference)),
    }


def _by_cell(found: Preset, rows: Sequence[Row], partition: str) -> dict[Cell, dict[str, Row]]:
    return {
        cell: {row.strategy: row for row in rows if row.cell == cell and row.partition == partition}
        for cell in found.cells
    }


def _table(found: Preset, rows: Sequence[Row], partition: str) -> list[dict[str, str]]:
    """A line for each cell: the students, and in brackets what they gain."""
    lines = []
    for cell, by_strategy in _by_cell(found, rows, partition).items():
        alone = next(iter(by_strategy.values())).alone
        line = {
            "public set": cell.name,
            "public_only": plus_minus(None if alone is None else mean_and_ci(alone), ".1f"),
        }
        for strategy in STRATEGIES:
            row = by_strategy.get(strategy)
            gain = "" if row is None or row.gain is None else f" ({plus_minus(row.gain, '+.1f')})"
            line[strategy] = plus_minus(None if row is None else row.mean("test"), ".1f") + gain
        lines.append(line)
    return lines


def text(found: Preset, rows: Sequence[Row]) -> str:
    parts = [f"{partition}\n{aligned(_table(found, rows, partition))}" for partition in found.partitions]
    return "\n\n".join(parts)


def markdown(found: Preset, rows: Sequence[Row]) -> str:
    lines = ["Test accuracy of students (%), in brackets the points that they gain over `public_only`."]
    for partition in found.partitions:
        lines += ["", f"## {partition}", "", *markdown_table(_table(found, rows, partition))]
    return "\n".join(lines) + "\n"


def csv_rows(rows: Sequence[Row]) -> list[dict[str, str]]:
    lines = []
    for row in rows:
        line = {"partition": row.partition, **{key: str(value) for key, value in asdict(row.cell).items()}}
        line["strategy"] = row.strategy
        pairs = {
            "test": row.mean("test"),
            "teacher": row.mean("teacher"),
            "heard": row.mean("heard"),
            "public_only": None if row.alone is None else mean_and_ci(row.alone),
            "gain": row.gain,
        }
        for name, pair in pairs.items():
            columns = dict(zip((name, f"{name}_ci95"), pair or (), strict=False))
            line |= decimals(**columns) if columns else {name: "", f"{name}_ci95": ""}
        lines.append(line)
    return lines


def draw(found: Preset, rows: Sequence[Row]) -> Figure:
    """Test accuracy, a row of panels for each partition and a panel for each axis; the reference is shaded."""
    axes = found.axes
    figure = new_figure(17.0, 0.8 + 3.7 * len(found.partitions))
    widths = [2 + len(cells) for cells in axes.values()]
    panels = figure.subplots(len(found.partitions), len(axes), squeeze=False, width_ratios=widths)
    for line, partition in zip(panels, found.partitions, strict=True):
        by_cell = _by_cell(found, rows, partition)
        for panel, (axis, cells) in zip(line, axes.items(), strict=True):
            first = panel is line[0]
            dress(panel, TITLES[axis], "", f"test accuracy (%), {partition.replace('alpha=', 'α = ')}" if first else "")
            _draw_axis(panel, {cell: by_cell[cell] for cell in cells}, ordered="origin" not in axis)
            panel.set_xticks(range(len(cells)), _ticks(axis, cells), fontsize=8)
            if found.reference in cells:
                at = cells.index(found.reference)
                panel.axvspan(at - 0.5, at + 0.5, color=GREY, alpha=0.2, linewidth=0)
        # Elsewhere accuracy falls so low that all other differences would be out of sight.
        near = [panel for panel, axis in zip(line, axes, strict=True) if "origin" not in axis]
        lowest, highest = (pick(panel.get_ylim()[side] for panel in near) for side, pick in enumerate((min, max)))
        for panel in line:
            low, high = (lowest, highest) if panel in near else panel.get_ylim()
            panel.set_ylim(max(low, 0.0), min(high, 100.0))
    legend(figure)
    return figure


def _ticks(axis: str, cells: Sequence[Cell]) -> list[str]:
    match axis:
        case "size":
            return [f"{cell.size / 1000:g}k" for cell in cells]
        case "labels":
            return [f"{cell.labels:,}" for cell in cells]
        case "wrong labels":
            return [f"{cell.wrong:.0%}" for cell in cells]
        case _:
            usual = cells[0].size
            few = ["" if cell.size == usual else f"\n({cell.size:,})" for cell in cells]
            return [cell.origin.replace(" ", "\n") + small for cell, small in zip(cells, few, strict=True)]


def _draw_axis(panel: Axes, by_cell: Mapping[Cell, Mapping[str, Row]], *, ordered: bool) -> None:
    """Each strategy a little beside the others, joined where the cells have an order."""
    for index, strategy in enumerate(STRATEGIES):
        there = [(at, by[strategy]) for at, by in enumerate(by_cell.values()) if strategy in by]
        if not there:
            continue
        pairs = [mean_and_ci(row.values("test")) for _, row in there]
        panel.errorbar(
            [at + 0.13 * (index - 1.5) for at, _ in there],
            [mean for mean, _ in pairs],
            [half if np.isfinite(half) else 0.0 for _, half in pairs],
            color=COLOURS[strategy],
            marker=MARKERS[strategy],
            markersize=5,
            linestyle="-" if ordered else "none",
            linewidth=1.2,
            elinewidth=0.8,
            capsize=2,
            label=strategy,
        )
    alone = [(at, next(iter(by.values())).alone) for at, by in enumerate(by_cell.values())]
    for at, found in alone:
        if found is not None:
            panel.plot([at - 0.4, at + 0.4], [np.mean(found)] * 2, color=GREY, linewidth=2, label="public_only")
    panel.margins(x=0.08)
