"""What is asked of samples of another kind is refused before anything is trained."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fedkd.app.checks import check
from fedkd.config.load import load_config
from fedkd.core.errors import ConfigError
from fedkd.data import DataSource, SampleSet


class Rows(DataSource):
    """A table of three classes."""

    def load(self, root: Path) -> SampleSet:
        labels = torch.arange(90) % 3
        inputs = torch.randn(90, 4, generator=torch.Generator().manual_seed(0)) + labels[:, None]
        return SampleSet(inputs[:60], labels[:60], inputs[60:], labels[60:], ("a", "b", "c"))


def config_of(*overrides: str) -> list[str]:
    small = ["clients.count=2", "data.public.size=20", "data.public.labelled=10", "student.model=mlp"]
    return [f"data.dataset={__name__}:Rows", "engine.kind=inline", *small, *overrides]


def test_tables_are_neither_mirrored_nor_viewed_from_aside() -> None:
    check(load_config({}, config_of()))
    with pytest.raises(ConfigError) as caught:
        check(load_config({}, config_of("distillation.augment=[flip]", "privacy.audit.views=2")))
    first, second = caught.value.problems
    assert first.startswith("distillation.augment: changes images")
    assert "[4] numbers, got ['flip']" in first
    assert second.startswith("privacy.audit.views: views are mirrored")
    assert second.endswith("set privacy.audit.views=1")


def test_a_client_is_dealt_no_more_than_it_may_have() -> None:
    check(load_config({}, config_of("clients.max_examples=30")))
    with pytest.raises(ConfigError, match=r"clients\.max_examples: must not be below the \d+ private training.*got 5"):
        check(load_config({}, config_of("clients.max_examples=5")))


def test_without_test_samples_there_is_no_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=np.arange(80.0).reshape(40, 2), y=np.arange(40) % 2)
    dataset = f"data.dataset={{name: npz, path: {tmp_path}/own.npz, test_share: 0}}"
    with pytest.raises(ConfigError, match=r"data\.dataset: npz has no test samples.*raise its test_share"):
        check(load_config({}, [dataset, *config_of()[1:]]))
