"""Runs federations on the CPU and with everything on another device: ``CASE|OVERRIDE|...`` lines on standard input.

Prints what the other device refuses, and for each case whether it came out the same and whether the device had a part.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from fedkd.app import controls
from fedkd.core.messages import state_arrays
from fedkd.engines.inline import InlineEngine
from fedkd.experiment import Experiment, _experiment
from tests.support.federations import federation
from tests.support.pretend_gpu import NAME, PretendGpu


def result(overrides: list[str], *, with_controls: bool) -> tuple[object, ...]:
    """Accuracies, and the student's parameters as bytes."""
    with tempfile.TemporaryDirectory() as folder:
        running = federation(Path(folder), "rounds=2", *overrides)
        rounds = [running.round(1).record, running.round(2, probe=True).record]
    student, experiment = running.server.rule.student, running.experiment
    state = {} if student is None else state_arrays(student.state_dict())
    found: list[object] = [(record.student_accuracy, record.client_accuracy) for record in rounds]
    found += [(name, array.tobytes()) for name, array in state.items()]
    if with_controls:
        found += [controls.public_only(experiment, _ignore), controls.centralised(experiment, _ignore)]
        found += [
            control(experiment, InlineEngine().run, _ignore) for control in (controls.fedavg, controls.local_only)
        ]
    return tuple(found)


def _ignore(done: int, total: int) -> None:
    """Progress that nobody watches."""


def refused(action: Callable[[], object]) -> bool:
    try:
        action()
    except RuntimeError:
        return True
    return False


def main() -> None:
    with PretendGpu():
        here, there = torch.arange(3.0), torch.arange(3.0).to(NAME)
        print(refused(lambda: here + there), refused(lambda: there.numpy()), refused(lambda: here[there.long()]))
        print(
            there.device.type, (there * 2).cpu().tolist(), there[torch.tensor([2])].cpu().tolist(), float(there.sum())
        )
    at_home = Experiment.device
    for line in sys.stdin:
        case, *overrides = line.strip().split("|")
        expected = result(overrides, with_controls=case == "controls")
        # An experiment keeps models where they were made.
        _experiment.cache_clear()
        setattr(Experiment, "device", property(lambda experiment: torch.device(NAME)))  # noqa: B010
        try:
            with PretendGpu() as gpu:
                found = result(overrides, with_controls=case == "controls")
        finally:
            setattr(Experiment, "device", at_home)  # noqa: B010
            _experiment.cache_clear()
        print(case, found == expected, gpu.computed > 500, flush=True)


if __name__ == "__main__":
    main()
