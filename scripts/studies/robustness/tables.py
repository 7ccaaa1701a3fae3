"""The robustness study's results: means and losses, the best defences, a table and a heat map."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import Figure, new_figure
from studies.robustness.settings import ABSENT, NONE
from studies.study import aligned, decimals, heat_map, plus_minus

Values = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]
"""By partition, case and defence: one percentage per seed."""


def summarise(teacher: Values, test: Values) -> dict[str, Any]:
    """Means and losses with 95 % intervals over the seeds, and the best defence against every attack."""
    found: dict[str, dict[str, Any]] = {"mean": {}, "loss": {}, "best": {}}
    for partition, by_case in test.items():
        untouched = by_case[NONE]
        mean = {case: {each: mean_and_ci(values) for each, values in row.items()} for case, row in by_case.items()}
        loss = {
            case: {each: mean_and_ci(np.subtract(untouched[each], values).tolist()) for each, values in row.items()}
            for case, row in by_case.items()
        }
        best = {case: max(row, key=lambda each: sum(row[each])) for case, row in teacher[partition].items()}
        found["mean"][partition], found["loss"][partition] = mean, loss
        found["best"][partition] = {
            case: {"defence": each, "accuracy": mean[case][each], "loss": loss[case][each]}
            for case, each in best.items()
        }
    return found


def beyond_absence(test: Values) -> dict[str, Any]:
    """By partition, share and defence, what the worst attack costs more than the attackers' absence does, in points.

    The worst of the attacks is the one with the highest mean cost on the test set: the attackers have the choice.
    """
    found: dict[str, Any] = {}
    for partition, by_case in test.items():
        shares = {case.removeprefix(f"{ABSENT} ") for case in by_case if case.startswith(ABSENT)}
        for share in sorted(shares, key=lambda text: float(text.rstrip("%"))):
            absent = by_case[f"{ABSENT} {share}"]
            attacks = {case: row for case, row in by_case.items() if case.endswith(f" {share}") and row is not absent}
            rows = found.setdefault(partition, {})[share] = {}
            for defence, missing in absent.items():
                worst = min(attacks, key=lambda case: sum(attacks[case][defence]))
                points = np.subtract(missing, attacks[worst][defence]).tolist()
                rows[defence] = {"attack": worst, "points": mean_and_ci(points)}
    return found


def table(report: dict[str, Any]) -> str:
    """For every partition the undefended and the best strategy against each attack."""
    lines = []
    for partition, by_case in report["best"].items():
        rows = [
            {
                "attack": case,
                "undefended": f"{report['mean'][partition][case]['mean_probabilities'][0]:.2f}",
                "best defence": row["defence"],
                "accuracy (95 % CI)": plus_minus(row["accuracy"]),
                "loss (95 % CI)": plus_minus(row["loss"], "+.2f"),
            }
            for case, row in by_case.items()
        ]
        lines += [partition, aligned(rows)]
    return "\n".join(lines)


def csv_rows(report: dict[str, Any]) -> list[dict[str, str]]:
    rows = []
    for partition, by_case in report["mean"].items():
        for case, row in by_case.items():
            for defence, (mean, around) in row.items():
                loss, spread = report["loss"][partition][case][defence]
                teacher = float(np.mean(report["teacher_values"][partition][case][defence]))
                cells = decimals(accuracy=mean, ci95=around, loss=loss, loss_ci95=spread, teacher_accuracy=teacher)
                rows.append({"partition": partition, "attack": case, "defence": defence, **cells})
    return rows


def draw(report: dict[str, Any]) -> Figure:
    """Test accuracy of the student, one panel per partition: defences down, attacks across."""
    partitions, defences = list(report["mean"]), list(report["defences"])
    most = max(map(len, report["mean"].values()))
    figure = new_figure(4.0 + 0.75 * most, 1.2 + len(partitions) * (1.6 + 0.36 * len(defences)))
    panels = figure.subplots(len(partitions), 1, squeeze=False)[:, 0]
    for axes, partition in zip(panels, partitions, strict=True):
        rows, best = report["mean"][partition], report["best"][partition]
        cases = list(rows)
        grid = np.array([[rows[case][defence][0] for case in cases] for defence in defences])
        chosen = {(defences.index(best[case]["defence"]), column) for column, case in enumerate(cases)}
        image = heat_map(axes, grid, cases, defences, bold=chosen, cmap="RdYlGn", vmin=20, vmax=85)
        axes.tick_params(axis="y", labelsize=8)
        axes.set_title(partition, loc="left", fontsize=10, fontweight="bold")
        figure.colorbar(image, ax=axes, label="test accuracy, %")
    figure.suptitle(
        f"Students' test accuracy under attack, mean over {len(report['seeds'])} seeds; in bold the best defence\n"
        "by the teachers' accuracy on public samples without a known label",
        fontsize=10,
    )
    return figure
