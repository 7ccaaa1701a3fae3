"""The first cases of every family come out well, and a case is the same whenever it is asked for."""

import json
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzzing import trial
from fuzzing.families import FAMILIES, TURNS
from fuzzing.outcome import FAULTS

from tests.support.scripts_run import run_script

TRIED = {"configurations": 12, "texts": 12, "directories": 2}
"""By family; replies of wrong types are tried by the script alone, for here every type is checked on its way."""


@pytest.fixture(scope="module", autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One folder for what the families make once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("scratch")))
        patch.setattr(urllib.request, "urlopen", trial.unreachable)
        yield


@pytest.mark.parametrize("family", TRIED)
def test_the_first_cases_of_a_family_come_out_well(family: str) -> None:
    faults = []
    for number in range(TRIED[family]):
        case = FAMILIES[family](0, number)
        outcome = trial.attempt(case)
        if outcome.verdict in FAULTS:
            faults.append(f"{number}: {case.title}: {outcome.verdict}: {outcome.reason}")
    assert faults == []


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_has_the_same_cases_in_the_same_order(family: str) -> None:
    titles = [FAMILIES[family](7, number).title for number in range(8)]
    assert titles == [FAMILIES[family](7, number).title for number in range(8)]
    assert titles != [FAMILIES[family](8, number).title for number in range(8)]


def test_the_script_counts_what_it_tried() -> None:
    output = run_script("scripts/fuzz.py", "--cases", "10", "--workers", "1", "--json")
    result = json.loads(output.splitlines()[-1])
    assert result["tried"] == result["accepted"] + result["refused"] == 10
    assert (result["tracebacks"], result["nonsense"], result["hangs"]) == (0, 0, 0)
    assert {family: result[family] for family in FAMILIES} == dict(Counter(TURNS))
    assert result["seed"] == 0


def test_a_case_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    trial.attempt(FAMILIES["texts"](0, 0))
    assert list(tmp_path.iterdir()) == []
    assert Path.cwd() == tmp_path
