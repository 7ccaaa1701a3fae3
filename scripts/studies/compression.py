"""A small network taught by a large one: how much smaller, how much of the accuracy is kept, what the teacher gives.

    python scripts/compression_study.py [--preset small|full] [--out docs/results] [--seeds 0,1,2]

The networks and their training are those of configs/toolkit/compress_cnn.yaml, on Fashion-MNIST. Student and the same
student without a teacher have the same labels, and as many steps. Three settings: "transfer", as in the configuration:
the teacher has seen four times as many labels, and the student also learns from it on samples that nobody has labelled;
"same labels", where the teacher has seen no other labels than the student; and "same samples", where there are no
others for the student either. Everything was tried out with seed 100 on samples that are neither trained on nor tested;
test samples are looked at once a run, at its end.

The full preset has the seeds 3 to 7 and takes half an hour on one core; the small one is one seed of the digits, of
seconds. Writes compression.json, whose first figures are of "transfer", compression.csv and compression.png.
Latencies are medians on one thread of the CPU, and mean what their ratios say.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedkd.app.distil import distil_network
from fedkd.app.runs.frames import networks_of
from fedkd.config.load import load_config, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.results.report.figures.compression import draw_compression
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import Figure
from studies.study import Report, Stage, Study, aligned, plus_minus, study_parser
from studies.tasks import Results

CONFIG = "configs/toolkit/compress_cnn.yaml"
TRANSFER, LABELS, SAMPLES = "transfer", "same labels", "same samples"
SETTINGS = (TRANSFER, LABELS, SAMPLES)
_PUBLIC = ("teacher.trained_on=public", "teacher.epochs=12")
PRESETS: dict[str, dict[str, Any]] = {
    "full": {
        "seeds": (3, 4, 5, 6, 7),
        "overrides": (),
        "settings": {TRANSFER: (), LABELS: _PUBLIC, SAMPLES: (*_PUBLIC, "data.public.size=4000")},
    },
    "small": {
        "seeds": (0,),
        "overrides": (
            "data.dataset=digits",
            "data.private_size=100",
            "data.public.labelled=100",
            "teacher.model=cnn",
            "student.model={name: mlp, hidden: [16]}",
            "distillation.steps=100",
        ),
        "settings": {
            TRANSFER: ("data.public.size=600", "teacher.epochs=10"),
            LABELS: ("data.public.size=600", *_PUBLIC),
            SAMPLES: ("data.public.size=100", *_PUBLIC),
        },
    },
}
KEPT, GAIN, RATIO = "accuracy_kept", "gain_over_no_teacher", "parameters_ratio"


def configured(preset: str, setting: str, seed: int) -> ExperimentConfig:
    """The configuration of one run."""
    chosen = PRESETS[preset]
    changes = [*chosen["overrides"], *chosen["settings"][setting], f"seed={seed}", "engine.kind=inline"]
    return load_config(CONFIG, changes)


def run(runs: Path, preset: str, setting: str, seed: int) -> dict[str, Any]:
    """The report of one run, its networks by name; the run directory is kept."""
    folder = runs / preset / f"{setting} seed={seed}"
    found = distil_network(configured(preset, setting, seed), folder, resume=True)
    return {**found.result["compression"], "networks": {row["network"]: row for row in networks_of(folder)}}


def summarised(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds; of the gain, a difference seed by seed, with a 95 % interval of Student's t, in points."""
    mean, half = mean_and_ci([each[GAIN] for each in runs])
    networks = {}
    for name, first in runs[0]["networks"].items():
        rows = [each["networks"][name] for each in runs]
        networks[name] = {
            key: value if isinstance(value, str) else mean_and_ci([row[key] for row in rows])[0]
            for key, value in first.items()
        }
        networks[name]["accuracy_ci95"] = mean_and_ci([row["accuracy"] for row in rows])[1]
    return {
        RATIO: runs[0][RATIO],
        KEPT: mean_and_ci([each[KEPT] for each in runs])[0],
        GAIN: {"mean": mean, "low": mean - half, "high": mean + half, "seeds": len(runs)},
        f"{KEPT}_by_seed": [each[KEPT] for each in runs],
        f"{GAIN}_by_seed": [each[GAIN] for each in runs],
        "networks": networks,
    }


def table(settings: dict[str, dict[str, Any]]) -> str:
    """Every network of every setting, and what came of it."""
    rows = [
        {
            "setting": setting,
            "network": name,
            "parameters": f"{row['parameters']:,.0f}",
            "kB": f"{row['bytes'] / 1e3:,.0f}",
            "ms for 1": f"{row['latency_ms_1']:.2f}",
            "ms for 64": f"{row['latency_ms_64']:.1f}",
            "accuracy": plus_minus((100 * row["accuracy"], 100 * row["accuracy_ci95"])),
            "agreement": f"{100 * row['agreement']:.1f}",
        }
        for setting, found in settings.items()
        for name, row in found["networks"].items()
    ]
    told = [
        f"{setting}: 1/{found[RATIO]:.1f} of the parameters, {100 * found[KEPT]:.1f} % of the accuracy, "
        f"{plus_minus((found[GAIN]['mean'], found[GAIN]['high'] - found[GAIN]['mean']), '+.2f')} points by the teacher"
        for setting, found in settings.items()
    ]
    return "\n".join([aligned(rows), *told])


def seeds_of(arguments: Namespace) -> list[int]:
    return list(arguments.seeds or PRESETS[arguments.preset]["seeds"])


def stages(arguments: Namespace) -> list[Stage]:
    seeds = seeds_of(arguments)
    tasks = [(arguments.preset, setting, seed) for setting in SETTINGS for seed in seeds]
    return [Stage("distillations", run, tasks)]


def report(arguments: Namespace, results: Results) -> Report:
    seeds = seeds_of(arguments)
    settings = {
        setting: summarised([results[arguments.preset, setting, seed] for seed in seeds]) for setting in SETTINGS
    }
    first = settings[TRANSFER]
    content = {
        **{key: first[key] for key in (RATIO, KEPT, GAIN)},
        "seeds": seeds,
        "preset": arguments.preset,
        "settings": settings,
        "config": {setting: to_mapping(configured(arguments.preset, setting, seeds[0])) for setting in settings},
    }
    rows = [{"setting": setting, **row} for setting, found in settings.items() for row in found["networks"].values()]
    figure: Figure = draw_compression(list(first["networks"].values()))
    return Report(content, table(settings), rows, figures={"": figure})


def main(arguments: list[str] | None = None) -> int:
    parser = study_parser(__doc__, "compression", PRESETS)
    return Study("compression", stages, report).carry_out(parser.parse_args(arguments))
