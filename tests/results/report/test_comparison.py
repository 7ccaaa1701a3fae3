"""Runs side by side: how they are grouped, what is computed of them, and the page."""

import csv
import json
import math
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.text import Text
from scipy import stats

from fedkd.app.cli import main as cli
from fedkd.config.identity import run_digest
from fedkd.config.load import read_yaml
from fedkd.core.documents import write_document
from fedkd.core.errors import FolderError, RunError
from fedkd.results.report.comparison import (
    find_runs,
    group_runs,
    paired,
    write_comparison,
    write_figures,
    write_tables,
)
from fedkd.results.report.comparison._attacks import draw_robustness, draw_roc
from fedkd.results.report.comparison._figures import FIGURES, draw_accuracy, draw_bytes, draw_lambda, draw_privacy
from fedkd.results.report.comparison._fronts import front
from fedkd.results.report.comparison._groups import names_of
from fedkd.results.report.style import drawing, why_empty
from tests.support.changed_runs import make_agree
from tests.support.figure_texts import texts
from tests.support.html_pages import assert_contained, page


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
def costly(runs: Runs) -> Path:
    """Four teachers with one seed each: accurate, cheap, both in part, and neither."""
    for name, student, sent in (("best", 0.9, 4), ("cheap", 0.7, 1), ("between", 0.8, 2), ("worst", 0.75, 3)):
        runs(name, student, strategy__name=name, bytes_up=1_000_000 * sent, wall_seconds=10.0)
    return runs.folder


@pytest.fixture
def two_teachers(runs: Runs) -> Path:
    """Three seeds of one teacher, and two of these with another."""
    for seed, student in enumerate((0.80, 0.82, 0.84)):
        runs(f"stacked-{seed}", student, seed, strategy__name="stacked", bytes_up=2_000_000, wall_seconds=9.0)
    for seed, student in enumerate((0.81, 0.85)):
        runs(f"median-{seed}", student, seed, strategy__name="median", bytes_up=1_000_000, wall_seconds=7.0)
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


@pytest.mark.usefixtures("drawn_figures")
def test_the_page_is_one_file_with_tables_and_plots_for_light_and_dark(two_teachers: Path, tmp_path: Path) -> None:
    path = write_comparison([two_teachers], tmp_path / "new/report.html")
    assert_contained(path)
    found = page(path)
    assert found.tags.count("img") == 4
    assert len(found.references) == 4 * 4
    assert len(set(found.references)) == 4 * 4, "no figure twice, and none alike on light and dark, wide and narrow"
    assert "Comparison of 5 runs" in found.text
    assert "strategy.name=stacked 3 82.0 ± 5.0" in found.text
    assert "strategy.name=median 2 83.0 ± 25.4" in found.text
    # t = −2 / 1 with one degree of freedom.
    assert "strategy.name=stacked 2 -2.0 ± 12.7 0.295" in found.text
    assert "None of these runs has a formal privacy guarantee (no DP)" in found.text
    # What differs is in one table, what does not in another.
    assert "What they have in common data set digits" in found.text
    assert "teacher stacked" not in found.text


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


def test_long_names_have_short_keys(runs: Runs) -> None:
    runs("a", 0.8, strategy__name="mean_probabilities", data__partition={"scheme": "dirichlet", "alpha": 0.1})
    runs("b", 0.8, strategy__name="stacked", data__partition={"scheme": "dirichlet", "alpha": 1.0})
    assert list(names_of(group_runs(find_runs([runs.folder])))) == [
        "alpha=0.1, strategy=mean_probabilities",
        "alpha=1.0, strategy=stacked",
    ]


def test_longer_names_are_numbered(runs: Runs, tmp_path: Path) -> None:
    runs("a", 0.8, data__root="/a/very/long/path/to/some/data/which/nobody/wants/in/a/legend")
    runs("b", 0.8, data__root="/b")
    assert list(names_of(group_runs(find_runs([runs.folder])))) == ["group 1", "group 2"]
    assert "group 2 0 /b" in write(runs.folder, tmp_path / "report.html")


def test_what_users_write_cannot_become_markup(runs: Runs, tmp_path: Path) -> None:
    runs("a", 0.8, data__root="<script>alert(1)</script>")
    runs("b", 0.8)
    write(runs.folder, tmp_path / "report.html")
    assert "alert(1)</script>" not in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert_contained(tmp_path / "report.html")


def test_runs_are_found_in_sweeps_and_folders_of_sweeps_once_and_in_their_order(two_teachers: Path) -> None:
    order = [{"folder": name} for name in ("stacked-1", "median-0")]
    (two_teachers / "sweep.json").write_text(json.dumps({"cells": order}), encoding="utf-8")
    found = find_runs([two_teachers.parent, two_teachers, two_teachers / "stacked-0"])
    assert [log.path.name for log in found] == ["stacked-1", "median-0", "median-1", "stacked-0", "stacked-2"]


def test_a_front_is_what_no_other_group_beats_in_both(costly: Path, tmp_path: Path) -> None:
    groups = names_of(group_runs(find_runs([costly])))
    assert front(groups, "megabytes_up") == [f"strategy.name={name}" for name in ("cheap", "between", "best")]
    assert front(groups, "wall_seconds") == ["strategy.name=best"]
    (line,) = (line for line in draw_bytes(groups).axes[0].lines if line.get_label() == "Pareto front")
    assert np.asarray(line.get_xdata()).tolist() == [1.0, 2.0, 4.0]
    text = write(costly, tmp_path / "report.html")
    assert "strategy.name=best 90.0 4.00 10.0 bytes up, seconds" in text
    assert "strategy.name=worst 75.0 3.00 10.0 –" in text


def test_of_many_groups_the_first_and_the_best_on_validation_samples_are_named(runs: Runs) -> None:
    measured = json.loads((runs.real / "summary.json").read_text(encoding="utf-8"))["validation"]
    for number in range(14):
        validation = measured | {"accuracy": number / 100}
        runs(f"{number:02}", 0.5, strategy__name=f"n{number:02}", validation=validation)
    groups = names_of(group_runs(find_runs([runs.folder])))
    named = [str(line.get_label()).removeprefix("strategy.name=") for line in draw_accuracy(groups).axes[0].lines]
    assert [name for name in named if not name.startswith("_")] == ["n00", *(f"n{each:02}" for each in range(3, 14))]


def test_a_sweep_over_attackers_and_strategies_is_a_heat_map(runs: Runs, two_teachers: Path) -> None:
    assert why_empty(draw_robustness(names_of(group_runs(find_runs([two_teachers]))))) is not None
    shutil.rmtree(runs.folder)
    for strategy, behaviour, student in (
        ("median", "lma", 0.8),
        ("median", "random", 0.7),
        ("stacked", "lma", 0.6),
        ("stacked", "random", 0.5),
    ):
        attackers = {"share": 0.25, "behaviour": {"name": behaviour}}
        runs(f"{strategy}-{behaviour}", student, strategy__name=strategy, clients__attackers=attackers)
    axes, *_ = draw_robustness(names_of(group_runs(find_runs([runs.folder])))).axes
    np.testing.assert_allclose(np.asarray(axes.images[0].get_array()), [[80, 70], [60, 50]])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["lma", "random"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["median", "stacked"]


def audit(run: Path, **aucs: float) -> None:
    """Write an audit of the run: attacks of these names, whose curves have one step."""
    attacks = [
        {
            "attack": name,
            "observation": "student",
            "auc": auc,
            "auc_interval": [auc - 0.1, auc + 0.1],
            "tpr_at_1pct_fpr": auc / 10,
            "tpr_interval": [0.0, 0.2],
            "epsilon_lower_bound": auc,
            "members": 50,
            "non_members": 50,
            "shadows": 4,
            "roc": [[0.0, 0.0, 0.0, 0.1], [0.1, auc, auc - 0.1, auc + 0.1], [1.0, 1.0, 1.0, 1.0]],
            "covered": False,
        }
        for name, auc in aucs.items()
    ]
    content = {"attacks": attacks, "epsilon": None, "delta": 1e-5, "ceiling": []}
    write_document(run / "audit.json", content, run_digest(read_yaml(run / "config.yaml").content))


def test_audits_are_a_table_and_the_strongest_attack_a_curve(runs: Runs, tmp_path: Path) -> None:
    for seed, auc in enumerate((0.6, 0.8)):
        audit(runs(f"plain-{seed}", 0.8, seed, strategy__name="stacked"), rmia=auc, loss_threshold=0.55)
    runs("other", 0.8, strategy__name="median")
    groups = names_of(group_runs(find_runs([runs.folder])))
    axes, *_ = draw_roc(groups).axes
    (line,) = (line for line in axes.lines if line.get_label() == "strategy.name=stacked")
    found = dict(zip(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist(), strict=True))
    # Below a rate of 0.1 nothing is found, and 0.7 on average from there on.
    assert {round(hits, 6) for rate, hits in found.items() if rate < 0.1} == {0.01}
    assert {round(hits, 6) for rate, hits in found.items() if 0.1 <= rate < 1} == {0.7}
    text = write(runs.folder, tmp_path / "report.html")
    half = float(stats.t.ppf(0.975, 1)) * 0.1
    assert f"strategy.name=stacked rmia student 2 0.700 ± {half:.3f} 7.0 ± 12.7 0.80 –" in text
    damaged = runs.folder / "plain-0"
    digest = run_digest(read_yaml(damaged / "config.yaml").content)
    write_document(damaged / "audit.json", {"attacks": [{"attack": "rmia"}]}, digest)
    with pytest.raises(FolderError, match=r"audit\.json is damaged"):
        write(runs.folder, tmp_path / "report.html")


def exported(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_tables_and_figures_are_files_that_a_paper_takes_in(two_teachers: Path, tmp_path: Path) -> None:
    groups = group_runs(find_runs([two_teachers]))
    paths = write_tables(groups, tmp_path / "tables", ("csv", "md", "tex", "svg"))
    assert {path.name for path in paths} == set(exported(tmp_path / "tables"))
    names = ("groups", "accuracy", "differences", "trade_offs", "costs", "runs")
    assert {path.name for path in paths} == {f"{name}.{end}" for name in names for end in ("csv", "md", "tex")}
    with (tmp_path / "tables/accuracy.csv").open(encoding="utf-8") as file:
        median, stacked = csv.DictReader(file)
    assert float(stacked["student"]) == pytest.approx(82.0)
    assert stacked["seeds"] == "3"
    assert float(stacked["student ci95"]) == pytest.approx(float(stats.t.ppf(0.975, 2)) * 2 / math.sqrt(3))
    assert median["group"] == "strategy.name=median"
    assert "| strategy.name=stacked | 3 | 82.0 ± 5.0 |" in (tmp_path / "tables/accuracy.md").read_text(encoding="utf-8")
    assert r"stacked & 3 & 82.0 $\pm$ 5.0 &" in (tmp_path / "tables/accuracy.tex").read_text(encoding="utf-8")

    drawn = write_figures(groups, tmp_path / "figures", ("svg", "pdf", "csv"), pytest.fail)
    shown = FIGURES.keys() - {"privacy", "roc", "robustness"}
    assert {path.name for path in drawn} == {f"{name}.{end}" for name in shown for end in ("svg", "pdf")}
    first = exported(tmp_path / "figures")
    for name, content in first.items():
        if name.endswith("pdf"):
            # TrueType, embedded whole or in part; 3.3 inches are 237.6 points.
            assert b"/FontFile2" in content
            assert b"/Type3" not in content
            (width,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+)", content)
            assert float(width) == pytest.approx(3.3 * 72, abs=0.1)
        else:
            assert b"http://www.w3.org/2000/svg" in content
    write_figures(groups, tmp_path / "figures", ("svg", "pdf"), pytest.fail)
    assert exported(tmp_path / "figures") == first


def test_texts_of_figures_for_a_paper_have_seven_or_eight_points(two_teachers: Path) -> None:
    groups = names_of(group_runs(find_runs([two_teachers])))
    with drawing(narrow=True):
        for kind in FIGURES.values():
            figure = kind.draw(groups)
            sizes = {text.get_fontsize() for text in figure.findobj(Text) if text.get_text()}
            assert sizes <= {7.0, 8.0}
            assert figure.get_figwidth() == pytest.approx(3.3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "nothing to write; add --out FILE"),
        (("--tables", "t", "--format", "csv,latex"), "there is no 'latex'; did you mean 'tex'? tables come as"),
        (("--tables", "t", "--format", "svg"), "'svg' leaves --tables nothing to write; tables come as csv, md, tex"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is(
    options: tuple[str, ...], words: str, two_teachers: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(two_teachers.parent)
    monkeypatch.setattr(sys, "argv", ["fedkd", "compare", str(two_teachers), *options])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == cli.EXIT_BAD_INPUT
    assert words in capsys.readouterr().err
    assert not Path("t").exists()


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


def test_the_command_prints_what_it_wrote(two_teachers: Path, tmp_path: Path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    out, tables = tmp_path / "report.html", tmp_path / "tables"
    command = ["fedkd", "compare", str(two_teachers), "--out", str(out), "--tables", str(tables), "--format", "md"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    written = [Path(line) for line in capsys.readouterr().out.split()]
    assert written[0] == out
    assert sorted(written[1:]) == sorted(tables.iterdir())
    assert all(path.is_file() for path in written)
