"""How many clients does it take until protecting all data of a client pays?

    python scripts/client_level_study.py [--preset small|full] [--seeds 0,1,2] [--out docs/results]
    python scripts/client_level_study.py --tune

A client-level guarantee hides all that a client has among what the others have: there have to be many of them. On
Fashion-MNIST 100, 250 and 500 clients with forty samples each answer under GNMax and without protection, the most of
them under Gaussian noise on the sum as well (configs/privacy/many_clients*.yaml), beside public_only, which is what the
server can do without any of them; and once more where the server knows fewer labels. The full preset has three seeds;
all runs are attacked as `fedkd audit` does. Runs and attacks are done one per core under --runs, and finished ones are
not repeated. Writes client_level.json, .csv (every attack), .md and .png. The full preset takes more than an hour of
one core.

--tune chooses rounds, questions per round, and how the student is trained, without noise, on samples that are private
or test samples under none of the seeds, by the student's mean accuracy; it writes client_level_tuning.json.
"""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import studies.privacy_frontier.tables as tables
from fedkd.config.load import load_config, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import GREY, PALETTE, Figure, dress, new_figure
from studies.client_level.settings import (
    LABELS,
    PLAIN,
    PRESETS,
    ROWS,
    SAMPLES,
    SETTINGS,
    TRIAL_CLIENTS,
    TRIALS,
    Cell,
)
from studies.privacy_frontier.study import attack, configured, name_of, run
from studies.study import Report, Stage, Study, aligned, markdown_table, plus_minus, run_afresh, study_parser
from studies.tasks import Results, Task
from studies.unused_data import unused_by

BARS = ("public_only", "centralised")
_ABOVE: dict[str, Any] = {"xytext": (0, 5), "textcoords": "offset points", "ha": "right", "fontsize": 7}
Row = dict[str, Any]


def run_task(asked: Namespace, cell: Cell, seed: int) -> Task:
    overrides = *cell.overrides, *PRESETS[asked.preset]["overrides"]
    row = ROWS[cell.row]
    return row, seed, overrides, name_of(configured(row, seed, overrides), row)


def attack_task(asked: Namespace, cell: Cell, seed: int) -> Task:
    return *run_task(asked, cell, seed), PRESETS[asked.preset]["shadows"]


def stages(asked: Namespace) -> list[Stage]:
    """The runs and the attacks on them, seed by seed."""
    preset = PRESETS[asked.preset]
    both = [(cell, seed) for seed in asked.seeds or preset["seeds"] for cell in preset["cells"]]
    return [
        Stage("runs", run, [run_task(asked, *each) for each in both]),
        Stage("attacks", attack, [attack_task(asked, *each) for each in both]),
    ]


def reported(asked: Namespace, results: Results) -> Report:
    """A row for every cell, what it gains over the server's labels alone, and the figure."""
    preset = PRESETS[asked.preset]
    seeds = asked.seeds or preset["seeds"]

    def bars_of(clients: int, labels: int) -> list[Row]:
        found = (results[run_task(asked, Cell("none", clients, labels=labels), seed)]["controls"] for seed in seeds)
        return [dict(each) for each in found]

    rows = []
    for cell in preset["cells"]:
        runs = [results[run_task(asked, cell, seed)] for seed in seeds]
        audits = [results[attack_task(asked, cell, seed)] for seed in seeds]
        public_only = [each["public_only"] for each in bars_of(cell.clients, cell.labels)]
        lead = [100 * (each["student"] - alone) for each, alone in zip(runs, public_only, strict=True)]
        row = tables.summarise(cell.name, seeds, runs, seeds, audits)
        own = {"mechanism": cell.row, "clients": cell.clients, "labels": cell.labels}
        rows.append(row | own | {"lead": mean_and_ci(lead), "leads": lead})
    bars = [
        {"clients": clients, "labels": labels}
        | tables.controls([{"controls": each} for each in bars_of(clients, labels)])
        for clients, labels in dict.fromkeys((cell.clients, cell.labels) for cell in preset["cells"])
    ]
    content = {
        "preset": asked.preset,
        "seeds": list(seeds),
        "tuning_seeds": list(TRIALS),
        "rows": rows,
        "controls": bars,
        "configs": {
            cell.name: to_mapping(configured(ROWS[cell.row], seeds[0], (*cell.overrides, *preset["overrides"])))
            for cell in preset["cells"]
        },
    }
    text = "\n".join([*markdown_table([*map(cells, rows)]), "", *_words(rows, bars)]) + "\n"
    return Report(
        content,
        "\n".join([text, *tables.ceilings(rows)]),
        csv=tables.csv_rows([_flat(row) for row in rows]),
        markdown=text,
        figures={"": draw(rows, bars)},
    )


def _flat(row: Row) -> Row:
    mean, half = row["lead"]
    return {key: value for key, value in row.items() if key not in {"lead", "leads"}} | {
        "over_public_only": mean,
        "over_public_only_ci95": half,
    }


def cells(row: Row) -> dict[str, str]:
    """What the table shows."""
    strongest = row["attacks"][0]
    return {
        "protection": f"`{row['mechanism']}`",
        "clients": f"{row['clients']:,}",
        "labels": str(row["labels"]),
        "ε": "none" if row["epsilon"] is None else f"{row['epsilon']:.3g}",
        "noise σ": "–" if row["noise"] is None else f"{row['noise']:.3g}",
        "student acc (%)": tables.percent(row, "student_accuracy"),
        "over `public_only`": plus_minus(row["lead"], "+.1f"),
        "strongest attack and observation": f"{strongest['attack']}, {strongest['observation']}",
        "AUC": f"{strongest['auc']:.3f}",
        "CPU s": f"{row['cpu_seconds']:.0f}",
    }


def _words(rows: Sequence[Row], bars: Sequence[Row]) -> Iterator[str]:
    seeds = len(rows[0]["seeds"])
    yield f"{SAMPLES} samples per client; mean ± 95 % confidence interval over {seeds} seeds, all of them attacked."
    for found in bars:
        shown = ", ".join(f"`{name}` {tables.percent(found[name], 'accuracy')}" for name in BARS)
        yield f"Controls with {found['clients']:,} clients and {found['labels']} labels: {shown}."


def draw(rows: Sequence[Row], bars: Sequence[Row]) -> Figure:
    """The student's accuracy against the number of clients, a line per protection, and points for fewer labels."""
    figure = new_figure(8, 4.6)
    axes = figure.subplots()
    counts = sorted({row["clients"] for row in rows})
    dress(axes, "", "clients (log scale)", "student's test accuracy (%)")
    for name, line in zip(BARS, (":", "--"), strict=True):
        usual = [found for found in bars if found["labels"] == LABELS]
        means = [100 * found[name]["accuracy"] for found in usual]
        axes.plot([found["clients"] for found in usual], means, line, color=GREY, linewidth=1.1, label=name)
    for found in bars:
        if found["labels"] != LABELS:
            height = 100 * found["public_only"]["accuracy"]
            axes.plot(found["clients"], height, "_", color=GREY, markersize=14)
            axes.annotate(f"public_only, {found['labels']} labels", (found["clients"], height), **_ABOVE)
    kinds = list(dict.fromkeys((row["mechanism"], row["labels"]) for row in rows))
    for index, (mechanism, labels) in enumerate(kinds):
        same = [row for row in rows if (row["mechanism"], row["labels"]) == (mechanism, labels)]
        x = [row["clients"] * (1 + 0.02 * index) for row in same]
        y = [100 * row["student_accuracy"] for row in same]
        half = [100 * (row["student_accuracy_ci95"] or 0.0) for row in same]
        label = mechanism if labels == LABELS else f"{mechanism}, {labels} labels"
        axes.errorbar(x, y, half, marker="osD^v"[index % 5], color=PALETTE[index], capsize=3, label=label)
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.set_xticks([], minor=True)
    figure.legend(loc="outside right center", frameon=False)
    return figure


STUDY = Study("client_level", stages, reported)


def trial(name: str, seed: int) -> ExperimentConfig:
    """A setting without noise, on samples that the study's seeds leave alone."""
    path, preset = f"configs/privacy/{PLAIN}.yaml", PRESETS["full"]
    largest = max(preset["cells"], key=lambda cell: cell.clients)
    source = unused_by(load_config(path, Cell("none", largest.clients).overrides), preset["seeds"])
    overrides = [f"seed={seed}", f"data.dataset={source}", *Cell("none", TRIAL_CLIENTS).overrides, *SETTINGS[name]]
    return load_config(path, overrides)


def run_trial(runs: Path, name: str, seed: int) -> dict[str, Any]:
    """What one trial came to."""
    summary = run_afresh(trial(name, seed), runs / f"tuning-{list(SETTINGS).index(name)}-{seed}").summary or {}
    return {"student": summary["student_accuracy"], "public_only": summary["controls"]["public_only"]}


def tuned(asked: Namespace, results: Results) -> Report:
    """All trials; the one with the best student is chosen."""
    found = {name: [results[name, seed] for seed in TRIALS] for name in SETTINGS}
    means = {name: float(np.mean([each["student"] for each in trials])) for name, trials in found.items()}
    best = max(means, key=lambda name: means[name])
    content = {
        "chosen": best,
        "settings": SETTINGS,
        "trials": found,
        "seeds": list(TRIALS),
        "reporting_seeds": list(PRESETS["full"]["seeds"]),
        "clients": TRIAL_CLIENTS,
    }
    rows = [
        {
            "setting": name,
            "student": f"{100 * mean:.2f} %",
            "public_only": f"{100 * np.mean([each['public_only'] for each in found[name]]):.2f} %",
        }
        for name, mean in means.items()
    ]
    return Report(content, f"{aligned(rows)}\nchosen: {best}")


TUNING = Study(
    "client_level_tuning",
    lambda asked: [Stage("trials", run_trial, [(name, seed) for seed in TRIALS for name in SETTINGS])],
    tuned,
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = study_parser(__doc__, STUDY.name, PRESETS)
    parser.add_argument("--tune", action="store_true", help="choose rounds and steps instead")
    arguments = parser.parse_args(argv)
    return (TUNING if arguments.tune else STUDY).carry_out(arguments)
