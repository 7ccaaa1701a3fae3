"""Runs that are killed at every kind of moment end as if nothing had happened once they are resumed."""

import json
from pathlib import Path
from typing import Any

import pytest

from fedkd.core.documents import write_document
from tests.support.interrupted import PLAIN, REMEMBERING, Plan, Zygote, results

BEGINNING: tuple[Plan, ...] = (
    {"rename": "config.yaml", "after": False},
    {"rename": "config.yaml", "after": True},
    {"rename": "distillation.csv", "after": False},
    {"sync": "round_00000.pt.partial", "tear": 100},
)
ROUNDS: tuple[Plan, ...] = (
    {"stage": "clients", "round": 1, "done": 2},
    {"stage": "distillation", "round": 1, "done": 5},
    {"sync": "round_00001.pt.partial", "tear": 1000},
    {"rename": "round_00001.pt", "after": False},
    {"rename": "round_00001.pt", "after": True},
    {"stage": "clients", "round": 2, "done": 1},
    {"stage": "distillation", "round": 2, "done": 8},
    {"rename": "round_00002.pt", "after": True},
    {"sync": "clients.csv", "tear": 7},
    {"stage": "clients", "round": 3, "done": 3},
)


@pytest.mark.parametrize("log", ["clients.csv", "distillation.csv", "rounds.jsonl", "timings.jsonl"])
def test_torn_log_lines_are_mended(zygote: Zygote, plain: dict[str, Any], tmp_path: Path, log: str) -> None:
    # In the middle of round 1's lines, and then while these are mended.
    assert zygote.killed_again_and_again(tmp_path / "run", PLAIN, [{"sync": log, "tear": 9}] * 2) == plain


def test_a_run_killed_at_its_beginning_begins_anew(zygote: Zygote, plain: dict[str, Any], tmp_path: Path) -> None:
    assert zygote.killed_again_and_again(tmp_path / "run", PLAIN, BEGINNING) == plain


def test_a_run_killed_in_every_stage_of_its_rounds(zygote: Zygote, plain: dict[str, Any], tmp_path: Path) -> None:
    assert zygote.killed_again_and_again(tmp_path / "run", PLAIN, ROUNDS) == plain


def test_a_temperature_that_was_chosen_stays_so(zygote: Zygote, tmp_path: Path) -> None:
    config = PLAIN | {
        "distillation": PLAIN["distillation"] | {"temperature": {"name": "auto", "candidates": [1, 4, "linear"]}},
        "controls": ["teacher_only"],
    }
    zygote.complete(tmp_path / "whole", config)
    plans: tuple[Plan, ...] = (
        {"stage": "distillation", "round": 1, "done": 10},
        {"rename": "round_00001.pt", "after": True},
        {"stage": "distillation", "round": 2, "done": 4},
    )
    whole = results(tmp_path / "whole")
    assert zygote.killed_again_and_again(tmp_path / "run", config, plans) == whole
    choices = [json.loads(line)["temperature_choice"] for line in whole["rounds.jsonl"].splitlines()]
    assert [trial["candidate"] for trial in choices[0]["trials"]] == ["1", "4", "linear"]
    assert choices[0]["chosen"] in ("1", "4", "linear")
    assert choices[1:] == [None, None]


def test_what_clients_keep_of_batch_normalisation_survives(zygote: Zygote, tmp_path: Path) -> None:
    config = PLAIN | {
        "clients": {"count": 4, "fraction": 0.5, "rule": "parameters", "keep_batch_norm": "all"},
        "student": {"model": "tests.support.own_models:normalised", "rule": "average"},
        "controls": ["local_only"],
    }
    zygote.complete(tmp_path / "whole", config)
    plans: tuple[Plan, ...] = (
        {"stage": "clients", "round": 1, "done": 1},
        {"stage": "clients", "round": 2, "done": 2},
        {"rename": "round_00002.pt", "after": True},
    )
    assert zygote.killed_again_and_again(tmp_path / "run", config, plans) == results(tmp_path / "whole")


def test_a_run_killed_in_its_controls_keeps_the_finished_ones(
    zygote: Zygote, plain: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    for plan in (
        {"stage": "public_only", "round": 4, "done": 2},
        {"rename": "controls.json", "after": True},
        {"stage": "local_only", "round": 4, "done": 1},
    ):
        zygote.killed(out, PLAIN, plan)
    document = json.loads((out / "controls.json").read_text())
    kept = document["finished"]
    assert list(kept) == ["public_only"]
    # A number that no training gives shows whether it is taken as it is.
    kept["public_only"]["history"][0] = 0.125
    write_document(out / "controls.json", {"rounds": 3, "finished": kept}, document["run"])
    zygote.killed(out, PLAIN, {"rename": "summary.json", "after": False})
    zygote.complete(out, PLAIN, resume=True)
    found = results(out)
    history = found["summary"]["control_history"]["public_only"]
    assert history[0] == 0.125
    history[0] = plain["summary"]["control_history"]["public_only"][0]
    found["summary"]["sha256"] = plain["summary"]["sha256"]
    found["controls"] = plain["controls"]
    assert found == plain


def test_everything_that_is_remembered_survives(zygote: Zygote, remembering: dict[str, Any], tmp_path: Path) -> None:
    plans = (
        *ROUNDS,
        {"sync": "round_00003.pt.partial", "tear": 500},
        {"stage": "clients", "round": 4, "done": 2},
        {"rename": "round_00004.pt", "after": True},
        {"rename": "summary.json", "after": False},
    )
    assert zygote.killed_again_and_again(tmp_path / "run", REMEMBERING, plans) == remembering
