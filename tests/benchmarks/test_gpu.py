"""One command checks and measures everything on a GPU."""

import json
import subprocess
import sys

import torch

from tests.support import ROOT
from tests.support.scripts_run import run_script


def test_the_gpu_benchmark_agrees_with_itself_on_the_cpu_and_refuses_a_machine_without_a_gpu() -> None:
    found = json.loads(
        run_script("scripts/benchmark.py", "gpu", "--device", "cpu", "--preset", "small", "--json").splitlines()[-1]
    )
    assert (found["agrees"], found["left_out"], found["on_gpu"]) == (1.0, 0.0, 0.0)
    for network in ("cnn", "resnet8"):
        assert all(
            found[f"{what}_{network}_{clients}"] > 0 for what in ("speed_up", "difference") for clients in (2, 3)
        )
        assert found[f"distillation_step_{network}_ms"] > 0 < found[f"dp_sgd_epoch_{network}_ratio"]
    if not torch.cuda.is_available():
        refused = subprocess.run(
            [sys.executable, "scripts/benchmark.py", "gpu"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert refused.returncode == 2
        assert "cuda needs a GPU that torch can see, and there is none; try --device cpu" in refused.stderr
