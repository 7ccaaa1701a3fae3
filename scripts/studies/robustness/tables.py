"""The robustness study's results: means and losses, the best defences, a table and a heat map."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import new_figure, save
from studies.robustness.settings import NONE

Values = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]
"""By partition, case and defence: one percentage per seed."""


def summarise(teacher: Values, test: Values) -> dict[str, Any]:
    """Means and losses with 95 % intervals over the seeds, and the best defence against every attack."""
    mean: dict[str, Any] = {}
    loss: dict[str, Any] = {}
    best: dict[str, Any] = {}
    for partition, by_case in test.items():
        untouched = by_case[NONE]
        mean[partition] = {
            case: {defence: mean_and_ci(values) for defence, values in row.items()} for case, row in by_case.items()
        }
        loss[partition] = {
            case: {
                defence: mean_and_ci(
                    [without - with_ for without, with_ in zip(untouched[defence], values, strict=True)]
                )
                for defence, values in row.items()
            }
            for case, row in by_case.items()
        }
        best[partition] = {}
        for case in by_case:
            found = max(by_case[case], key=lambda defence: sum(teacher[partition][case][defence]))
            best[partition][case] = {
                "defence": found,
                "accuracy": mean[partition][case][found],
                "loss": loss[partition][case][found],
            }
    return {"mean": mean, "loss": loss, "best": best}


def print_table(report: dict[str, Any]) -> None:
    for partition, by_case in report["best"].items():
        print(f"{partition}\n{'attack':24} {'undefended':>10}   best defence (accuracy, loss; 95 % CI)")
        for case, row in by_case.items():
            undefended = report["mean"][partition][case]["mean_probabilities"][0]
            (accuracy_, around), (loss, spread) = row["accuracy"], row["loss"]
            print(
                f"{case:24} {undefended:10.2f}   {row['defence']}: {accuracy_:.2f} ± {around:.2f}, "
                f"{loss:+.2f} ± {spread:.2f}"
            )


def write_table(path: Path, report: dict[str, Any]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["partition", "attack", "defence", "accuracy", "ci95", "loss", "loss_ci95", "teacher_accuracy"])
        for partition, by_case in report["mean"].items():
            for case, row in by_case.items():
                for defence, (mean, around) in row.items():
                    loss, spread = report["loss"][partition][case][defence]
                    teacher = float(np.mean(report["teacher_values"][partition][case][defence]))
                    numbers = (mean, around, loss, spread, teacher)
                    writer.writerow([partition, case, defence, *(f"{number:.3f}" for number in numbers)])


def draw(path: Path, report: dict[str, Any]) -> None:
    """Test accuracy of the student, one panel per partition: defences down, attacks across."""
    partitions = list(report["mean"])
    cases, defences = list(report["mean"][partitions[0]]), list(report["defences"])
    figure = new_figure(4.0 + 0.75 * len(cases), 1.2 + len(partitions) * (1.6 + 0.36 * len(defences)))
    panels = figure.subplots(len(partitions), 1, squeeze=False)[:, 0]
    for axes, partition in zip(panels, partitions, strict=True):
        rows = report["mean"][partition]
        grid = np.array([[rows[case][defence][0] for case in cases] for defence in defences])
        image = axes.imshow(grid, cmap="RdYlGn", vmin=20, vmax=85, aspect="auto")
        for (row, column), value in np.ndenumerate(grid):
            chosen = report["best"][partition][cases[column]]["defence"] == defences[row]
            weight = "bold" if chosen else "normal"
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=8, fontweight=weight)
        axes.set_xticks(range(len(cases)), [case.replace(" ", "\n") for case in cases], fontsize=7)
        axes.set_yticks(range(len(defences)), defences, fontsize=8)
        axes.set_title(partition, loc="left", fontsize=10, fontweight="bold")
        figure.colorbar(image, ax=axes, label="test accuracy, %")
    figure.suptitle(
        f"Students' test accuracy under attack, mean over {len(report['seeds'])} seeds; in bold the best defence\n"
        "by the teachers' accuracy on public samples without a known label",
        fontsize=10,
    )
    save(figure, path)
