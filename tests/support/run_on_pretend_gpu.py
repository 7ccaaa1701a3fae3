"""Runs experiments on the CPU and with everything on another device: ``CASE OVERRIDE ...`` lines on standard input.

Prints for each whether student, accuracies and controls are the same, and whether the device did anything.
"""

import sys
import tempfile
from pathlib import Path

import torch
from federations import SMALL
from pretend_gpu import NAME, PretendGpu

from fedkd.app import run_experiment
from fedkd.config import load_config
from fedkd.local.workspace import Workspace


def result(overrides: list[str]) -> tuple[object, ...]:
    with tempfile.TemporaryDirectory() as folder:
        summary = run_experiment(load_config(SMALL, ["rounds=2", *overrides]), Path(folder, "run"))
    return summary.student_sha256, summary.student_accuracy, summary.teacher_accuracy, dict(summary.controls)


def main() -> None:
    at_home = Workspace.device
    for line in sys.stdin:
        case, *overrides = line.split("|")
        expected = result([override.strip() for override in overrides])
        setattr(Workspace, "device", property(lambda place: torch.device(NAME)))  # noqa: B010
        try:
            with PretendGpu() as gpu:
                found = result([override.strip() for override in overrides])
        finally:
            setattr(Workspace, "device", at_home)  # noqa: B010
        print(case, found == expected, gpu.computed > 500, flush=True)


if __name__ == "__main__":
    main()
