"""Runs an experiment in a process that may have so many MiB of memory of its own: CONFIG OUT MEBIBYTES."""

import resource
import sys
from pathlib import Path

import torch

from fedkd import load_config, run_experiment

config, out, mebibytes = sys.argv[1:]
torch.set_num_threads(1)
resource.setrlimit(resource.RLIMIT_DATA, (int(mebibytes) << 20,) * 2)
run_experiment(load_config(config), Path(out))
