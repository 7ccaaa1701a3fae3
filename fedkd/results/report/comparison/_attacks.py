"""What attacks did to groups of runs: on their privacy, by audits, and on their result, by attackers among clients."""

from collections.abc import Mapping, Sequence

import numpy as np

from fedkd.results.report.audits import Attack
from fedkd.results.report.comparison._groups import ABSENT, Group, Labelled
from fedkd.results.report.comparison._looks import looks
from fedkd.results.report.comparison._measures import EPSILON, estimate
from fedkd.results.report.figures.roc import Curve, draw_curves
from fedkd.results.report.run_log import Numbers
from fedkd.results.report.style import Figure, dress, new_figure, say, short, small
from fedkd.results.report.tables import Cell, Table

_ATTACKERS = "clients.attackers"
_DARKER = 0.55
"""A shade below this share of the scale has light letters."""


def audit_table(groups: Labelled) -> Table | None:
    """Every attack on the runs of every group that was audited; None where none was."""
    rows: list[tuple[str | Cell, ...]] = []
    for label, group in groups.items():
        for (attack, observation), found in _attacks(group).items():
            auc = estimate([each.auc for each in found])
            hits = estimate([100 * each.tpr_at_1pct_fpr for each in found])
            bounds = [each.epsilon_lower_bound for each in found if each.epsilon_lower_bound is not None]
            if auc is not None and hits is not None:
                least = Cell(f"{max(bounds):.2f}", max(bounds)) if bounds else Cell(ABSENT)
                seeds = Cell(str(len(found)), len(found))
                rows.append((label, attack, observation, seeds, auc.cell(3), hits.cell(1), least, group.cell(EPSILON)))
    header = ("group", "attack", "observation", "seeds", "AUC", "TPR at 1 % FPR, %", "ε at least", "ε claimed")
    return Table.of("audits", header, rows, numbers=range(3, len(header))) if rows else None


def draw_roc(groups: Labelled) -> Figure:
    """A panel per observation point: of each group the attack of the largest mean AUC, its curve a mean over seeds."""
    panels: dict[str, list[Curve]] = {}
    every = [each for group in groups.values() for audit in group.audits for each in audit.attacks]
    least = 0.5 / max((each.non_members for each in every), default=1)
    for look in looks(groups):
        if not look.is_named:
            continue
        best: dict[str, list[Attack]] = {}
        for (_, observation), found in _attacks(look.group).items():
            if observation not in best or _mean_auc(found) > _mean_auc(best[observation]):
                best[observation] = found
        for observation, found in best.items():
            points = np.mean([_on_grid(each, least) for each in found], axis=0)
            panels.setdefault(observation, []).append(Curve(look.label, look.colour, points, look.line))
    return draw_curves(panels, least)


def draw_robustness(groups: Labelled) -> Figure:
    """The student's test accuracy with these attackers (columns) and everything else that differs (rows)."""
    cells = {label: _place(group) for label, group in groups.items()}
    rows, columns = (list(dict.fromkeys(place[axis] for place in cells.values())) for axis in (0, 1))
    figure = new_figure(2.6 + 1.1 * len(columns), 1.6 + 0.55 * len(rows))
    axes = figure.add_subplot()
    dress(axes, "Test accuracy under attack", "attackers", "")
    swept = any(key.startswith("strategy") for group in groups.values() for key in group.values)
    if len(rows) < 2 or len(columns) < 2 or not swept:
        say(axes, "These runs are no sweep over attackers and strategies.")
        return figure
    grid = np.full((len(rows), len(columns)), np.nan)
    for label, (row, column) in cells.items():
        if (accuracy := groups[label].estimate("student")) is not None:
            grid[rows.index(row), columns.index(column)] = accuracy.mean
    low, high = np.nanmin(grid), np.nanmax(grid)
    image = axes.imshow(grid, cmap="cividis", aspect="auto")
    axes.set_xticks(range(len(columns)), [short(name) for name in columns])
    axes.set_yticks(range(len(rows)), [short(name) for name in rows])
    axes.grid(visible=False)
    for row, column in np.argwhere(np.isfinite(grid)):
        colour = "white" if grid[row, column] < low + _DARKER * (high - low) else "black"
        axes.text(column, row, f"{grid[row, column]:.1f}", ha="center", va="center", color=colour, fontsize=small())
    figure.colorbar(image, ax=axes, label="test accuracy (%)", pad=0.02)
    return figure


def _attacks(group: Group) -> dict[tuple[str, str], list[Attack]]:
    """By name and observation point, what each audited seed's attack found."""
    found: dict[tuple[str, str], list[Attack]] = {}
    for audit in group.audits:
        for each in audit.attacks:
            found.setdefault((each.attack, each.observation), []).append(each)
    return found


def _mean_auc(found: Sequence[Attack]) -> float:
    return sum(each.auc for each in found) / len(found)


def _on_grid(attack: Attack, least: float) -> Numbers:
    """``[200, 4]``: at rates from ``least`` to 1, what the curve reaches with as many false positives or fewer."""
    curve = np.array(attack.roc, dtype=np.float64)
    curve = curve[np.argsort(curve[:, 0], kind="stable")]
    rates = np.geomspace(least, 1.0, 200)
    reached = curve[np.maximum(np.searchsorted(curve[:, 0], rates, side="right") - 1, 0)]
    return np.column_stack([rates, reached[:, 1:]])


def _place(group: Group) -> tuple[str, str]:
    """The names of a group's row and column."""
    attackers = {key: value for key, value in group.values.items() if key.startswith(_ATTACKERS)}
    return _in_short({key: group.values[key] for key in group.values if key not in attackers}), _in_short(attackers)


def _in_short(values: Mapping[str, str]) -> str:
    """``sign_flip, share=0.25``."""
    ends = {key: key.rpartition(".")[2] for key in values}
    held = [(ends[key], value) for key, value in values.items() if value != ABSENT]
    return ", ".join(value if end == "name" else f"{end}={value}" for end, value in held)
