"""Every shipped configuration runs from its first round to its summary, on the digits and with little of everything."""

from pathlib import Path

import pytest

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.core import plugins
from fedkd.server.student_rule import StudentRule
from tests.support import ROOT

CONFIGS = ROOT / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
LITTLE = (
    *("engine.kind=inline", "rounds=2", "controls=[]", "data.dataset=digits", "data.private_size=160"),
    *("data.public.size=60", "data.public.dataset=null", "clients.epochs=1", "distillation.steps=4"),
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS).with_suffix("")))
def test_it_runs(path: Path, tmp_path: Path) -> None:
    shipped = load_config(path)
    less = [f"data.public.labelled={min(30, shipped.data.public.labelled)}"]
    if shipped.clients.per_round == shipped.clients.count:
        less.append(f"clients.count={min(4, shipped.clients.count)}")
    if shipped.data.public.round_size is not None:
        less.append("data.public.round_size=20")
    config = load_config(path, [*LITTLE, *less])
    summary = run_experiment(config, tmp_path / "run")
    rule: type[StudentRule] = plugins.resolve(plugins.STUDENT_RULE, config.student.rule.name)
    assert (summary.rounds, summary.failures) == (2, 0)
    assert summary.bytes_up > 0
    assert (summary.teacher_accuracy is not None) == rule.teaches
    assert summary.clients == config.clients.count
    assert (tmp_path / "run" / "summary.json").is_file()


def test_there_are_configurations() -> None:
    assert {path.parent.name for path in FILES} >= {"configs", "algorithms", "reproductions"}
