"""`fedkd audit`, what it prints, and where its results show."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedkd.app.cli import main as cli
from fedkd.audit.report import AttackResult, AuditReport, Violation
from fedkd.audit.table import verdict
from fedkd.core.errors import ConfigError, RunError
from fedkd.results.report.figures.roc import save_roc
from fedkd.results.report.run_page import write_report


@pytest.fixture
def run(overfitted: Path, tmp_path: Path) -> Path:
    shutil.copytree(overfitted, tmp_path / "run", ignore=shutil.ignore_patterns("audit*"))
    return tmp_path / "run"


def test_an_audit_is_printed_written_and_reported(run: Path) -> None:
    arguments = [
        "audit",
        str(run),
        "attacks=[loss_threshold,label_distribution]",
        "shadows=0",
        "observations=[queried]",
    ]
    done = CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "150"})
    assert done.exit_code == 0, done.output
    for words in (
        "loss_threshold",
        "queried",
        "label_distribution",
        "kl_uniform",
        "no formal privacy guarantee (no DP)",
    ):
        assert words in done.output
    found = json.loads((run / "audit.json").read_text(encoding="utf-8"))
    (attack,) = found["attacks"]
    assert set(attack) >= {
        "attack",
        "observation",
        "auc",
        "auc_interval",
        "tpr_at_1pct_fpr",
        "tpr_interval",
        "epsilon_lower_bound",
        "members",
        "non_members",
        "shadows",
        "roc",
    }
    assert set(found) >= {"epsilon", "delta", "unit", "ceiling", "seconds", "settings"}
    assert found["settings"]["shadows"] == 0
    page = write_report(run).read_text(encoding="utf-8")
    assert "loss_threshold" in page
    assert f"{attack['auc']:.3f}" in page
    assert "data:image/png" in page


def test_a_damaged_audit_is_named(run: Path) -> None:
    (run / "audit.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match=r"audit\.json is damaged"):
        write_report(run)


def test_mistakes_are_answered(run: Path, tmp_path: Path) -> None:
    def error(*arguments: str) -> BaseException | None:
        return CliRunner().invoke(cli.app, ["audit", *arguments]).exception

    assert "holds no run" in str(error(str(tmp_path)))
    found = error(str(run), "shadow=3", "attacks=[liar]", "level=2")
    assert isinstance(found, ConfigError)
    assert len(found.problems) == 3
    assert "did you mean 'shadows'?" in str(found)
    assert "unknown attack 'liar'" in str(found)
    assert not (run / "audit.json").exists()


def report(**changes: object) -> AuditReport:
    """An audit that found one attack on a run with a claim."""
    curve = ((0.0, 0.2, 0.1, 0.3), (0.5, 0.9, 0.8, 0.95), (1.0, 1.0, 0.9, 1.0))
    result = AttackResult("rmia", "queried", 0.8, (0.7, 0.9), 0.2, (0.1, 0.3), 0.5, 50, 50, 8, curve, covered=True)
    whole: dict[str, object] = {
        "attacks": (result,),
        "inferences": (),
        "epsilon": 2.0,
        "delta": 1e-5,
        "unit": "record",
        "ceiling": (),
        "seconds": 1.0,
        "settings": {},
        "clients": (0,),
    }
    return AuditReport(**(whole | changes))  # type: ignore[arg-type]


def test_the_verdict_in_words(tmp_path: Path) -> None:
    (line,) = verdict(report())
    assert line == "None of the 1 attacks that the claim of ε = 2 at δ = 1e-05 for each record is about refutes it."
    broken = Violation("rmia", "queried", 0.01, 0.9, 0.8, 0.05, 0.4)
    assert verdict(report(ceiling=(broken,))) == [
        "The claim of ε = 2 at δ = 1e-05 for each record is refuted by: rmia from queried."
    ]
    assert any("did not give the run's own student" in line for line in verdict(report(verified=False)))
    assert verdict(report(epsilon=None, skipped=("student: none",))) == [
        "This run has no formal privacy guarantee (no DP).",
        "Left out: student: none.",
    ]


@pytest.mark.usefixtures("drawn_figures")
def test_figures_of_any_audit_can_be_drawn(tmp_path: Path) -> None:
    for number, each in enumerate([report(), report(epsilon=None), report(attacks=())]):
        save_roc(each, tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").stat().st_size > 3000
