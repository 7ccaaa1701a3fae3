"""Runs side by side: how they are grouped, what is computed of them, and the page."""

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from fedkd.app.cli import main as cli
from fedkd.core.errors import RunError
from fedkd.results.report.comparison import find_runs, group_runs, paired, write_comparison
from fedkd.results.report.comparison._figures import draw_accuracy, draw_bytes, draw_lambda, draw_privacy
from fedkd.results.report.comparison._tables import names_of
from tests.support.changed_runs import make_agree
from tests.support.figure_texts import texts
from tests.support.html_pages import page


class Runs:
    """Makes run directories from a real one: other configurations, and figures that are easy to check."""

    def __init__(self, real: Path, folder: Path) -> None:
        self.real, self.folder = real, folder

    def __call__(self, name: str, student: float | None, seed: int = 0, finished: bool = True, **changes: Any) -> Path:
        """A run whose final test accuracy is ``student``, and better in the round before.

        ``changes`` are of ``summary.json``, and with dots written as two underscores of the configuration.
        """
        out = self.folder / name
        shutil.copytree(self.real, out)
        config = yaml.safe_load((out / "config.yaml").read_text(encoding="utf-8")) | {"seed": seed}
        summary: dict[str, Any] = {"student_accuracy": student}
        for key, value in changes.items():
            if "__" in key:
                section, option = key.split("__")
                config[section] = {**config[section], option: value}
            else:
                summary[key] = value
        rounds = [json.loads(line) for line in (out / "rounds.jsonl").read_text(encoding="utf-8").splitlines()]
        for row, accuracy in zip(rounds, (0.99, student), strict=True):
            row["student_accuracy"] = None if student is None else accuracy
        (out / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        (out / "rounds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rounds), encoding="utf-8")
        make_agree(out, **summary)
        if not finished:
            (out / "summary.json").unlink()
            shutil.rmtree(out / "checkpoints")
        return out


@pytest.fixture
def runs(finished: Path, tmp_path: Path) -> Runs:
    return Runs(finished, tmp_path / "runs")


@pytest.fixture
def two_teachers(runs: Runs) -> Path:
    """Three seeds of one teacher, and two of these with another."""
    for seed, student in enumerate((0.80, 0.82, 0.84)):
        runs(f"stacked-{seed}", student, seed, strategy__name="stacked", bytes_up=2_000_000)
    for seed, student in enumerate((0.81, 0.85)):
        runs(f"median-{seed}", student, seed, strategy__name="median", bytes_up=1_000_000)
    return runs.folder


def write(folder: Path, out: Path) -> str:
    return page(write_comparison([folder], out)).text


def test_groups_differ_in_more_than_the_seed_and_are_named_by_what_differs(two_teachers: Path) -> None:
    median, stacked = group_runs(find_runs([two_teachers]))
    assert (median.name, stacked.name) == ("strategy.name=median", "strategy.name=stacked")
    assert (list(median.runs), list(stacked.runs)) == ([0, 1], [0, 1, 2])
    found = stacked.estimate("student")
    assert found is not None
    # Standard deviation 2 points, three seeds: t(0.975, 2)·2/√3.
    assert found.mean == pytest.approx(82.0)
    assert found.count == 3
    assert found.ci95 == pytest.approx(float(stats.t.ppf(0.975, 2)) * 2 / math.sqrt(3))


def test_an_option_that_only_one_group_has_is_part_of_its_name(runs: Runs) -> None:
    runs("a", 0.8)
    runs("b", 0.8, strategy__trim=2)
    assert [group.name for group in group_runs(find_runs([runs.folder]))] == ["no strategy.trim", "strategy.trim=2"]


def test_differences_are_paired_by_seed(two_teachers: Path) -> None:
    median, stacked = group_runs(find_runs([two_teachers]))
    found = paired(stacked.by_seed("student"), median.by_seed("student"))
    assert found is not None
    # Seeds 0 and 1 alone: −1 and −3 points.
    assert found.mean == pytest.approx(-2.0)
    assert found.count == 2
    assert found.ci95 == pytest.approx(float(stats.t.ppf(0.975, 1)) * 1.0)
    assert paired({0: 1.0}, {1: 1.0}) is None


def test_the_page_is_one_file_with_tables_and_plots_for_light_and_dark(two_teachers: Path, tmp_path: Path) -> None:
    found = page(write_comparison([two_teachers], tmp_path / "new/report.html"))
    assert found.tags.count("img") == 3
    assert len(found.references) == 6
    assert all(reference.startswith("data:image/png;base64,") for reference in found.references)
    assert len(set(found.references)) == 6, "no figure twice, and none alike on light and dark"
    assert not {"script", "link", "iframe"} & set(found.tags)
    source = (tmp_path / "new/report.html").read_text(encoding="utf-8")
    assert "://" not in source
    assert "prefers-color-scheme: dark" in source
    assert "Comparison of 5 runs" in found.text
    assert "strategy.name=stacked 3 82.0 ± 5.0" in found.text
    assert "strategy.name=median 2 83.0 ± 25.4" in found.text
    assert "strategy.name=stacked 2 -2.0 ± 12.7" in found.text
    assert "None of these runs has a formal privacy guarantee (no DP)" in found.text


def test_the_best_round_plays_no_part(two_teachers: Path, tmp_path: Path) -> None:
    # Every run's first round is at 99 %.
    assert "99.0" not in write(two_teachers, tmp_path / "report.html")


def test_a_run_without_an_end_is_listed_and_counts_for_nothing(runs: Runs, tmp_path: Path) -> None:
    runs("whole", 0.8)
    (tmp_path / "other").mkdir()
    part = runs("part", 0.1, seed=1, finished=False)
    text = write(runs.folder, tmp_path / "report.html")
    assert "Comparison of 1 run" in text
    assert "1 of these runs are not finished" in text
    assert f"{part} all runs 1 2 of 2" in text
    assert "all runs 1 80.0" in text
    shutil.rmtree(runs.folder / "whole")
    assert "Comparison of 0 runs" in write(runs.folder, tmp_path / "report.html")


def test_a_seed_that_was_run_twice_counts_once(runs: Runs, tmp_path: Path) -> None:
    runs("a", 0.8)
    runs("b", 0.8)
    runs("c", 0.6, student_sha256="another")
    (group,) = group_runs(find_runs([runs.folder]))
    assert [log.path.name for log in group.repeated] == ["b", "c"]
    assert group.by_seed("student") == {0: pytest.approx(80.0)}
    text = write(runs.folder, tmp_path / "report.html")
    assert f"{runs.folder / 'b'} repeats {runs.folder / 'a'}, with the same result" in text
    assert f"{runs.folder / 'c'} repeats {runs.folder / 'a'}, with another result" in text


def test_other_versions_are_pointed_out(runs: Runs, tmp_path: Path) -> None:
    runs("a", 0.8, versions={"torch": "2.15.0", "numpy": "2.4"})
    runs("b", 0.8, seed=1, versions={"torch": "2.15.1", "numpy": "2.4"})
    assert "different versions of torch." in write(runs.folder, tmp_path / "report.html")


def guarantee(unit: str) -> dict[str, Any]:
    return {
        "unit": unit,
        "neighbouring": "add_or_remove",
        "adversary": "local",
        "sensitivity": 1.0,
        "noise": 2.0,
        "query": "gradients",
        "excludes": "nothing",
    }


def test_each_unit_of_protection_has_a_panel_and_epsilon_is_the_largest(runs: Runs, tmp_path: Path) -> None:
    runs("plain", 0.9)
    for seed, epsilon in enumerate((7.5, 8.0)):
        name = {"name": "dp_sgd"}
        runs(f"r{seed}", 0.8, seed, epsilon=epsilon, guarantee=guarantee("record"), privacy__mechanism=name)
    name = {"name": "gaussian_logits"}
    runs("c", 0.7, epsilon=2.0, guarantee=guarantee("client"), privacy__mechanism=name)
    groups = names_of(group_runs(find_runs([runs.folder])))
    figure = draw_privacy(groups)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Protects each client", "Protects each record"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["ε per client", "ε per record"]
    text = write(runs.folder, tmp_path / "report.html")
    assert (
        "privacy.mechanism.name=dp_sgd 8 1e-05 each record one more or less an observer of all client reports dp_sgd"
        in text
    )
    assert "privacy.mechanism.name=gaussian_logits 2 1e-05 each client" in text
    assert "privacy.mechanism.name=none – – no formal guarantee – – none" in text


def test_figures_show_the_means_and_where_the_last_round_is(two_teachers: Path) -> None:
    groups = names_of(group_runs(find_runs([two_teachers])))
    lines = {line.get_label(): line for line in draw_accuracy(groups).axes[0].lines}
    first, last = np.asarray(lines["strategy.name=stacked"].get_ydata()).tolist()
    assert first == pytest.approx(99.0)
    assert last == pytest.approx(82.0)
    sent = draw_bytes(groups).axes[0]
    assert {bar.get_label() for bar in sent.containers} == set(groups)
    assert draw_lambda(groups).axes[0].get_ylim()[1] == pytest.approx(1.03)


def test_runs_without_a_students_model_are_compared_by_what_they_have(runs: Runs, tmp_path: Path) -> None:
    runs("a", None, student_sha256=None, client_test_accuracy=0.5)
    text = write(runs.folder, tmp_path / "report.html")
    assert "all runs 1" in text
    assert "50.0" in text
    groups = names_of(group_runs(find_runs([runs.folder])))
    assert "None of these runs" in texts(draw_accuracy(groups))
    assert "None of these runs has a model on the server" in texts(draw_bytes(groups))


def test_long_names_are_numbered(runs: Runs, tmp_path: Path) -> None:
    runs("a", 0.8, data__root="/a/very/long/path/to/some/data/which/nobody/wants/in/a/legend")
    runs("b", 0.8, data__root="/b")
    assert list(names_of(group_runs(find_runs([runs.folder])))) == ["group 1", "group 2"]
    assert "group 2 0 /b" in write(runs.folder, tmp_path / "report.html")


def test_what_users_write_cannot_become_markup(runs: Runs, tmp_path: Path) -> None:
    runs("a", 0.8, data__root="<script>alert(1)</script>")
    runs("b", 0.8)
    write(runs.folder, tmp_path / "report.html")
    assert "<script>" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_runs_are_found_in_sweeps_and_folders_of_sweeps_once_and_in_their_order(two_teachers: Path) -> None:
    order = [{"folder": name} for name in ("stacked-1", "median-0")]
    (two_teachers / "sweep.json").write_text(json.dumps({"cells": order}), encoding="utf-8")
    found = find_runs([two_teachers.parent, two_teachers, two_teachers / "stacked-0"])
    assert [log.path.name for log in found] == ["stacked-1", "median-0", "median-1", "stacked-0", "stacked-2"]


def test_a_folder_without_runs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="empty holds no run"):
        find_runs([tmp_path / "empty"])
    out = tmp_path / "report.html"
    monkeypatch.setattr(sys, "argv", ["fedkd", "compare", str(tmp_path / "absent"), "--out", str(out)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == cli.EXIT_BAD_INPUT
    message = capsys.readouterr().err
    assert "absent is no folder" in message
    assert "name the folder of a run" in message
    assert not out.exists()


def test_the_command_prints_where_the_page_is(two_teachers: Path, tmp_path: Path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "report.html"
    monkeypatch.setattr(sys, "argv", ["fedkd", "compare", str(two_teachers), "--out", str(out)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    assert capsys.readouterr().out.split() == [str(out)]
    assert out.is_file()
