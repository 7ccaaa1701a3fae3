"""What a report's header says."""

import dataclasses
from pathlib import Path

from fedkd.config.load import parse_config, to_mapping
from fedkd.results.report.facts import facts
from fedkd.results.report.run_log import RunLog


def told(**changes: object) -> dict[str, str]:
    """The header of a run of this configuration, of which nothing else is there."""
    log = RunLog(Path(), to_mapping(parse_config(changes)), "", (), {}, None)
    return facts(log)


def test_the_usual_settings_have_a_line_each() -> None:
    found = told(
        data={"partition": {"alpha": 0.1}},
        strategy={"name": "trimmed_mean", "trim": 2},
        clients={"count": 12, "fraction": 0.5},
    )
    assert found["partition"] == "dirichlet, α = 0.1"
    assert found["teacher"] == "trimmed_mean (trim 2)"
    assert found["clients"] == "12, 50 % of them a round"
    assert "attackers" not in found
    assert list(found)[-3:] == ["rounds", "seed", "engine"], "nothing else is changed"


def test_whatever_else_is_changed_is_told_by_its_key() -> None:
    found = told(clients={"learning_rate": 0.3, "attackers": {"share": 0.25}}, distillation={"momentum": 0.5})
    assert found["clients.learning_rate"] == "0.3"
    assert found["distillation.momentum"] == "0.5"
    assert found["attackers"] == "25 % of the clients: random"


def test_a_setting_that_is_missing_has_no_line() -> None:
    log = RunLog(Path(), {"seed": 3}, "", (), {}, None)
    assert facts(log) == {"seed": "3"}
    assert facts(dataclasses.replace(log, config={})) == {}
