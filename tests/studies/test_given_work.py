"""Work that is all given: a script writes it, and a run has exactly that."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from studies.given_work import divided, main

from fedkd.app.checks import check
from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.core.errors import ConfigError
from tests.support.scripts_run import run_script

CONFIGS = ("configs/benchmarks/fedavg_given.yaml", "configs/benchmarks/ds_fl_given.yaml")


def little(folder: Path, config: str) -> list[str]:
    return [
        *("data.dataset=digits", "clients.count=4", "rounds=1", "distillation.steps=3", "engine.kind=inline"),
        *(f"data.partition.path={folder / 'given' / 'partition.json'}", f"student.init={folder / 'given' / 'init.pt'}"),
        *(["data.public.size=60"] if "ds_fl" in config else []),
    ]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_run_does_exactly_what_the_script_wrote(tmp_path: Path, config: str) -> None:
    overrides = little(tmp_path, config)
    output = run_script("scripts/given_work.py", config, *overrides, "--samples", "200", "--seed", "3")
    assert output.split() == [str(tmp_path / "given" / name) for name in ("partition.json", "init.pt")]
    written = json.loads((tmp_path / "given" / "partition.json").read_text())
    assert sum(map(len, written["clients"])) == 200
    assert min(map(len, written["clients"])) >= 8
    experiment = check(load_config(config, overrides))
    weights = torch.load(tmp_path / "given" / "init.pt", weights_only=True)
    started = experiment.initial_model().state_dict()
    assert all(torch.equal(started[name], weights[name]) for name in weights)
    assert run_experiment(load_config(config, overrides), tmp_path / "run").summary.failures == 0
    used = json.loads((tmp_path / "run" / "partition.json").read_text())
    assert used == written


def test_every_sample_is_dealt_out_once_and_skewed() -> None:
    labels = np.random.default_rng(0).integers(10, size=2000)
    clients, others = divided(labels, 12, 1500, 8, alpha=0.1, seed=1)
    assert sorted([position for client in clients for position in client] + others) == list(range(2000))
    assert len(others) == 500
    assert min(map(len, clients)) >= 8
    assert divided(labels, 12, 1500, 8, alpha=0.1, seed=1) == (clients, others)
    shares = [np.bincount(labels[client], minlength=10).max() / len(client) for client in clients]
    assert np.median(shares) > 0.4


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    overrides = little(tmp_path, CONFIGS[0])
    for samples in ("31", "5000"):
        with pytest.raises(ConfigError, match=r"--samples: must be at least 32, .* and at most the 1442"):
            main([CONFIGS[0], *overrides, "--samples", samples])
    with pytest.raises(ConfigError, match=r"data\.public\.size: must not exceed the 42"):
        main([CONFIGS[1], *little(tmp_path, CONFIGS[1]), "--samples", "1400"])
    with pytest.raises(ConfigError, match="must name the files to write"):
        main([CONFIGS[0], *overrides[:-1], "student.init=null"])
    assert not (tmp_path / "given").exists()
