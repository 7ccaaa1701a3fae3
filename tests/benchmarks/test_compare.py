"""The benchmark of comparisons compares as many runs as it says."""

from pathlib import Path

from benchmarks import compare

from fedkd.app.run import run_experiment
from fedkd.config.load import parse_config
from fedkd.results.report.comparison import find_runs, group_runs


def test_its_runs_are_whole_and_differ_in_seed_and_configuration(tmp_path: Path) -> None:
    run_experiment(parse_config(compare.SETTING | {"rounds": 1}), tmp_path / "original")
    compare.copies(tmp_path / "original", tmp_path / "runs", 12)
    first, second = group_runs(find_runs([tmp_path / "runs"]))
    assert list(first.runs) == list(range(10))
    assert list(second.runs) == [0, 1]
    assert list(first.values) == ["clients.learning_rate"]


def test_it_measures_the_command_and_its_page() -> None:
    found = compare.measured(2, 1)
    assert found["runs"] == 2
    assert found["seconds"] > 0
    assert 0.1 < found["page_megabytes"] < 5
