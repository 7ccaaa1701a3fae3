"""What works for images works for tables and texts: every shipped algorithm, and the audit."""

from pathlib import Path

import pytest

from fedkd.app.run import audit_run, run_experiment
from fedkd.config.load import load_config
from fedkd.core.errors import ConfigError
from tests.support import ROOT

ALGORITHMS = sorted((ROOT / "configs/algorithms").glob("*.yaml"))
SMALL = (
    *("engine.kind=inline", "rounds=2", "controls=[]", "data.private_size=80", "data.public.dataset=null"),
    *("data.public.size=40", "data.public.round_size=null", "clients.count=3", "clients.fraction=1"),
    *("clients.epochs=1", "distillation.steps=3", "distillation.augment=[]"),
)
KINDS = {
    "rows": ["data.dataset=tests.support.kinds_of_samples:Rows", "student.model={name: mlp, hidden: [8]}"],
    "words": ["data.dataset=tests.support.kinds_of_samples:Words", "student.model={name: gru, width: 8}"],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ALGORITHMS, ids=lambda path: path.stem)
def test_an_algorithm_runs(path: Path, kind: str, tmp_path: Path) -> None:
    shipped = load_config(path)
    overrides = [*SMALL, *KINDS[kind], f"data.public.labelled={min(20, shipped.data.public.labelled)}"]
    if shipped.clients.models:
        overrides.append(f"clients.models=[{KINDS[kind][1].removeprefix('student.model=')}]")
    config = load_config(path, overrides)
    if kind == "words" and path.stem == "selective_fd":
        with pytest.raises(ConfigError, match=r"clients\.rule: selective measures distances between samples"):
            run_experiment(config, tmp_path / "run")
        return
    summary = run_experiment(config, tmp_path / "run").summary
    assert (summary.rounds, summary.failures) == (2, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_an_audit_attacks(kind: str, tmp_path: Path) -> None:
    audit = ["privacy.audit.attacks=[loss_threshold, lira_offline, crafted_queries]", "privacy.audit.shadows=4"]
    config = load_config({}, [*SMALL, *KINDS[kind], "data.public.labelled=20"])
    run_experiment(config, tmp_path / "run")
    options = load_config({}, audit).privacy.audit
    assert {each.attack for each in audit_run(tmp_path / "run", options).attacks} == {"loss_threshold", "lira_offline"}
