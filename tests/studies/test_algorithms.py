"""The comparison of algorithms, small: its tuning and its table."""

import json
from pathlib import Path

import pytest
from studies.algorithms import study, tuning
from studies.algorithms.settings import PRESETS, REFERENCE, SEARCH, Setting, shipped

from fedkd.config.load import load_config, to_mapping
from fedkd.config.shipped import config_names
from tests.support import ROOT
from tests.support.scripts_run import run_script

TUNED = ROOT / "docs/results/algorithms_tuning.json"


def test_every_shipped_algorithm_has_as_many_settings_all_of_them_sound() -> None:
    named = {name.removeprefix("algorithms/") for name in config_names() if name.startswith("algorithms/")}
    assert set(SEARCH) == {*named, REFERENCE}
    assert {len(settings) for settings in SEARCH.values()} == {4}
    for name, settings in SEARCH.items():
        assert settings[0] == {}
        configs = [load_config(shipped(name), values=setting) for setting in settings]
        assert len(set(map(repr, configs))) == 4, f"{name}: two settings are the same"


@pytest.mark.parametrize("preset", PRESETS)
def test_no_seed_of_the_table_is_tuned_with(preset: str) -> None:
    chosen = PRESETS[preset]
    assert not set(chosen.seeds) & set(chosen.tuning.seeds)
    for name in SEARCH:
        reported = study.configured(preset, None, name, chosen.seeds[0])
        trial = tuning.configured(preset, name, {}, chosen.tuning.seeds[0])
        source = trial.data.dataset.options
        assert (source["dataset"], source["seeds"]) == (reported.data.dataset.name, list(chosen.seeds))
        roles = (reported.data.public.size, reported.data.private_size)
        assert (source["public_size"], source["private_size"]) == roles


def test_a_trial_has_fewer_samples_and_as_many_steps() -> None:
    for name, setting, passes in (
        ("ds_fl", {}, {"digest_loss": "kl", "digest_epochs": 5}),
        ("fedmd", {"clients.rule.digest_epochs": 3}, {"digest_loss": "l1", "digest_epochs": 15, "pretrain_epochs": 5}),
        ("selective_fd", {}, {"quantile": 0.25, "base_options": {"digest_epochs": 5}}),
    ):
        trial = tuning.configured("full", name, setting, 100)
        assert trial.clients.rule.options == passes
        assert (trial.data.private_size, trial.clients.epochs) == (30_000 // 8, 8)
        assert (trial.data.public.size, trial.data.public.round_size) == (8000 // 5, 2000 // 5)
    assert tuning.configured("full", "fedgkt", {"student.rule.epochs": 3}, 100).student.rule.options == {"epochs": 24}


def test_the_best_mean_is_chosen_and_failures_count_as_nothing() -> None:
    def trials(*accuracies: float, student: bool) -> list[dict[str, float | None]]:
        return [{"student": each if student else None, "clients": each, "cpu_seconds": 1.0} for each in accuracies]

    settings: tuple[Setting, ...] = ({}, {"clients.learning_rate": 0.01}, {"clients.learning_rate": 0.1})
    failed = {"student": 0.0, "clients": 0.0, "failure": "diverged", "cpu_seconds": 1.0}
    found = tuning.tuned_of(
        settings, [trials(0.7, 0.7, student=True), trials(0.6, 0.8, student=True), [*trials(0.9, student=True), failed]]
    )
    assert (found["of"], found["chosen"]) == ("student", {})
    assert found["trials"][2]["failures"] == ["diverged"]
    found = tuning.tuned_of(settings[:2], [trials(0.6, student=False), trials(0.7, student=False)])
    assert (found["of"], found["chosen"]) == ("clients", {"clients.learning_rate": 0.01})


def test_a_tuned_configuration_is_the_shipped_one_with_what_was_chosen(tmp_path: Path) -> None:
    tuning.write_configs(tmp_path, {name: settings[-1] for name, settings in SEARCH.items()} | {"fedavg": {}})
    assert load_config(tmp_path / "fedavg.yaml") == load_config(shipped("fedavg"))
    for name in set(SEARCH) - {"fedavg"}:
        assert load_config(tmp_path / f"{name}.yaml") == load_config(shipped(name), values=SEARCH[name][-1])


@pytest.mark.skipif(not TUNED.exists(), reason="nothing has been tuned yet")
def test_the_tuned_configurations_are_those_that_tuning_chose() -> None:
    found = json.loads(TUNED.read_text())["algorithms"]
    assert set(found) == {path.stem for path in (ROOT / "configs/tuned").glob("*.yaml")}
    for name, each in found.items():
        tuned = load_config(ROOT / f"configs/tuned/{name}.yaml")
        assert to_mapping(tuned) == to_mapping(load_config(shipped(name), values=each["chosen"])), name


def test_the_algorithm_study_tunes_small_and_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--out", str(tmp_path), "--runs", str(tmp_path / "runs"), "--workers", "1"]
    tuned = ["--tuned", str(tmp_path / "tuned"), "--only", "fed_distill"]
    assert study.main([*where, *tuned]) == 1
    assert "fed_distill has not been tuned; run --tune first" in capsys.readouterr().err
    assert study.main(["--tune", *where, *tuned]) == 0
    report = json.loads((tmp_path / "algorithms_tuning.json").read_text())
    assert (report["seeds"], report["reporting_seeds"]) == ([100], [0])
    (found,) = report["algorithms"].values()
    assert [trial["setting"] for trial in found["trials"]] == list(SEARCH["fed_distill"])
    for index, trial in enumerate(found["trials"]):
        summary = json.loads((tmp_path / f"runs/small/tuning-fed_distill-{index}-100/summary.json").read_text())
        assert trial["accuracy"] == [summary["client_test_accuracy"]]
    assert found["chosen"] == max(found["trials"], key=lambda trial: trial["mean"])["setting"]
    chosen = load_config(tmp_path / "tuned/fed_distill.yaml")
    assert chosen == load_config(shipped("fed_distill"), values=found["chosen"])
    text = capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("summary.json")}
    assert study.main(["--tune", *where, *tuned]) == 0
    assert capsys.readouterr().out == text
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("summary.json")} == before


def test_the_algorithm_study_runs_small_and_adds_up(tmp_path: Path) -> None:
    where = ("--out", str(tmp_path), "--runs", str(tmp_path / "runs"), "--workers", "1", "--only")
    table = run_script("scripts/algorithm_study.py", *where, "fed_distill")
    report = json.loads((tmp_path / "algorithms.json").read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert set(rows) == {"fedavg", "fed_distill", REFERENCE}
    bars = {name: mean for name, (mean, _) in report["controls"].items()}
    students = {name: 100 * report["runs"][f"{name}-0"]["student"] for name in ("fedavg", REFERENCE)}
    for name, student in students.items():
        covered = (student - bars["public_only"]) / (bars["centralised"] - bars["public_only"])
        assert rows[name]["gap"][0] == pytest.approx(100 * covered)
        assert rows[name]["over_fedavg"][0] == pytest.approx(student - students["fedavg"])
        assert name in table
    # An algorithm without a server's model has no place in these columns.
    assert "student" not in rows["fed_distill"]
    for name, row in rows.items():
        (summary,) = (json.loads(path.read_text()) for path in (tmp_path / "runs").glob(f"*/{name}-0-*/summary.json"))
        assert row["megabytes_up"] == pytest.approx(summary["bytes_up"] / 1e6)
        assert row["clients_test"][0] == pytest.approx(100 * summary["client_test_accuracy"])
    assert (tmp_path / "algorithms.png").stat().st_size > 10_000
    # What was run before stays in the table.
    assert study.main([*where, "fedavg"]) == 0
    assert {row["name"] for row in json.loads((tmp_path / "algorithms.json").read_text())["rows"]} == set(rows)
