"""The number of rounds may change between two parts of a run."""

import csv
from pathlib import Path
from typing import Any

import pytest

from fedkd.app.resume import check_changes
from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.core.errors import ConfigError
from tests.support.interrupted import PLAIN, Zygote, results


def test_more_rounds_give_what_they_would_have_given_from_the_start(
    zygote: Zygote, plain: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    zygote.complete(out, PLAIN | {"rounds": 2})
    notices = zygote.complete(out, PLAIN, resume=True)
    assert notices == [
        "rounds: 2 until now, 3 from here",
        f"resuming {out}: 2 rounds done, going on with round 3 of 3",
    ]
    found = results(out)
    # The round that was the last one was measured on the test set; that stays.
    rows, expected = (list(csv.DictReader(each["clients.csv"].decode().splitlines())) for each in (found, plain))
    measured = [row for row in rows if row["round"] == "2"]
    assert len(measured) == 3
    for row in measured:
        assert 0.0 <= float(row["test_accuracy"]) <= 1.0
        row["test_accuracy"] = ""
    assert rows == expected
    # And so do the digests of that file and of the summary that holds it.
    kept = {name: found["summary"][name] for name in ("logs", "sha256")}
    assert found | {"clients.csv": plain["clients.csv"]} == plain | {"summary": plain["summary"] | kept}


def test_fewer_rounds_than_planned_but_no_fewer_than_done(
    zygote: Zygote, plain: dict[str, Any], tmp_path: Path
) -> None:
    out, longer = tmp_path / "run", PLAIN | {"rounds": 9}
    zygote.killed(out, longer, {"stage": "clients", "round": 4, "done": 0})
    with pytest.raises(ConfigError, match=r"rounds: 3 rounds of the run in .* are done, got 2; ask for at least 3"):
        run_experiment(load_config(PLAIN | {"rounds": 2}), out, resume=True)
    notices = zygote.complete(out, PLAIN, resume=True)
    assert "round 3 is done again: as the last one it is measured on the test set" in notices
    assert results(out) == plain


def test_a_schedule_over_all_rounds_is_pointed_out_when_their_number_changes(zygote: Zygote, tmp_path: Path) -> None:
    config = PLAIN | {"rounds": 1, "controls": []}
    for name, told in (("linear", True), ("entropy", False)):
        annealed = config | {"distillation": config["distillation"] | {"temperature": {"name": name}}}
        zygote.complete(tmp_path / name, annealed)
        notices = zygote.complete(tmp_path / name, annealed | {"rounds": 2}, resume=True)
        found = [text for text in notices if text.startswith(f"distillation.temperature: {name} runs over all rounds")]
        assert bool(found) == told


def test_a_budget_for_all_rounds_keeps_their_number(tmp_path: Path) -> None:
    mechanism = ("privacy.mechanism.name=gaussian_logits", "privacy.mechanism.target_epsilon=3")
    before, after = load_config(PLAIN, mechanism), load_config(PLAIN, (*mechanism, "rounds=5"))
    with pytest.raises(ConfigError, match=r"rounds: privacy\.mechanism\.target_epsilon = 3.* is divided among 3"):
        check_changes(tmp_path, before, after, done=1)
    assert check_changes(tmp_path, before, after, done=0) == ["rounds: 3 until now, 5 from here"]
