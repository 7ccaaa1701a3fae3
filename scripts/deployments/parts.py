"""A data set divided as a configuration does, into a folder for the server and one for each node of a deployment."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedkd.config.load import load_config
from fedkd.config.schema import ExperimentConfig
from fedkd.core.errors import DataError
from fedkd.data import SampleSet, partition_file, prepare
from fedkd.data.roles import sources_of


def main() -> None:
    """Read the command line, and divide."""
    parser = argparse.ArgumentParser(
        description="Divide a data set into a folder for the server and one for each node."
    )
    parser.add_argument("config", help="a YAML file or a shipped name")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="changes to the file")
    parser.add_argument("--out", type=Path, required=True, help="folder for the parts")
    arguments = parser.parse_intermixed_args()
    divide(load_config(arguments.config, arguments.overrides), arguments.out)
    print(f"{arguments.out}: {', '.join(sorted(path.name for path in arguments.out.iterdir()))}")


def divide(config: ExperimentConfig, out: Path) -> None:
    """Write ``server``, ``node0``, ``node1``, … and ``partition.json``, the same split for a simulation, into ``out``.

    Raises ``ConfigError`` or ``DataError`` where the configuration's data cannot be divided so.
    """
    (source, _), data = sources_of(config), prepare(config)
    if data.places is None or data.places.public is None:
        raise DataError("data.public.dataset: public and private samples must be of one data set; set it to null")
    clients = [data.places.private[torch.cat([own.train, own.validation]).sort().values] for own in data.clients]
    _save(out / "server", source, data.places.public)
    np.save(out / "server/x_test.npy", _array(source.test_inputs))
    np.save(out / "server/y_test.npy", source.test_labels.numpy())
    for client, positions in enumerate(clients):
        _save(out / f"node{client}", source, positions)
    listed = replace(data, places=replace(data.places, listed=True))
    (out / "partition.json").write_text(partition_file(listed) or "", encoding="utf-8")


def _save(folder: Path, source: SampleSet, positions: Tensor) -> None:
    """The train samples at positions, in that order."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "x.npy", _array(source.train_inputs[positions]))
    np.save(folder / "y.npy", source.train_labels[positions].numpy())


def _array(samples: Any) -> npt.NDArray[Any]:
    if not isinstance(samples, Tensor):
        raise DataError("data.dataset: images, numbers and tokens can be divided so; choose a data set of such")
    return samples.numpy()
