"""The comparison with a bare loop does the same work on both sides, and says what it promises."""

from pathlib import Path

import pytest
from benchmarks.peer import CONFIGS, Measured, bare, fedkd, figures
from studies.given_work import write_files

from fedkd.config.load import load_config

PROMISED = {"rounds_ray", "rounds_inline", "wall_ray", "wall_inline", "dsfl_ray", "pss_ray_mb", "pss_inline_mb"}


def test_both_sides_learn_alike_from_what_they_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(load_config(CONFIGS / "fedavg_given.yaml"), samples=3000, alpha=10.0, seed=0)
    sides = [bare("fedavg", tmp_path), fedkd("fedavg_given.yaml", tmp_path, "engine.kind=inline")]
    for side in sides:
        assert 0 < side.rounds < side.wall
        assert side.peak > 100e6
        assert side.accuracy > 0.2  # 0.1 is chance
    assert abs(sides[0].accuracy - sides[1].accuracy) < 0.2


def test_figures_are_ratios_of_medians_and_megabytes() -> None:
    """By hand."""
    found = {
        "bare": [Measured(2.0, 4.0, 1e9, 0.8), Measured(1.0, 5.0, 1e9, 0.8), Measured(9.0, 9.0, 1e9, 0.8)],
        "ray": [Measured(3.0, 6.0, 2e9, 0.8)],
        "inline": [Measured(4.0, 10.0, 1e9, 0.8)],
        "bare_dsfl": [Measured(4.0, 5.0, 1e9, 0.8)],
        "dsfl": [Measured(5.0, 6.0, 1e9, 0.8)],
    }
    told = figures(found)
    assert set(told) >= PROMISED
    assert [told[name] for name in ("rounds_ray", "rounds_inline", "wall_ray", "wall_inline")] == [1.5, 2.0, 1.2, 2.0]
    assert (told["dsfl_ray"], told["pss_ray_mb"], told["pss_inline_mb"]) == (1.25, 2000.0, 1000.0)
