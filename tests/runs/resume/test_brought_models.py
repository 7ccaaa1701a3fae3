"""Runs with networks that were not written for fedkd, killed and resumed."""

from pathlib import Path

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from tests.support.interrupted import Zygote, results
from tests.support.own_networks import letters, pretrained, zoo


def test_frozen_pretrained_and_other_networks_go_on_where_they_were(tmp_path: Path, zygote: Zygote) -> None:
    config = zoo(pretrained(tmp_path)) | {"controls": ["public_only"]}
    plans = (
        {"stage": "clients", "round": 1, "done": 3},
        {"rename": "round_00001.pt", "after": True},
        {"stage": "distillation", "round": 2, "done": 1},
    )
    zygote.complete(tmp_path / "whole", config)
    assert zygote.killed_again_and_again(tmp_path / "killed", config, plans) == results(tmp_path / "whole")


def test_networks_for_texts_end_the_same_in_every_process(tmp_path: Path, zygote: Zygote) -> None:
    plans = ({"stage": "clients", "round": 1, "done": 2}, {"stage": "distillation", "round": 2, "done": 3})
    run_experiment(load_config(letters(tmp_path)), tmp_path / "here")
    there = zygote.killed_again_and_again(tmp_path / "there", letters(tmp_path), plans)
    here = results(tmp_path / "here")
    # Figures are drawn here alone.
    del there["names"], here["names"]
    assert there == here
