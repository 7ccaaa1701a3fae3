"""Private runs on Ray's workers: the same noise, the same student and the same ε as in one process."""

import json
from pathlib import Path

import pytest

from tests.support.federations import SMALL

pytest.importorskip("ray")

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.results.records import Summary


@pytest.mark.parametrize("mechanism", ["dp_sgd", "gaussian_logits"])
def test_a_run_on_ray_spends_and_learns_what_one_inline_does(tmp_path: Path, mechanism: str) -> None:
    private = f"privacy.mechanism={{name: {mechanism}, target_epsilon: 6}}"

    def run(kind: str) -> Summary:
        overrides = [private, "rounds=2", "clients.fraction=0.75", f"engine.kind={kind}", "engine.workers=2"]
        return run_experiment(load_config(SMALL, overrides), tmp_path / kind).summary

    inline, ray = run("inline"), run("ray")
    assert inline.epsilon is not None
    assert 5.9 < inline.epsilon <= 6.0
    assert (ray.epsilon, ray.client_epsilon, ray.guarantee) == (inline.epsilon, inline.client_epsilon, inline.guarantee)
    # Every client's noise, which is drawn in whatever process, is in the student.
    assert ray.student_sha256 == inline.student_sha256
    assert (ray.failures, inline.failures) == (0, 0)
    ledgers = [json.loads((tmp_path / kind / "privacy_ledger.json").read_text()) for kind in ("inline", "ray")]
    assert ledgers[0] == ledgers[1]
