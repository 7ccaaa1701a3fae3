"""Exported students: used without fedkd they answer as the student does, and what does not is not written."""

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
import torch
from safetensors import safe_open
from torch import nn
from typer.testing import CliRunner

from fedkd.app.cli import main as cli
from fedkd.app.distil import distil_network
from fedkd.app.export import FORMATS, export_run
from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.config.values import Plugin
from fedkd.core.errors import ConfigError, FolderError, RunError
from fedkd.core.samples import SampleSpec
from fedkd.data.datasets.digits import Digits
from fedkd.models import build_model
from fedkd.results.records import Summary
from fedkd.server.finished import Finished

SMALL = {
    "rounds": 2,
    "data": {"private_size": 300, "public": {"size": 200, "labelled": 60}},
    "clients": {"count": 3},
    "student": {"model": "cnn"},
    "distillation": {"steps": 40},
    "engine": {"kind": "inline"},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    out = tmp_path_factory.mktemp("finished") / "run"
    summary = run_experiment(load_config(SMALL), out).summary
    done = CliRunner().invoke(cli.app, ["export", str(out)])
    assert done.exit_code == 0, done.output
    assert "batches of 1, 3, 32" in " ".join(done.output.split())
    return out, summary


def test_onnx_and_its_facts_are_all_that_raw_pixels_take(finished: tuple[Path, Summary]) -> None:
    out, summary = finished
    session = onnxruntime.InferenceSession(out / "export/student.onnx")
    facts = json.loads(session.get_modelmeta().custom_metadata_map["fedkd"])
    raw = Digits().load(Path())
    assert facts["classes"] == [str(digit) for digit in range(10)]
    assert facts["sample"] == {"shape": [1, 8, 8], "type": "float32", "vocabulary": None}
    assert facts["student_sha256"] == summary.student_sha256
    pixels = raw.test_inputs[:].numpy().astype("float32")
    inputs = pixels * facts["pixels"]["scale"][0] + facts["pixels"]["offset"][0]
    (logits,) = session.run([facts["output"]], {facts["input"]: inputs.astype("float32")})
    right = (torch.from_numpy(logits).argmax(dim=1) == raw.test_labels).float().mean()
    assert summary.student_accuracy is not None
    assert float(right) == pytest.approx(summary.student_accuracy, abs=1.5 / len(inputs))


def test_the_other_formats_hold_the_same_network(finished: tuple[Path, Summary]) -> None:
    out, _ = finished
    found = Finished.of(out)
    experiment, student = found.experiment, found.student()
    assert student is not None
    inputs = experiment.data.test_inputs[:7]
    extra = {"fedkd.json": ""}
    program = torch.export.load(out / "export/student.pt2", extra_files=extra)
    with torch.no_grad():
        for count in (1, 7):
            torch.testing.assert_close(program.module()(inputs[:count]), student(inputs[:count]))
    with safe_open(out / "export/student.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["fedkd"]) == json.loads(extra["fedkd.json"])
        for name, tensor in student.state_dict().items():
            assert torch.equal(file.get_tensor(name), tensor)


def test_the_student_of_a_distillation_is_exported_to_the_file_that_is_named(tmp_path: Path) -> None:
    changes = ("student.model={name: mlp, hidden: [4]}", "teacher={model: mlp, epochs: 1}", "distillation.steps=2")
    found = distil_network(load_config(SMALL, changes), tmp_path / "run")
    (written,) = export_run(tmp_path / "run", "safetensors", tmp_path / "here/net.safetensors")
    assert written.path == tmp_path / "here/net.safetensors"
    with safe_open(written.path, framework="pt") as file:
        for name, tensor in found.student().state_dict().items():
            assert torch.equal(file.get_tensor(name), tensor)
    shutil.copy(tmp_path / "run/teacher.pt", tmp_path / "run/student.pt")
    with pytest.raises(FolderError, match=r"student\.pt was changed since it was written"):
        export_run(tmp_path / "run", "safetensors")
    (tmp_path / "run/result.json").unlink()
    with pytest.raises(FolderError, match="not finished; fedkd distill"):
        export_run(tmp_path / "run", "safetensors")


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("transformer", SampleSpec((6,), 50)),
        ("gru", SampleSpec((3, 5))),
        ("attention", SampleSpec((6,), 50)),
        ("fixed_context", SampleSpec((3, 5))),
        ("resnet8", SampleSpec((3, 12, 12))),
    ],
)
def test_networks_for_texts_series_and_images_are_exported_for_batches_of_any_size(
    name: str, sample: SampleSpec
) -> None:
    model = build_model(Plugin(name), sample, 4, torch.Generator()).eval()
    samples = sample.made_up(9)
    for each in FORMATS.values():
        network = each.read(each.write(copy.deepcopy(model), samples[:2], {}), copy.deepcopy(model))
        with torch.no_grad():
            for count in (1, 9):
                torch.testing.assert_close(network(samples[:count]), model(samples[:count]))


def test_a_file_that_answers_otherwise_is_not_written(
    finished: tuple[Path, Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Off(nn.Module):
        def __init__(self, student: nn.Module) -> None:
            super().__init__()
            self.student = student

        def forward(self, samples: torch.Tensor) -> torch.Tensor:
            # As a program does in which the number of samples was fixed when it was made.
            logits: torch.Tensor = self.student(samples)
            return logits + (1e-3 if len(samples) > 2 else 0.0)

    wrong = replace(FORMATS["safetensors"], read=lambda content, model: Off(model))
    monkeypatch.setitem(FORMATS, "safetensors", wrong)
    with pytest.raises(RunError, match=r"answers otherwise than the student, by 0\.0e\+00 in batches of 1"):
        export_run(finished[0], "safetensors", tmp_path / "out.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named_with_what_installs_them(
    finished: tuple[Path, Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedkd.app.export._formats.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"onnx needs onnx, onnxruntime, onnxscript.*pip install 'fedkd\[export\]'"):
        export_run(finished[0], "onnx")


def test_folders_without_a_finished_student_are_refused(finished: tuple[Path, Summary], tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="holds no run"):
        export_run(tmp_path)
    shutil.copytree(finished[0], tmp_path / "run")
    (tmp_path / "run/summary.json").unlink()
    with pytest.raises(FolderError, match="not finished; fedkd run --resume"):
        export_run(tmp_path / "run")
    config = load_config(SMALL, ["rounds=1", "student.rule=label_means", "clients.rule=label_logits"])
    run_experiment(config, tmp_path / "means")
    with pytest.raises(FolderError, match="no model on the server"):
        export_run(tmp_path / "means")
