"""Attacks on runs of different algorithms and mechanisms."""

from pathlib import Path

import pytest

from fedkd.app.audit import audit_run
from fedkd.config.schema import AuditConfig
from fedkd.config.values import Plugin
from tests.support.attack_runs import finished

ATTACKS = AuditConfig(
    attacks=(Plugin("rmia"), Plugin("loss_threshold"), Plugin("label_distribution")),
    observations=("queried", "student"),
    shadows=4,
)


@pytest.mark.parametrize(
    "overrides",
    [
        ("clients.rule=own_model",),
        ("clients.rule=parameters", "student.rule=average"),
        ("privacy.mechanism=label_only",),
        ("communication.uplink={name: quantise, bits: 2, compress: zlib, delta: true}", "clients.rule=own_model"),
        ("clients.attackers={share: 0.4, behaviour: lma}",),
        ("clients.fraction=0.67",),
    ],
    ids=lambda each: each[0].split("=", 1)[1],
)
def test_other_algorithms(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    run = finished(tmp_path / "run", "clients.epochs=15", "clients.learning_rate=0.1", *overrides)
    report = audit_run(run, ATTACKS)
    assert report.verified is True
    assert report.result("loss_threshold", "queried").auc > 0.75


def test_noise_that_covers_everything_hides_the_members(tmp_path: Path) -> None:
    run = finished(
        tmp_path / "run", "privacy.mechanism={name: dp_sgd, noise_multiplier: 20.0}", "clients.learning_rate=0.01"
    )
    report = audit_run(run, ATTACKS)
    assert report.epsilon is not None
    assert report.unit == "record"
    assert report.ceiling == ()
    assert all(each.covered for each in report.attacks)
    for result in report.attacks:
        low, high = result.auc_interval
        assert low <= 0.55
        assert high >= 0.45


def test_under_secure_aggregation_nobody_attacks_a_clients_own_report(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", "privacy.secure_aggregation={}", "clients.epochs=3")
    report = audit_run(run, AuditConfig(shadows=4, attacks=(Plugin("lira_offline"), Plugin("label_distribution"))))
    assert {each.observation for each in report.attacks} == {"consensus", "student"}
    assert report.inferences == ()
    told = " under secure aggregation nobody sees a client's report"
    assert report.skipped == tuple(f"{name}:{told}" for name in ("queried", "transcript", "label_distribution"))
