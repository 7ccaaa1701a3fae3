"""Several runs as frames."""

from pathlib import Path

import pytest

from fedkd import FedkdError, load_run, load_runs


def test_runs_are_told_apart_by_seed_and_by_what_differs(folder: Path) -> None:
    runs = load_runs([folder / "1", folder / "mean"])
    frame = runs.summary
    assert list(frame["seed"]) == [1, 0]
    assert list(frame["strategy.name"]) == ["stacked", "mean_logits"]
    assert frame["data.partition.alpha"].tolist()[1] == 0.3
    assert list(frame["student_accuracy"]) == [run.summary.student_accuracy for run in runs]
    assert list(frame["controls.public_only"]) == [run.summary.controls["public_only"] for run in runs]
    assert "strategy.name=mean_logits" in frame["cell"][1]
    rounds = runs.rounds
    assert len(rounds) == sum(len(run.rounds) for run in runs)
    mine = rounds[rounds["run"] == str(folder / "mean")]
    assert list(mine["student_accuracy"]) == list(load_run(folder / "mean").rounds["student_accuracy"])
    for several, single in ((runs.steps, "steps"), (runs.clients, "clients"), (runs.controls, "controls")):
        assert list(several.columns)[-1] == list(getattr(runs[0], single).columns)[-1]
        assert set(several["seed"]) == {0, 1}
    assert runs.failures.empty
    assert "mean_logits" in runs._repr_html_()


def test_runs_that_differ_in_the_seed_alone_share_a_cell(folder: Path) -> None:
    runs = load_runs(folder)
    assert len(runs) == 3
    assert [run.folder.name for run in runs] == ["0", "1", "mean"]
    means = runs.rounds.groupby("controls")["student_accuracy"].count()
    assert sorted(means) == [2, 4]


def test_one_that_is_not_finished_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(folder / "0")
    broken = tmp_path / "b"
    broken.mkdir()
    for path in (folder / "1").iterdir():
        if path.name != "summary.json":
            (broken / path.name).symlink_to(path)
    with pytest.raises(FedkdError, match="b holds a run that is not finished"):
        load_runs(tmp_path)
    assert load_runs(tmp_path, unfinished=True).summary["student_accuracy"].isna().tolist() == [False, True]
