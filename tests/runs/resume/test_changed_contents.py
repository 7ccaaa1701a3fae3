"""A run is not gone on with on other data, or from other weights, than it began with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torchvision.models import shufflenet_v2_x0_5

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.core.errors import FolderError
from fedkd.data import prepare


def config_of(**sections: Any) -> dict[str, Any]:
    return {
        "rounds": 1,
        "clients": {"count": 2},
        "student": {"model": "mlp"},
        "distillation": {"steps": 3},
        "engine": {"kind": "inline"},
        **sections,
    }


def write_digits(path: Path, seed: int) -> None:
    images, labels = load_digits(return_X_y=True)
    np.savez(path, x=np.uint8(images.reshape(-1, 8, 8) * 15), y=np.roll(labels, seed))


def write_weights(path: Path, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.save(shufflenet_v2_x0_5(num_classes=7).state_dict(), path)


def test_a_changed_private_sample_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, out = tmp_path / "digits.npz", tmp_path / "run"
    config = config_of(data={"dataset": {"name": "npz", "path": str(file)}})
    write_digits(file, 0)
    run_experiment(load_config(config), out)
    arrays, public = dict(np.load(file)), prepare(load_config(config)).public.digest
    for changed in range(20):
        images = arrays["x"].copy()
        images[changed, 3, 3] ^= 128
        np.savez(file, x=images, y=arrays["y"])
        if prepare(load_config(config)).public.digest == public:
            break
    with pytest.raises(FolderError, match="it was begun with other data of npz"):
        run_experiment(load_config(config | {"rounds": 2}), out, resume=True)
    # Elsewhere the last digits may differ, and the files need not have changed.
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "another")
    assert run_experiment(load_config(config | {"rounds": 2}), out, resume=True).summary.rounds == 2


@pytest.mark.parametrize("what", ["data of npz", "initial weights of torchvision:shufflenet_v2_x0_5"])
def test_changed_files_are_noticed(tmp_path: Path, what: str) -> None:
    file, write = tmp_path / "weights.pt", write_weights
    if "data" in what:
        file, write = tmp_path / "digits.npz", write_digits
        config = config_of(data={"dataset": {"name": "npz", "path": str(file)}})
    else:
        model = {"name": "torchvision:shufflenet_v2_x0_5", "weights": str(file), "freeze": True}
        few = {"private_size": 40, "public": {"size": 20, "labelled": 10}}
        config = config_of(student={"model": model}, data=few)
    write(file, 0)
    out = tmp_path / "run"
    run_experiment(load_config(config), out)
    write(file, 1)
    with pytest.raises(FolderError, match=rf"cannot be resumed: it was begun with other {what}.*put what is damaged"):
        run_experiment(load_config(config | {"rounds": 2}), out, resume=True)
    write(file, 0)
    assert run_experiment(load_config(config | {"rounds": 2}), out, resume=True).summary.rounds == 2
