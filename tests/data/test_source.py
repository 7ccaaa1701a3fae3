"""What a data source may return, and what it is told of the rest."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.core.errors import DataError, PluginError
from fedkd.data.roles import prepare
from fedkd.data.source import OtherLabels, SampleSet
from tests.support import ROOT


def parts(**changes: Any) -> dict[str, Any]:
    images, labels = torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
    good = {"train_inputs": images, "train_labels": labels, "test_inputs": images, "test_labels": labels}
    return {**good, "class_names": ("a", "b"), **changes}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"train_inputs": [[1, 2]]}, r"train_inputs: must be a tensor \[samples, \.\.\.\], got a list; convert it"),
        ({"train_inputs": torch.zeros(4, 1, 2, 2, dtype=torch.complex64)}, r"train_inputs: must be numbers"),
        ({"train_inputs": np.array(["a", "b", "c", "d"])}, r"train_inputs: must be numbers, got an array of <U1"),
        ({"train_inputs": torch.tensor([[-1], [0], [1], [2]])}, r"train_inputs: whole numbers are tokens.*got -1"),
        ({"test_inputs": torch.zeros(4, 1, 2, 3, dtype=torch.uint8)}, r"test_inputs: must have the shape of the train"),
        ({"test_inputs": torch.zeros(4, 1, 2, 2)}, r"test_inputs: must be torch\.uint8, as the train samples are"),
        ({"test_labels": torch.tensor([0, 1, 1])}, r"test_labels: must be one for each of the 4 test_inputs, got 3"),
        ({"train_labels": torch.full((4,), 2)}, r"train_labels: must lie in 0 to 1.*got 2 to 2; number them from 0"),
        ({"train_labels": torch.zeros(4)}, r"train_labels: must be int64 .*got torch\.float32 \[4\]; convert them"),
        ({"train_labels": torch.zeros(4, dtype=torch.int64)}, r"train_labels: must name two classes at least, got 1"),
        ({"train_clients": torch.tensor([0, 1, 2, 0]), "client_names": ("x", "y")}, r"train_clients: must lie in 0 to"),
        ({"train_clients": torch.tensor([0, 1]), "client_names": ("x", "y")}, r"train_clients: must be one for each"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(change: dict[str, Any], text: str) -> None:
    SampleSet(**parts())
    with pytest.raises(DataError, match=text):
        SampleSet(**parts(**change))


def test_other_labels_are_one_for_each_sample() -> None:
    labels = torch.tensor([0, 1, 2, 0])
    found = SampleSet(**parts(other_labels={"hue": OtherLabels(labels, labels, ("r", "g", "b"))}))
    assert found.other_labels["hue"].class_names == ("r", "g", "b")
    with pytest.raises(DataError, match=r"other_labels\['hue'\], test: must be one for each of the 4"):
        SampleSet(**parts(other_labels={"hue": OtherLabels(labels, labels[:3], ("r", "g", "b"))}))


def test_arrays_and_names_of_other_types_are_taken_where_they_are_clear() -> None:
    # Elsewhere, for here the declared types are enforced.
    code = """
import numpy as np
from fedkd.data import SampleSet

labels = np.array([0, 1, 1, 0], dtype=np.uint16)
found = SampleSet(np.zeros((4, 3), dtype=">f8"), labels, np.ones((4, 3)), labels, [0, 1])
print(found.train_inputs.dtype, found.train_labels.tolist(), found.class_names)
SampleSet(np.zeros((4, 3)), np.array(["x", "y", "x", "y"]), np.ones((4, 3)), labels, [0, 1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.strip() == "torch.float64 [0, 1, 1, 0] ('0', '1')"
    assert "DataError: train_labels: must be numbers, got an array of <U1; number texts in" in done.stderr
    tokens = SampleSet(**parts(train_inputs=torch.ones(4, 2).short(), test_inputs=torch.ones(4, 2).int()))
    assert tokens.train_inputs[:].dtype == torch.int64


SOURCE = """
import torch
from fedkd.data import DataSource, SampleSet

class Mine(DataSource):
    def load(self, root):
        draw = torch.Generator().manual_seed(0)
        labels = torch.arange(120) % 3
        inputs = torch.randn(120, 5, generator=draw) + 3 * labels[:, None]
        {returned}

class Empty(DataSource):
    pass

class Rootless(DataSource):
    def load(self):
        return None
"""


def own_source(folder: Path, returned: str) -> None:
    (folder / "my_source.py").write_text(SOURCE.format(returned=returned), encoding="utf-8")


def test_a_source_of_ones_own_needs_one_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_source(tmp_path, "return SampleSet(inputs[:90], labels[:90], inputs[90:], labels[90:], ('a', 'b', 'c'))")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "my_source", raising=False)
    config = load_config(
        {
            "data": {"dataset": "my_source:Mine", "public": {"size": 30, "labelled": 15}},
            "student": {"model": "mlp"},
            "clients": {"count": 2},
            "rounds": 1,
            "engine": {"kind": "inline"},
        }
    )
    found = run_experiment(config, tmp_path / "run").summary.student_accuracy
    assert found is not None
    assert found > 0.8
    with pytest.raises(Exception, match=r"Empty lacks load\(self, root: Path\) -> SampleSet; write what"):
        load_config({"data": {"dataset": "my_source:Empty"}})
    with pytest.raises(PluginError, match=r"'Rootless': load\(\) is given the folder.*write load\(self, root"):
        prepare(load_config({"data": {"dataset": "my_source:Rootless"}}))


def test_a_source_that_returns_something_else_is_told_what_to_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_source(tmp_path, "return inputs, labels")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "my_source", raising=False)
    with pytest.raises(PluginError, match=r"'Mine': load\(\) must return a fedkd\.data\.SampleSet, got a tuple"):
        prepare(load_config({"data": {"dataset": "my_source:Mine"}}))
