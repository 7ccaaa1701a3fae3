"""Runs with networks that were not written for fedkd, killed and resumed."""

from pathlib import Path

from tests.support.interrupted import Zygote, results
from tests.support.own_networks import pretrained, zoo


def test_frozen_pretrained_and_other_networks_go_on_where_they_were(tmp_path: Path, zygote: Zygote) -> None:
    config = zoo(pretrained(tmp_path)) | {"controls": ["public_only"]}
    plans = (
        {"stage": "clients", "round": 1, "done": 3},
        {"rename": "round_00001.pt", "after": True},
        {"stage": "distillation", "round": 2, "done": 1},
    )
    zygote.complete(tmp_path / "whole", config)
    assert zygote.killed_again_and_again(tmp_path / "killed", config, plans) == results(tmp_path / "whole")
