"""Twelve runs on the digits, each with one thing wrong or none, and what is diagnosed.

python scripts/diagnoses.py [--json]
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.distillation.diagnosis import Diagnosis, Verdict
from studies.study import aligned

BASE: Mapping[str, Any] = {
    "seed": 0,
    "rounds": 1,
    "data": {
        "private_size": 600,
        "partition": {"scheme": "iid"},
        "public": {"size": 600, "labelled": 300, "validation": 0.5},
    },
    "clients": {"count": 4, "epochs": 10},
    "student": {"model": "mlp"},
    "strategy": "mean_probabilities",
    "distillation": {"steps": 200, "temperature": 2.0, "balancer": {"name": "fixed", "value": 1.0}},
    "controls": ["public_only"],
    "engine": {"kind": "inline"},
}
"""A healthy run: four clients with equal shares of 600 samples, and 150 samples to validate on."""


@dataclass(frozen=True)
class Case:
    """A run with one thing changed, and what is to be said of it."""

    name: str
    expected: Verdict
    changes: tuple[str, ...] = ()


CASES = (
    Case("healthy", Verdict.HEALTHY),
    Case(
        "temperature too low",
        Verdict.TEMPERATURE_TOO_LOW,
        ("distillation.temperature=0.02",),
    ),
    Case(
        "temperature too high",
        Verdict.TEMPERATURE_TOO_HIGH,
        ("distillation.temperature=300", "strategy=stacked", "distillation.steps=25", "clients.epochs=30"),
    ),
    Case("bad teacher", Verdict.TEACHER_WORSE, ("data.partition={scheme: dirichlet, alpha: 0.05}",)),
    Case(
        "student below public_only",
        Verdict.STUDENT_BELOW_PUBLIC_ONLY,
        ("distillation.batch_size=1", "distillation.steps=50"),
    ),
    Case("diverged clients", Verdict.CLIENTS_DIVERGED, ("clients.learning_rate=2.0",)),
    Case(
        "chance teacher",
        Verdict.TEACHER_AT_CHANCE,
        ("clients.behaviour=random",),
    ),
    Case("too few validation samples", Verdict.TOO_FEW_SAMPLES, ("data.public.validation=0.05",)),
    Case(
        "attackers",
        Verdict.ATTACKERS,
        ("clients.attackers={share: 0.5, behaviour: lma}",),
    ),
    Case("no labels", Verdict.NO_LABELS, ("data.public.labelled=0", "controls=[]")),
    Case("one client", Verdict.ONE_CLIENT, ("clients.count=1",)),
    Case(
        "noise drowning the logits",
        Verdict.NOISE,
        ("privacy.mechanism={name: gaussian_logits, noise_multiplier: 5.0}",),
    ),
)


def diagnosis_of(case: Case, out: Path) -> Diagnosis:
    """What a run of the case, in ``out``, comes to."""
    found = run_experiment(load_config(dict(BASE), case.changes), out).summary.diagnosis
    if found is None:
        raise ValueError(f"{case.name}: nothing was distilled, and nothing diagnosed")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, and one line that counts; 1 unless all are right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one flat JSON object last")
    arguments = parser.parse_args(argv)
    rows, right = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(CASES):
            found = diagnosis_of(case, Path(folder) / str(number))
            right += found.verdict is case.expected
            rows.append(
                {
                    "run": case.name,
                    "expected": case.expected.value,
                    "diagnosis": found.verdict.value,
                    "samples": str(found.samples),
                    "in words": found.text,
                }
            )
    print(aligned(rows))
    print(f"{right} of {len(CASES)} diagnoses are right")
    if arguments.json:
        verdicts = {row["run"]: row["diagnosis"] for row in rows}
        print(json.dumps({"right": right, "cases": len(CASES), **verdicts}))
    return 0 if right == len(CASES) else 1
