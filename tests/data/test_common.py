"""What nodes are told of the server's data: whole, and known by its digest whatever kind of samples there are."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedkd.config.load import parse_config
from fedkd.config.schema import ExperimentConfig
from fedkd.core.errors import ConfigError, FolderError
from fedkd.data import DataSource, Encoder, Encoding, SampleSet
from fedkd.data._preparation import Preparation
from fedkd.data.common import CommonData
from fedkd.data.home import home_data
from fedkd.data.roles import prepare, sources_of

WORDS = ("good", "bad", "film", "plot", "actor")
ROWS = 24


def images(where: Path, seed: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    np.savez(where.with_suffix(".npz"), x=draw.integers(0, 256, (ROWS, 6, 6), dtype=np.uint8), y=np.arange(ROWS) % 3)
    return {"name": "npz", "path": str(where.with_suffix(".npz"))}


def tokens(where: Path, seed: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    np.savez(where.with_suffix(".npz"), x=draw.integers(1, 9, (ROWS, 5)), y=np.arange(ROWS) % 3)
    return {"name": "npz", "path": str(where.with_suffix(".npz")), "tokens": True}


def texts(where: Path, seed: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    lines = [{"text": " ".join(draw.choice(WORDS, 4)), "label": "abc"[row % 3]} for row in range(ROWS)]
    where.with_suffix(".jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return {"name": "text", "path": str(where.with_suffix(".jsonl")), "text": "text", "label": "label"}


def table(where: Path, seed: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    with where.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["age", "town", "label"])
        for row in range(ROWS):
            age = "" if row == 5 else f"{draw.normal():.3f}"
            writer.writerow([age, ["", "Rome", "Oslo"][draw.integers(3)], "abc"[row % 3]])
    return {"name": "csv", "path": str(where.with_suffix(".csv")), "label": "label"}


KINDS = (images, tokens, texts, table)


def experiment(dataset: dict[str, Any]) -> ExperimentConfig:
    data = {"dataset": dataset, "public": {"size": 12, "labelled": 6}, "partition": {"scheme": "at_home"}}
    return parse_config({"data": data, "clients": {"count": 2, "max_examples": 50}})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_node_prepares_its_samples_as_the_server_would_and_takes_all_of_them(kind: Any, tmp_path: Path) -> None:
    config = experiment(kind(tmp_path / "server", 1))
    named = kind(tmp_path / "own", 2)["path"]
    common = CommonData.of(config)
    (tmp_path / "common.npz").write_bytes(common.to_bytes())
    received = CommonData.read(tmp_path / "common.npz", common.digest)
    found, server = home_data(config, 1, named, received), prepare(config)
    assert found.public.digest == server.public.digest == common.public_digest
    assert (found.spec, found.class_names) == (server.spec, server.class_names)
    assert (len(server.clients), len(server.labels)) == (0, 0)
    assert [each.train.numel() + each.validation.numel() for each in found.clients] == [0, ROWS], "none for testing"
    own = experiment(kind(tmp_path / "own", 2) | {"test_share": 0.0})
    source, _ = sources_of(own)
    expected = Preparation(config, sources_of(config)[0], common.public)(source.train_inputs[torch.arange(ROWS)])
    assert torch.equal(found.inputs[:], expected)
    assert found.labels.tolist() == [row % 3 for row in range(ROWS)], "in their order"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_digest_tells_whether_it_is_the_same(kind: Any, tmp_path: Path) -> None:
    first, again, other = (CommonData.of(experiment(kind(tmp_path / "server", seed))) for seed in (1, 1, 2))
    assert first.digest == again.digest != other.digest
    (tmp_path / "common.npz").write_bytes(first.to_bytes())
    with pytest.raises(FolderError, match="is not what it is named after"):
        CommonData.read(tmp_path / "common.npz", other.digest)
    (tmp_path / "common.npz").write_bytes(first.to_bytes()[:-20])
    with pytest.raises(FolderError, match="is damaged"):
        CommonData.read(tmp_path / "common.npz", first.digest)


class _Lengths(Encoding):
    def __call__(self, raw: Any) -> torch.Tensor:
        return torch.tensor([[float(len(each)), 1.0] for each in raw])


class _ByLength(Encoder):
    def fit(self, public: Any) -> Encoding:
        return _Lengths()


@dataclass(frozen=True)
class _Lists:
    rows: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, positions: torch.Tensor | slice) -> list[bytes]:
        chosen = range(len(self.rows))[positions] if isinstance(positions, slice) else positions.tolist()
        return [self.rows[each] for each in chosen]


@dataclass(frozen=True)
class Odd(DataSource):
    """Samples of a kind of their own."""

    def load(self, root: Path) -> SampleSet:
        rows, labels = _Lists(tuple(bytes(row) for row in range(ROWS))), torch.arange(ROWS) % 3
        return SampleSet(rows, labels, rows, labels, ("a", "b", "c"), encoder=_ByLength())


def test_samples_that_cannot_be_sent_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.dataset: nodes are sent public samples that are tensors.*as list"):
        CommonData.of(experiment({"name": "tests.data.test_common:Odd"}))
