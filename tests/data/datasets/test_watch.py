"""A smartwatch's recordings, cut into samples."""

import sys
from pathlib import Path

import pytest
import torch

from fedkd.core.errors import DataError
from fedkd.data.datasets.watch import Watch


def test_samples_are_stretches_of_recordings_and_people_are_clients() -> None:
    from seglearn.datasets import load_watch

    raw, found = load_watch(), Watch(steps=200).load(Path())
    first = next(index for index, person in enumerate(raw["subject"]) if person not in {9, 10})
    assert torch.equal(found.train_inputs[:1][0].T, torch.from_numpy(raw["X"][first][:200]).float())
    assert found.client_names == tuple(f"person {person}" for person in range(1, 9))
    assert found.train_clients is not None
    for person in range(1, 9):
        own = [len(each) // 200 for each, whose in zip(raw["X"], raw["subject"], strict=True) if whose == person]
        assert int((found.train_clients == person - 1).sum()) == sum(own)
    tested = [len(each) // 200 for each, whose in zip(raw["X"], raw["subject"], strict=True) if whose in {9, 10}]
    assert len(found.test_labels) == sum(tested), "nobody who is tested is trained on"
    assert len(found.class_names) == 7


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "seglearn.datasets", None)
    with pytest.raises(DataError, match=r"watch needs the package seglearn.*pip install 'fedkd\[watch\]'"):
        Watch().load(Path())
