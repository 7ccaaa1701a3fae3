"""The study of what students learn besides answers, small."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studies import analysis_claims

from tests.support.scripts_run import run_script


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("analysis")
    run_script("scripts/analysis_study.py", "--out", str(folder), "--runs", str(folder / "runs"), "--workers", "1")
    report: dict[str, Any] = json.loads((Path(folder) / "analysis_study.json").read_text())
    return report


def test_every_claim_is_a_difference_by_seed_with_its_interval(found: dict[str, Any]) -> None:
    assert list(found["claims"]) == list(analysis_claims.CLAIMS)
    for each in found["claims"].values():
        assert len(each["by_seed"]) == len(found["seeds"]) == 2
        assert each["mean"] == pytest.approx(np.mean(each["by_seed"]))
    seed = found["found"][0]
    rise = found["claims"]["entropy rises with T"]["by_seed"][0]
    assert rise == pytest.approx(seed["own"]["entropy"][-1] - seed["own"]["entropy"][0])
    assert found["claims"]["curvature of the bare KL falls with T"]["mean"] > 0
    shrunk = found["claims"]["distillation shrinks epistemic uncertainty"]["by_seed"][0]
    assert shrunk == pytest.approx(seed["ensemble"]["clients"] - seed["ensemble"]["taught"])


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        # Student's t at two degrees of freedom: 4.30·s/√3, which is 2.48 for s = 1.
        ([2.0, 3.0, 4.0], "confirmed"),
        ([1.4, 2.4, 3.4], "open"),
        ([-2.0, -3.0, -4.0], "refuted"),
        ([0.0, 0.0, 0.0], "open"),
        ([5.0], "open"),
    ],
)
def test_a_claim_is_judged_by_the_interval_over_seeds(values: list[float], verdict: str) -> None:
    assert analysis_claims.judged(values)["verdict"] == verdict
