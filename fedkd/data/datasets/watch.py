"""Shoulder exercises, recorded by a smartwatch; a time series with people as clients."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from fedkd.core.errors import DataError
from fedkd.data.source import DataSource, OtherLabels, SampleSet


@dataclass(frozen=True)
class Watch(DataSource):
    """A smartwatch in shoulder exercises (Burns et al. 2018, arXiv:1802.01489): which of seven is it?

    ``steps`` of acceleration and rotation, 50 a second, are a sample [6, steps]; ten people's 140 recordings are cut
    so. Each person is a client by nature; those of ``test_people`` are the test set and nobody's client. ``side``
    is another label: which of the two shoulders. The data are in the package seglearn.
    """

    installed_by = "pip install 'fedkd[watch]'"
    steps: Annotated[int, Field(ge=10, le=900)] = 100
    test_people: Annotated[tuple[Annotated[int, Field(ge=1, le=10)], ...], Field(min_length=1, max_length=9)] = (9, 10)

    def load(self, root: Path) -> SampleSet:
        try:
            from seglearn.datasets import load_watch
        except ImportError as error:
            raise DataError(
                f"data.dataset: watch needs the package seglearn, which is not installed ({error}); run "
                f"`{self.installed_by}`"
            ) from error
        found = load_watch()
        samples, labels, people, sides = [], [], [], []
        for recording, label, person, side in zip(*(found[key] for key in ("X", "y", "subject", "side")), strict=True):
            count = len(recording) // self.steps
            cut = np.asarray(recording[: count * self.steps], dtype=np.float32).reshape(count, self.steps, -1)
            samples.append(torch.from_numpy(cut).transpose(1, 2))
            labels += [int(label)] * count
            people += [int(person)] * count
            sides += [int(side)] * count
        inputs, numbers, whose = torch.cat(samples), torch.tensor(labels), torch.tensor(people)
        shoulders = torch.tensor(sides)
        tested = torch.isin(whose, torch.tensor(self.test_people))
        names, clients = whose[~tested].unique(return_inverse=True)
        return SampleSet(
            inputs[~tested].contiguous(),
            numbers[~tested] - numbers.min(),
            inputs[tested].contiguous(),
            numbers[tested] - numbers.min(),
            tuple(map(str, found["y_labels"])),
            train_clients=clients,
            client_names=tuple(f"person {name}" for name in names.tolist()),
            other_labels={"side": OtherLabels(shoulders[~tested], shoulders[tested], ("0", "1"))},
        )

    def available(self, root: Path) -> bool:
        from importlib.util import find_spec

        return find_spec("seglearn") is not None
