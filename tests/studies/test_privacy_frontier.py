"""The privacy frontier: its tuning sees nothing that it reports on, its table says what was found, and it runs."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from studies.privacy_frontier import study, tables, tuning
from studies.unused_data import UnusedSamples

from fedkd.config.load import load_config, to_mapping
from fedkd.data.datasets.fashion_mnist import FashionMnist
from fedkd.data.roles import prepare
from tests.support import ROOT
from tests.support.scripts_run import run_script

CONFIGS = ROOT / "configs/privacy"
TINY = (
    "data.dataset=digits",
    "data.private_size=240",
    "data.public.size=120",
    "data.public.labelled=40",
    "data.public.round_size=20",
    "clients.count=4",
    "clients.epochs=2",
    "student.rule.pretrain_steps=5",
    "student.model={name: mlp, hidden: [16]}",
    "distillation.steps=5",
)


def test_tuning_sees_no_private_and_no_test_sample_of_any_seed() -> None:
    frontier = load_config(CONFIGS / "none.yaml")
    public, private = frontier.data.public.size, frontier.data.private_size
    assert private is not None
    source = UnusedSamples(seeds=(0, 1), public_size=public, private_size=private, test_size=500)
    if not source.available(Path()):
        pytest.skip("Fashion-MNIST is not on this machine")
    found = source.load(Path())
    assert len(found.test_labels) == 500
    left = torch.cat([found.train_inputs[:], found.test_inputs[:]]).flatten(1)
    tuned_on = {row.numpy().tobytes() for row in left}
    whole = FashionMnist().load(Path())
    assert not tuned_on & {row.numpy().tobytes() for row in whole.test_inputs[:].flatten(1)}
    train = {row.numpy().tobytes() for row in whole.train_inputs[:].flatten(1)}
    assert tuned_on <= train
    for seed in (0, 1):
        data = prepare(load_config(CONFIGS / "none.yaml", [f"seed={seed}"]))
        # Back from standardised to the bytes in the files.
        raw = (data.inputs[:] - data.inputs[:].amin()) / (data.inputs[:].amax() - data.inputs[:].amin()) * 255
        of_clients = {row.numpy().tobytes() for row in raw.round().to(torch.uint8).flatten(1)}
        assert len(of_clients) > 3900
        assert of_clients <= train
        assert not tuned_on & of_clients


def test_every_trial_of_tuning_is_a_sound_configuration() -> None:
    for setting in tuning.SETTINGS.values():
        config = tuning.configured((0, 1), "dp_sgd_8", setting, 100)
        assert config.clients.epochs == setting["clients.epochs"]
        assert config.data.dataset.options["seeds"] == [0, 1]
    for setting in tuning.EXPERIMENTS.values():
        private, plain = (to_mapping(tuning.configured((0, 1), row, setting, 100)) for row in ("dp_sgd_8", "none"))
        assert {key for key in plain if plain[key] != private[key]} == {"clients", "privacy"}
        assert private["clients"]["batch_size"] == setting.get("data.private_size", 1000)


def test_the_shipped_settings_are_those_that_tuning_chose() -> None:
    chosen = json.loads((ROOT / "docs/results/privacy_tuning.json").read_text())["chosen"]
    for epsilon in (8, 4, 2):
        config = load_config(CONFIGS / f"dp_sgd_{epsilon}.yaml")
        options = config.privacy.mechanism.options
        assert options["target_epsilon"] == epsilon
        found = (config.clients.epochs, config.clients.batch_size, config.clients.learning_rate, options["clip_norm"])
        assert dict(zip(tuning.KEYS, found, strict=True)) == chosen["setting"]


def test_tuning_prefers_few_epochs_where_accuracy_is_the_same() -> None:
    means = dict.fromkeys(tuning.SETTINGS, 0.6) | {
        "everything, 40 steps, rate 0.2": 0.80,
        "everything, 20 steps, rate 0.6": 0.798,
        "everything, 20 steps, rate 0.3": 0.797,
        "everything, 10 steps, rate 0.3": 0.79,
    }
    assert tuning.choose(means) == "everything, 20 steps, rate 0.6"


@pytest.mark.parametrize("unprotected", ["none", "many_clients"])
def test_rows_of_equal_data_differ_in_their_protection_alone(unprotected: str) -> None:
    many = {path for path in CONFIGS.glob("*.yaml") if path.name.startswith("many_clients")}
    paths = many if unprotected == "many_clients" else set(CONFIGS.glob("*.yaml")) - many
    assert len(paths) > 2
    plain = to_mapping(load_config(CONFIGS / f"{unprotected}.yaml"))
    for path in paths:
        row = to_mapping(load_config(path))
        for section in ("student", "distillation", "communication"):
            assert row[section] == plain[section], path
        for key in ("dataset", "private_size", "partition"):
            assert row["data"][key] == plain["data"][key], path


def audit(auc: float, roc: list[list[float]], violations: list[dict[str, Any]]) -> dict[str, Any]:
    attack = {
        "attack": "lira_online",
        "observation": "queried",
        "covered": True,
        "auc": auc,
        "tpr_at_1pct_fpr": 0.1,
        "epsilon_lower_bound": 0.5,
        "members": 100,
        "non_members": 100,
        "shadows": 8,
        "roc": roc,
    }
    return {"attacks": [attack], "ceiling": violations, "cpu_seconds": 1.0}


def result(student: float, epsilon: float | None) -> dict[str, Any]:
    return {
        "student": student,
        "clients": 0.5,
        "controls": {},
        "epsilon": epsilon,
        "delta": 1e-5,
        "guarantee": None,
        "releases": 20,
        "accountant": "exact",
        "bytes_up": 10**6,
        "cpu_seconds": 1.0,
    }


def test_a_row_by_hand() -> None:
    roc = [[0.0, 0.0, 0.0, 0.0], [0.0, 0.2, 0.1, 0.3], [0.5, 0.6, 0.5, 0.7], [1.0, 1.0, 0.9, 1.0]]
    row = tables.summarise(
        "dp_sgd_2", [0, 1], [result(0.8, 2.0), result(0.7, 1.9)], [0, 1], [audit(0.6, roc, []), audit(0.7, roc, [])]
    )
    assert (row["row"], row["mechanism"], row["epsilon"]) == ("dp_sgd_2", "dp_sgd", 2.0)
    # Standard deviation 0.0707, two values: 12.706·0.0707/√2.
    assert (row["student_accuracy"], row["student_accuracy_ci95"]) == pytest.approx((0.75, 0.6353), rel=1e-3)
    (attack,) = row["attacks"]
    assert attack["auc"] == pytest.approx(0.65)
    assert attack["ceiling_at_1pct_fpr"] == pytest.approx(2.71828**2 * 0.01 + 1e-5, rel=1e-3)
    # The largest true-positive rate that a threshold reaches without exceeding the false-positive rate.
    rates = tables.at_rates(roc)
    assert rates[0] == 0.2
    assert rates[-1] == 1.0
    assert max(rate for fpr, rate in zip(tables.FALSE_POSITIVES, rates, strict=True) if fpr < 0.5) == 0.2
    assert "stands" in tables.ceilings([row])[0]


def test_a_refuted_claim_is_called_so() -> None:
    violation = {
        "attack": "lira_online",
        "observation": "queried",
        "fpr": 0.01,
        "tpr": 0.9,
        "tpr_lower": 0.8,
        "fpr_upper": 0.05,
        "ceiling": 0.4,
    }
    row = tables.summarise("dp_sgd_2", [0], [result(0.8, 2.0)], [0], [audit(0.99, [[0.0, 0.9, 0.8, 1.0]], [violation])])
    (line,) = tables.ceilings([row])
    assert "dp_sgd_2: ε = 2 REFUTED: lira_online from queried" in line
    assert tables.ceilings([tables.summarise("none", [0], [result(0.8, None)], [0], [audit(0.99, [], [])])]) == []


def test_what_nobody_gets_to_know_is_left_blank() -> None:
    row = tables.measured("client_accuracy", [None, None])
    assert row == {"client_accuracy": None, "client_accuracy_ci95": None}
    assert tables.percent(row, "client_accuracy") == "–"


def test_the_study_runs_small_and_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = [part for override in TINY for part in ("--override", override)]
    where = ["--out", str(tmp_path), "--runs", str(tmp_path / "runs"), "--workers", "1"]
    command = ["--only", "none,gnmax", *where, *overrides]
    text = run_script("scripts/privacy_frontier.py", *command)
    report = json.loads((tmp_path / "privacy_frontier.json").read_text())
    rows = {row["row"]: row for row in report["rows"]}
    assert list(rows) == ["none", "gnmax"]
    assert set(report["controls"]) == {"public_only", "local_only", "fedavg", "centralised", "teacher_only"}
    assert (rows["none"]["epsilon"], rows["none"]["protects"]) == (None, None)
    assert rows["gnmax"]["epsilon"] == pytest.approx(8.0, abs=0.01)
    assert (rows["gnmax"]["protects"], rows["gnmax"]["accountant"]) == ("client", "exact")
    # Where the server is trusted, what it sees is nothing that the claim is about.
    seen = {name: {attack["observation"] for attack in row["attacks"]} for name, row in rows.items()}
    assert seen == {"none": {"queried", "transcript", "consensus", "student"}, "gnmax": {"consensus", "student"}}
    assert "gnmax: ε = 8 stands" in text
    with (tmp_path / "privacy_frontier.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == sum(len(row["attacks"]) for row in rows.values())
    for name in ("privacy_frontier", "privacy_frontier_roc", "privacy_frontier_leakage"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/summary.json")}
    assert study.main(command) == 0
    assert capsys.readouterr().out == text
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/summary.json")} == before
