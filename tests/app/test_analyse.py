"""``fedkd analyse`` on runs of every kind: what can be known is told, what cannot is left out with the reason."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fedkd.analysis import Analysis, Finding, Subject
from fedkd.app.analyse import analyse_run
from fedkd.app.cli import main as cli
from fedkd.app.distil import distil_network
from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.core import plugins
from fedkd.core.errors import ConfigError, FedkdError, FolderError

SMALL = {
    "rounds": 1,
    "data": {"private_size": 300, "public": {"size": 150, "labelled": 60}},
    "clients": {"count": 3},
    "student": {"model": {"name": "mlp", "hidden": [16]}},
    "distillation": {"steps": 10},
    "controls": ["public_only"],
    "engine": {"kind": "inline"},
}
EVERYTHING = {"calibration", "uncertainty", "probes", "saliency", "representations", "curvature", "risk"}
KINDS: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "a student that is sent to all": ((), set()),
    "networks of their own": (("clients.rule=own_model", "clients.models=[cnn,mlp]"), set()),
    "a secure sum": (("strategy=mean_probabilities", "privacy.secure_aggregation={}"), {"saliency"}),
    "noise in training": (("privacy.mechanism={name: dp_sgd, noise_multiplier: 1.0}",), set()),
    "one client": (("clients.count=1",), set()),
    "no validation samples": (("data.public.validation=0",), set()),
    "noise from elsewhere": (
        ("privacy.mechanism={name: dp_sgd, noise_multiplier: 1.0}", "privacy.entropy=system"),
        {"saliency", "curvature", "risk"},
    ),
    "averaged parameters": (
        ("clients.rule=parameters", "student.rule=average", "controls=[]"),
        {"curvature", "risk", "saliency"},
    ),
    "prototypes": (
        ("clients.rule=prototypes", "student.rule=label_means"),
        {"curvature", "risk", "saliency"},
    ),
}


def finished(out: Path, *changes: str) -> Path:
    run_experiment(load_config(SMALL, changes), out)
    return out


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("usual") / "run")


@pytest.mark.parametrize("kind", KINDS)
def test_what_can_be_known_of_a_run_is_told(kind: str, tmp_path: Path) -> None:
    changes, unknown = KINDS[kind]
    out = finished(tmp_path / "run", *changes)
    done = CliRunner().invoke(cli.app, ["analyse", str(out)])
    assert done.exit_code == 0, done.output
    found = json.loads((out / "analysis.json").read_text(encoding="utf-8"))
    assert set(plugins.names(plugins.ANALYSIS)) == EVERYTHING
    assert set(found["skipped"]) == unknown
    assert set(found["findings"]) == EVERYTHING - unknown
    page = (out / "analysis.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == len(found["findings"])
    assert all(f"<h2>{name}</h2>" in page for name in EVERYTHING)
    shown = re.sub(r"\s+", " ", done.output)
    for each in found["findings"].values():
        assert each["sentences"]
        assert each["caption"].endswith(".")
        assert re.sub(r"\s+", " ", each["sentences"][0]) in shown


def test_one_network_and_its_student_are_analysed(tmp_path: Path) -> None:
    config = load_config(SMALL, ["teacher={model: mlp, epochs: 2}", "controls=[]"])
    distilled = distil_network(config, tmp_path / "run")
    found = analyse_run(tmp_path / "run")
    assert found.skipped == {}
    assert set(found.findings) == EVERYTHING
    models = found.findings["calibration"].figures["models"]
    for name, key in {"teacher": "teacher", "student": "student", "without_teacher": "student_without_teacher"}.items():
        assert models[name]["accuracy"] == pytest.approx(distilled.result[f"{key}_accuracy"], abs=1e-9)


def test_what_others_found_before_stays_and_the_report_takes_it_up(usual: Path) -> None:
    analyse_run(usual, {"calibration": {}})
    analyse_run(usual, {"risk": {}})
    found = json.loads((usual / "analysis.json").read_text(encoding="utf-8"))
    assert set(found["findings"]) == {"calibration", "risk"}
    done = CliRunner().invoke(cli.app, ["report", str(usual)])
    assert done.exit_code == 0, done.output
    assert "<h3>calibration</h3>" in (usual / "report.html").read_text(encoding="utf-8")


def test_a_run_that_goes_on_is_to_be_analysed_again(tmp_path: Path) -> None:
    out = finished(tmp_path / "run")
    analyse_run(out, {"risk": {}})
    assert (
        "without_teacher"
        in json.loads((out / "analysis.json").read_text(encoding="utf-8"))["findings"]["risk"]["figures"]
    )
    more = load_config(SMALL, ["rounds=2", "controls=[]"])
    run_experiment(more, out, resume=True)
    assert [path.name for path in out.rglob("analysis*")] == []
    # The student without a teacher is one of a single round.
    assert "without_teacher" not in analyse_run(out, {"risk": {}}).findings["risk"].figures


def test_the_same_analysis_finds_the_same(usual: Path) -> None:
    first, second = (analyse_run(usual, {"uncertainty": {}, "probes": {}}) for _ in range(2))
    assert {name: found.figures for name, found in first.findings.items()} == {
        name: found.figures for name, found in second.findings.items()
    }


def test_an_edited_file_is_not_shown(usual: Path, tmp_path: Path) -> None:
    analyse_run(usual, {"risk": {}})
    path = usual / "analysis.json"
    before = path.read_text(encoding="utf-8")
    path.write_text(before.replace('"error"', '"terror"'), encoding="utf-8")
    try:
        with pytest.raises(FolderError, match=r"analysis\.json was changed.*repeat fedkd analyse"):
            analyse_run(usual, {"risk": {}})
    finally:
        path.write_text(before, encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["calibratoin"], "did you mean 'calibration'"),
        (["probes.layer=3"], "layers"),
        (["probes.layers=0"], "layers"),
        (["uncertainty.other=mnits"], "mnist"),
        (["uncertainty."], "NAME.OPTION=VALUE"),
        (["uncertainty.other.root=3"], "NAME.OPTION=VALUE"),
    ],
)
def test_what_is_asked_for_wrongly_is_refused_at_once(words: list[str], reason: str, usual: Path) -> None:
    done = CliRunner().invoke(cli.app, ["analyse", str(usual), *words])
    assert isinstance(done.exception, ConfigError)
    assert reason in str(done.exception)


def test_folders_without_a_finished_run_are_refused(usual: Path, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="holds no run"):
        analyse_run(tmp_path)
    out = finished(tmp_path / "run")
    (out / "summary.json").unlink()
    with pytest.raises(FolderError, match="not finished; fedkd run --resume"):
        analyse_run(out)
    (out / "config.yaml").write_text("seed: [", encoding="utf-8")
    with pytest.raises(FedkdError):
        analyse_run(out)


@dataclass(frozen=True)
class Mistaken(Analysis):
    """Returns no finding."""

    def measure(self, subject: Subject) -> Any:
        return {"figures": Finding}


def test_an_analysis_of_ones_own_that_finds_nothing_is_named(usual: Path) -> None:
    with pytest.raises(FedkdError, match=r"Mistaken\.measure must return Finding, got dict"):
        analyse_run(usual, {f"{__name__}:Mistaken": {}})
