"""Reference results: the shipped ones are sound, bad ones are refused in full, and the script measures and compares."""

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml
from studies import published_partitions, reproductions
from studies.reference_results import ACCURACIES, LEADS, ReferenceResult, absent_data, read_reference_result
from studies.run_figures import digested_accuracy, figures_of

from fedkd.app.checks import composition_faults
from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.core.errors import ConfigError, RunError
from fedkd.core.samples import SampleSpec
from fedkd.experiment import Experiment
from fedkd.models import build_model
from fedkd.results.report.run_log import RunLog
from tests.support import ROOT
from tests.support.scripts_run import run_script

FILES = sorted((ROOT / "configs/reproductions").glob("*.yaml"))
BLOCK = {
    "title": "a tiny setting",
    "source": "nobody 2020",
    "published": 50.0,
    "measure": "student",
    "band": [0.0, 100.0],
    "why": "any accuracy will do",
    "differs": ["everything"],
    "seeds": [0, 1],
}
TINY = {
    "rounds": 1,
    "data": {"dataset": "digits", "private_size": 60, "public": {"size": 30, "labelled": 0}},
    "clients": {"count": 2},
    "student": {"model": {"name": "mlp", "hidden": [8]}},
    "strategy": "mean_probabilities",
    "distillation": {"steps": 2, "balancer": {"name": "fixed", "value": 1.0}},
}


def write_reference(path: Path, changes: object = (), config: dict[str, object] = TINY) -> Path:
    """A file with the tiny experiment and its reference result, changed."""
    path.write_text(yaml.safe_dump({**config, "reference": {**BLOCK, **dict(changes)}}), encoding="utf-8")  # type: ignore[call-overload]
    return path


def problems_of(path: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read_reference_result(path)
    return caught.value.problems


def test_there_are_reference_results() -> None:
    assert {"fedavg_pfllib", "ds_fl_ratio", "cfd_ratio", "feddf_cifar10"} <= {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_reference_result_is_sound(path: Path) -> None:
    reference, config = read_reference_result(path)
    assert composition_faults(Experiment.of(config)) == []
    low, high = reference.band
    if reference.measure in ACCURACIES:
        assert 0 <= low <= reference.published <= high <= 100
        assert high - low <= 10, "so wide a band says nothing"
    elif reference.measure in LEADS:
        assert high - low <= 10, "so wide a band says nothing"
    else:
        assert 0 < low <= reference.published <= high < 1
    assert "arXiv" in reference.source or "OpenReview" in reference.source
    assert "//" not in reference.source
    assert reference.differs


def test_the_ds_fl_reference_result_is_about_as_many_bytes_as_it_says() -> None:
    reference, config = read_reference_result(ROOT / "configs/reproductions/ds_fl_ratio.yaml")
    model = build_model(config.student.model, SampleSpec((1, 28, 28)), 10, torch.Generator().manual_seed(0))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert reference.published == pytest.approx(4 * 10 * 1000 / (4 * 2_760_228), rel=1e-4)
    # One byte of each message says how it is coded.
    assert reference.met((1 + 4 * 10 * config.data.public.size) / (4 * parameters))
    assert not reference.met(0.5 * reference.published)


def test_a_reference_result_is_no_part_of_the_experiment_and_not_inherited(tmp_path: Path) -> None:
    base = write_reference(tmp_path / "base.yaml")
    child = tmp_path / "child.yaml"
    child.write_text("extends: base.yaml\nrounds: 2\n", encoding="utf-8")
    plain = tmp_path / "plain.yaml"
    plain.write_text(yaml.safe_dump({**TINY, "rounds": 2}), encoding="utf-8")
    assert load_config(child) == load_config(plain)
    assert read_reference_result(base)[0].title == "a tiny setting"
    (problem,) = problems_of(child)
    assert problem.startswith("child.yaml: reference: must be a mapping with the keys title, source")


def test_an_extending_file_takes_its_settings_from_the_base_and_its_reference_from_itself(tmp_path: Path) -> None:
    write_reference(tmp_path / "base.yaml")
    child = write_reference(tmp_path / "child.yaml", {"published": 60.0}, {"extends": "base.yaml", "rounds": 2})
    reference, config = read_reference_result(child)
    assert reference.published == 60.0
    assert (config.rounds, config.clients.count) == (2, 2)


def test_all_faults_of_a_reference_result_and_its_experiment_are_told_at_once(tmp_path: Path) -> None:
    block = {**BLOCK, "measure": "loss", "band": [60, 55], "titel": "x", "seeds": [-1], "differs": "everything"}
    del block["why"]
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({**TINY, "rounds": 0, "reference": block}), encoding="utf-8")
    text = "\n".join(problems_of(path))
    for part in (
        "bad.yaml: reference.why: every reference result needs it; add it",
        "reference.titel: unknown key, got 'x'; did you mean 'title'?",
        "reference.measure: input should be 'student'",
        "got 'loss'",
        "reference.band: its first end must be below its second, got [60, 55]",
        "reference.seeds.0: input should be greater than or equal to 0, got -1",
        "reference.differs: input should be a valid tuple, got 'everything'",
        "rounds: input should be greater than or equal to 1, got 0",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"band": [51.0, 55.0]}, "reference.band: must hold the published figure 50, got [51, 55]"),
        ({"band": [0.0, float("nan")]}, "reference.band.1: input should be a finite number"),
        ({"band": [1.0]}, "reference.band"),
        ({"published": "much"}, "reference.published: input should be a valid number"),
        ({"seeds": []}, "reference.seeds"),
        ({"seeds": [1, 1]}, "reference.seeds: each may be listed once"),
        ({"source": ""}, "reference.source"),
    ],
)
def test_a_bad_value_is_named(changes: dict[str, object], part: str, tmp_path: Path) -> None:
    (problem,) = problems_of(write_reference(tmp_path / "bad.yaml", changes))
    assert part in problem


def test_parts_that_do_not_fit_are_told_for_the_run_to_compare_with_too(tmp_path: Path) -> None:
    models = {"clients": {"count": 2, "models": ["lenet5", "mlp"], "rule": "own_model"}}
    path = write_reference(
        tmp_path / "mixed.yaml",
        {"measure": "megabytes_up_ratio_to_fedavg", "published": 0.5, "band": [0.0, 1.0]},
        {**TINY, **models},
    )
    (problem,) = problems_of(path)
    assert "must share its architecture" in problem


def reference(**changes: object) -> ReferenceResult:
    return ReferenceResult(**{**BLOCK, "band": (40.0, 60.0), "differs": (), **changes})  # type: ignore[arg-type]


def test_a_figure_is_taken_from_what_a_run_came_to() -> None:
    found = {"accuracy": {"student": [0.125, 0.375, 0.25], "clients_test": [0.5]}, "bytes_up": 300, "failures": 0}
    assert reference().measured(found) == 25.0
    assert reference(last_rounds=2).measured(found) == 31.25
    assert reference(measure="clients_test", last_rounds=2).measured(found) == 50.0
    lead = reference(measure="student_lead_over_fedavg", last_rounds=2)
    assert lead.measured(found, {"accuracy": {"student": [0.0, 0.5, 0.5]}}) == 31.25 - 50.0
    with pytest.raises(RunError, match="needs a second run"):
        lead.measured(found)
    ratio = reference(measure="megabytes_up_ratio_to_fedavg")
    assert ratio.measured(found, {"bytes_up": 1200, "failures": 0}) == 0.25
    with pytest.raises(RunError, match="needs a second run"):
        ratio.measured(found)
    # A client that failed has sent nothing: that is no saving.
    with pytest.raises(RunError, match="2 failed reports sent nothing"):
        ratio.measured({**found, "failures": 2}, {"bytes_up": 1200, "failures": 0})
    with pytest.raises(RunError, match="no accuracy of the kind 'clients_own'"):
        reference(measure="clients_own").measured(found)


def test_clients_count_alike_or_by_their_samples(tmp_path: Path) -> None:
    data = {"dataset": "digits", "private_size": 300, "client_validation": 0.25, "public": {"size": 60, "labelled": 0}}
    data["partition"] = {"scheme": "quantity", "alpha": 0.5}
    config = load_config({**TINY, "rounds": 2, "data": data, "clients": {"count": 3}})
    run_experiment(config, tmp_path)
    accuracy = figures_of(RunLog.read(tmp_path))["accuracy"]
    sizes = [own.validation.numel() for own in Experiment.of(config).data.clients]
    assert len(set(sizes)) > 1
    lines = (tmp_path / "clients.csv").read_text(encoding="utf-8").splitlines()
    rows = [row for row in csv.DictReader(lines) if row["round"] == "2"]
    shares = [float(row["validation_accuracy"]) for row in rows]
    assert accuracy["clients_own"][-1] == pytest.approx(sum(shares) / 3)
    pooled = sum(share * size for share, size in zip(shares, sizes, strict=True)) / sum(sizes)
    assert accuracy["clients_own_pooled"][-1] == pytest.approx(pooled)
    assert len(accuracy["student"]) == 2
    assert "clients_test" not in accuracy


@pytest.mark.parametrize("epochs", [0, 40])
def test_clients_are_measured_when_they_have_digested_and_not_trained_again(epochs: int, tmp_path: Path) -> None:
    # One class each: what a client knows of the others it has from what the server says of the public samples.
    config = load_config(
        {
            **TINY,
            "data": {
                "dataset": "digits",
                "partition": {"scheme": "pathological", "classes_per_client": 1},
                "public": {"size": 400, "labelled": 300},
            },
            "clients": {
                "count": 10,
                "measure_test": True,
                "rule": {"name": "own_model", "digest_epochs": epochs, "digest_learning_rate": 0.1},
            },
            "distillation": {"steps": 300, "balancer": {"name": "fixed", "value": 0.0}},
            "student": {"model": {"name": "mlp", "hidden": [16]}, "rule": {"name": "distil", "consensus": "student"}},
        }
    )
    run_experiment(config, tmp_path)
    state = sorted(path.stat().st_mtime_ns for path in tmp_path.glob("client_state/*/*"))
    trained = figures_of(RunLog.read(tmp_path))["accuracy"]["clients_test"][0]
    assert trained == pytest.approx(0.1, abs=0.05)
    assert digested_accuracy(tmp_path) == (pytest.approx(trained) if epochs == 0 else pytest.approx(0.8, abs=0.15))
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.glob("client_state/*/*")) == state


def test_clients_who_are_told_nothing_on_public_samples_digest_nothing(tmp_path: Path) -> None:
    run_experiment(load_config({**TINY, "clients": {"count": 2, "rule": "broadcast"}}), tmp_path)
    with pytest.raises(RunError, match="clients_digested is about clients who digest answers"):
        digested_accuracy(tmp_path)


@pytest.mark.parametrize("name", published_partitions.PARTITIONS)
def test_the_shipped_partitions_are_those_of_the_published_settings(name: str) -> None:
    made = published_partitions.text(name)
    assert (ROOT / f"configs/reproductions/{name}.json").read_text(encoding="utf-8") == made
    counts = published_partitions.PARTITIONS[name]()
    assert counts.sum(axis=0).tolist() == [6000 if name == "fedcache" else 7000] * 10
    if name == "pfllib_pathological":
        assert (counts > 0).sum(axis=1).tolist() == [2] * 20
    kept = torch.tensor(json.loads(made)["class_counts"])
    assert int(kept.sum(dim=0).max()) <= published_partitions.KEPT
    assert int(kept.sum(dim=1).min()) > 10


def test_the_ends_of_the_band_belong_to_it() -> None:
    assert [reference().met(value) for value in (39.99, 40.0, 60.0, 60.01)] == [False, True, True, False]


def test_data_that_are_elsewhere_are_named(tmp_path: Path) -> None:
    path = write_reference(
        tmp_path / "elsewhere.yaml",
        config={**TINY, "data": {"dataset": "cifar10", "root": str(tmp_path), "public": {"labelled": 0}}},
    )
    assert absent_data(read_reference_result(path)[1]) == ["cifar10"]
    assert absent_data(read_reference_result(write_reference(tmp_path / "here.yaml"))[1]) == []


def test_the_script_runs_and_compares_reference_results_and_resumes(tmp_path: Path) -> None:
    write_reference(tmp_path / "plain.yaml")
    missed = write_reference(tmp_path / "missed.yaml", {"published": 99.9, "band": [99.8, 100.0], "seeds": [0]})
    ratio = {"measure": "megabytes_up_ratio_to_fedavg", "published": 0.5, "band": [0.492, 0.51], "seeds": [0]}
    write_reference(tmp_path / "ratio.yaml", ratio)
    lead = {"measure": "student_lead_over_fedavg", "published": 0.0, "band": [-100, 100], "also": ["student"]}
    write_reference(tmp_path / "lead.yaml", {**lead, "remark": "there is little data"})
    write_reference(
        tmp_path / "absent.yaml",
        config={**TINY, "data": {"dataset": "cifar10", "root": str(tmp_path), "public": {"labelled": 0}}},
    )
    files = [str(tmp_path / f"{name}.yaml") for name in ("plain", "missed", "ratio", "absent", "lead")]
    command = [*files, "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs"), "--workers", "1"]
    assert "below the band" in run_script("scripts/reproduce.py", *command)
    report = tmp_path / "out/reproductions.json"
    rows = {row["name"]: row for row in json.loads(report.read_text())["references"]}

    assert rows["plain"]["met"] is True
    assert len(rows["plain"]["values"]) == 2
    assert rows["plain"]["mean"] == pytest.approx(sum(rows["plain"]["values"]) / 2)
    assert rows["plain"]["ci95"] is not None
    assert rows["missed"]["met"] is False
    assert rows["missed"]["ci95"] is None
    # 30 answers of 10 float32 and a byte on how they are coded; 64·8 + 8 + 8·10 + 10 parameters of float32.
    assert rows["ratio"]["values"] == [(1 + 30 * 10 * 4) / (4 * 610)]
    assert rows["ratio"]["met"] is True
    assert rows["ratio"]["curves"] == {}
    curves = rows["lead"]["curves"]
    assert rows["lead"]["values"] == [
        ours[-1] - theirs[-1] for ours, theirs in zip(curves["student"], curves["fedavg"], strict=True)
    ]
    assert rows["lead"]["beside"]["student"][0] == pytest.approx(rows["plain"]["mean"])
    assert rows["absent"]["met"] is None
    assert rows["absent"]["not_run"] == "cifar10 not on this machine"

    with (tmp_path / "out/reproductions.csv").open() as file:
        verdicts = {row["name"]: row["met"] for row in csv.DictReader(file)}
    assert verdicts == {"plain": "True", "missed": "False", "ratio": "True", "absent": "", "lead": "True"}
    assert (tmp_path / "out/reproductions.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "out/reproductions.md").read_text()
    for part in (
        "| `ratio` | a tiny setting | 0.5 | 0.4922 | 1 | 0.492 to 0.51 | met |",
        "- everything",
        "nobody 2020",
        "Remark: there is little data.",
        "Beside it: accuracy of the server's student on the test set, ",
    ):
        assert part in text
    assert "no figure: cifar10" in text

    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/summary.json")}
    assert len(finished) == 9
    before = report.read_text()
    write_reference(missed, {"published": 99.9, "band": [99.8, 100.0], "seeds": [0]}, {**TINY, "rounds": 2})
    assert reproductions.main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert len(list(tmp_path.glob("runs/*/summary.json"))) == 10, "the changed file alone is run again"
    assert report.read_text() != before


def test_what_is_finished_is_told_without_running_more(tmp_path: Path) -> None:
    begun, waiting = (str(write_reference(tmp_path / f"{name}.yaml")) for name in ("begun", "waiting"))
    where = ["--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs"), "--workers", "1"]
    assert reproductions.main([begun, "--seeds", "1", *where]) == 0
    assert reproductions.main([begun, waiting, "--finished", *where]) == 0
    rows = json.loads((tmp_path / "out/reproductions.json").read_text())["references"]
    assert [(row["name"], row["seeds"], row["not_run"]) for row in rows] == [
        ("begun", [1], None),
        ("waiting", [], "no seed is finished"),
    ]
    assert len(list(tmp_path.glob("runs/*/summary.json"))) == 1


def test_the_faults_of_all_reference_results_are_told_and_none_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_reference(tmp_path / "good.yaml")
    write_reference(tmp_path / "one.yaml", {"measure": "loss"})
    write_reference(tmp_path / "two.yaml", {"band": [1, 0]})
    files = [str(tmp_path / f"{name}.yaml") for name in ("good", "one", "two")]
    where = ["--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    assert reproductions.main([*files, "no_such_file", *where]) == 1
    told = capsys.readouterr().err
    for part in ("one.yaml: reference.measure", "two.yaml: reference.band", "no_such_file: no such file"):
        assert part in told
    assert not list(tmp_path.glob("runs/*/summary.json"))
    with pytest.raises(SystemExit):
        reproductions.main(["--seeds", "0,0", *where])
    assert "--seeds: must be different numbers from 0 up" in capsys.readouterr().err
