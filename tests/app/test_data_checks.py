"""What is asked of samples of another kind is refused before anything is trained."""

from pathlib import Path

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
