"""Attacks on runs that were really made."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from fedkd.app.audit import audit_run
from fedkd.app.run import run_experiment
from fedkd.audit.attack import OBSERVATIONS
from fedkd.audit.report import AuditReport
from fedkd.config.load import load_config
from fedkd.config.schema import AuditConfig
from fedkd.config.values import Plugin
from fedkd.core.errors import ConfigError, RunError
from fedkd.results.directory import RunDirectory
from tests.support.attack_runs import finished
from tests.support.changed_runs import make_agree

QUICK = AuditConfig(shadows=8)


def _named(*names: str, **rest: object) -> AuditConfig:
    return AuditConfig(attacks=tuple(Plugin(name) for name in names), shadows=8, **rest)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found(overfitted: Path) -> AuditReport:
    """Every attack on the overfitted run."""
    return audit_run(overfitted, QUICK)


def test_a_client_that_knows_its_data_by_heart_gives_its_members_away(found: AuditReport) -> None:
    for attack in ("loss_threshold", "lira_online", "lira_offline", "rmia"):
        result = found.result(attack, "queried")
        assert result.auc > 0.95
        assert result.auc_interval[0] > 0.9
    assert found.result("lira_online", "queried").tpr_at_1pct_fpr > 0.5
    # What others see of it shows less.
    assert found.result("lira_online", "student").auc < found.result("lira_online", "queried").auc


def test_models_that_never_saw_the_data_give_nothing_away(untrained: Path) -> None:
    report = audit_run(untrained, QUICK)
    assert report.attacks
    for result in report.attacks:
        low, high = result.auc_interval
        assert low <= 0.5 <= high, (result.attack, result.observation)


def test_the_report_says_who_saw_what(found: AuditReport, overfitted: Path) -> None:
    assert found.verified is True
    assert set(found.adversary) == set(OBSERVATIONS)
    assert (found.epsilon, found.unit, found.ceiling, found.skipped) == (None, None, (), ())
    for result in found.attacks:
        # There are 140 places, and six queries about a candidate: three on either half of the shadows.
        assert result.members == result.non_members == (11 if result.attack == "optimised_queries" else 40)
        assert not result.covered
        assert len(result.roc) <= 200
        assert result.tpr_at_01pct_fpr is None
    kept = json.loads((overfitted / "audit.json").read_text(encoding="utf-8"))
    assert [each["auc"] for each in kept["attacks"]] == [each.auc for each in found.attacks]
    assert (overfitted / "plots" / "audit_roc.png").is_file()


def test_other_things_than_membership(found: AuditReport) -> None:
    inferred = {each.attack: each.values for each in found.inferences}
    about_classes = {"label_distribution", "crafted_queries", "optimised_shares", "class_means"}
    assert set(inferred) == about_classes | {"model_extraction"}
    assert inferred["model_extraction"]["agreement"] > inferred["model_extraction"]["most_frequent"] - 0.05
    # Iid clients: a uniform guess is nearly right.
    assert inferred["label_distribution"]["kl_uniform"] < 0.1


def test_optimised_queries_are_compared_with_the_rest_on_the_candidates_they_ask_about(found: AuditReport) -> None:
    assert found.result("optimised_queries", "queried").auc > 0.9
    others = ("co_operative_lira", "lira_offline", "lira_online", "loss_threshold", "rmia")
    assert [(each.attack, each.other) for each in found.comparisons] == [("optimised_queries", name) for name in others]
    for each in found.comparisons:
        low, high = each.interval
        assert low <= each.auc_difference <= high
        assert (each.observation, each.candidates) == ("queried", 22)


def test_an_audit_can_be_repeated_and_taken_up(found: AuditReport, overfitted: Path, tmp_path: Path) -> None:
    again = tmp_path / "run"
    shutil.copytree(overfitted, again)
    shadow_runs = sorted(again.rglob("world/*.pt"))
    assert len(shadow_runs) == 3 + 8
    # As an interruption leaves it: some worlds are there, and some of what is made of them.
    asked = [sorted(again.rglob(f"{kind}/*.pt"))[1:] for kind in ("model", "queries", "asked", "shares", "told")]
    assert all(asked)
    for lost in [
        *shadow_runs[::2],
        *sorted(again.rglob("student/*.pt"))[3:],
        *(path for some in asked for path in some),
    ]:
        lost.unlink()
    kept = {path: path.stat().st_mtime_ns for path in again.rglob("*/client_*.pt")}
    report = audit_run(again, QUICK)
    assert report.attacks == found.attacks
    assert report.comparisons == found.comparisons
    assert report.inferences == found.inferences
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_more_shadows_use_those_that_are_there(overfitted: Path, found: AuditReport) -> None:
    before = {path: path.stat().st_mtime_ns for path in overfitted.rglob("world/*.pt")}
    report = audit_run(overfitted, AuditConfig(attacks=(Plugin("lira_online"),), shadows=10, observations=("queried",)))
    after = {path: path.stat().st_mtime_ns for path in overfitted.rglob("world/*.pt")}
    assert len(after) == len(before) + 2
    assert before.items() <= after.items()
    assert [each.shadows for each in report.attacks] == [10]


def test_several_rounds_and_views_are_observed_together(overfitted: Path) -> None:
    report = audit_run(overfitted, _named("lira_online", "rmia", rounds=2, views=3, targets=2, candidates=20))
    assert report.verified is True
    assert len(report.clients) == 2
    assert {each.members for each in report.attacks} == {20}
    assert report.result("lira_online", "queried").auc > 0.8


def test_a_claim_that_is_not_kept_is_refuted(overfitted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(overfitted, run)
    # A run without noise that says it had some: a small ε in its summary, a mechanism with a proof in its config.
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    config["privacy"]["mechanism"] = {"name": "dp_sgd", "noise_multiplier": 1e-6, "clip_norm": 100.0}
    (run / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    make_agree(run, epsilon=0.1, student_sha256=None)
    report = audit_run(run, _named("loss_threshold", "optimised_queries", observations=("queried",), targets=3))
    assert report.verified is None
    refuted = {(each.attack, each.observation) for each in report.ceiling}
    assert refuted == {("loss_threshold", "queried"), ("optimised_queries", "queried")}


def test_an_audit_as_part_of_a_run(tmp_path: Path, overfitted: Path) -> None:
    overrides = [
        "privacy.audit={attacks: [loss_threshold], shadows: 0, observations: [queried]}",
        "clients.epochs=20",
    ]
    run = finished(tmp_path / "run", *overrides)
    (result,) = json.loads((run / "audit.json").read_text(encoding="utf-8"))["attacks"]
    assert result["auc"] > 0.8
    # Cut off during the audit: going on with the run does the audit.
    (run / "audit.json").unlink()
    run_experiment(RunDirectory(run).config, run, resume=True)
    assert json.loads((run / "audit.json").read_text(encoding="utf-8"))["attacks"] == [result]


def test_what_cannot_be_audited(overfitted: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        audit_run(tmp_path, QUICK)
    with pytest.raises(ConfigError, match=r"privacy\.audit\.targets: must not exceed the 3 honest clients"):
        audit_run(overfitted, AuditConfig(targets=4))
    with pytest.raises(ConfigError, match=r"privacy\.audit\.rounds: must not exceed the run's 2 rounds"):
        audit_run(overfitted, AuditConfig(rounds=3))
    with pytest.raises(ConfigError, match=r"privacy\.audit\.shadows: lira_online needs at least 4, got 2"):
        audit_run(overfitted, AuditConfig(attacks=(Plugin("lira_online"),), shadows=2))
    unfinished = tmp_path / "unfinished"
    shutil.copytree(overfitted, unfinished)
    (unfinished / "summary.json").unlink()
    with pytest.raises(RunError, match="holds no finished run"):
        audit_run(unfinished, QUICK)


def test_a_run_without_samples_to_spare(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", "data.private_size=null", "clients.epochs=1", "rounds=1")
    with pytest.raises(ConfigError, match=r"data\.private_size: leaves no samples that client . could have trained on"):
        audit_run(run, _named("loss_threshold"))


def test_an_algorithm_without_answers_on_images(tmp_path: Path) -> None:
    run = finished(
        tmp_path / "run", "clients.rule=label_logits", "student.rule=label_means", "clients.epochs=1", "rounds=1"
    )
    with pytest.raises(ConfigError, match=r"clients\.rule: attacks need answers on chosen inputs"):
        audit_run(run, _named("loss_threshold"))


def test_bad_options_are_found_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(
            {}, ["privacy.audit.attacks=[lira]", "privacy.audit.shadows=3", "privacy.audit.observations=[nowhere]"]
        )
    text = str(caught.value)
    assert (
        "privacy.audit.attacks.0.name: unknown attack 'lira'; did you mean 'rmia'" in text or "unknown attack" in text
    )
    assert "privacy.audit.shadows" in text
    assert "privacy.audit.observations" in text


def test_torch_is_left_as_it_was(overfitted: Path) -> None:
    state = torch.get_rng_state()
    audit_run(overfitted, _named("loss_threshold", observations=("queried",)))
    assert torch.equal(state, torch.get_rng_state())
