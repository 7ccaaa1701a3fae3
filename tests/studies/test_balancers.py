"""The study of policies for λ, small."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from studies import balancers, lambda_cells
from studies.lambda_cells import Cell, Setting

from fedkd.config.schema import DistillationConfig
from fedkd.experiment import Experiment
from tests.support.scripts_run import run_script


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("lambda")
    return "--out", str(folder), "--runs", str(folder / "runs"), "--workers", "1"


@pytest.fixture(scope="module")
def tuning(where: tuple[str, ...]) -> dict[str, Any]:
    assert balancers.main(["--tune", *where]) == 0
    report: dict[str, Any] = json.loads((Path(where[1]) / "lambda_tuning.json").read_text())
    return report


def test_tuning_chooses_by_the_mean_over_cells_and_each_cells_fixed_lambda(tuning: dict[str, Any]) -> None:
    assert tuning["seeds"] == [100]
    for policy, by_cell in tuning["values"].items():
        assert tuning["mean"][policy] == pytest.approx(np.mean(list(by_cell.values())))
    for family, chosen in tuning["chosen"].items():
        assert tuning["mean"][chosen] == max(tuning["mean"][each] for each in balancers.FAMILIES[family])
    for cell, chosen in tuning["best_fixed"].items():
        assert tuning["values"][chosen][cell] == max(tuning["values"][each][cell] for each in balancers.FIXED)


def test_the_default_is_compared_on_other_seeds_with_what_was_tuned(
    where: tuple[str, ...], tuning: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(where[1])
    table = run_script("scripts/lambda_study.py", *where)
    report = json.loads((out / "lambda_study.json").read_text())
    assert not set(report["seeds"]) & set(tuning["seeds"])
    assert report["settings"][report["default"]]["name"] == DistillationConfig().balancer.name
    assert (report["clock"], report["best_fixed"]) == (tuning["chosen"]["clocks"], tuning["best_fixed"])
    values = {part: np.array(list(by_cell.values())) for part, by_cell in report["values"].items()}
    for rival in ("clock", "without_gradients"):
        found = report[f"versus_{rival}"]
        assert found["mean"] == pytest.approx(float((values["default"] - values[rival]).mean()))
        assert found["low"] <= found["mean"] <= found["high"]
        assert (found["cells"], found["seeds"]) == (2, 2)
    changing = next(name for name in report["default_regret"] if name.endswith("changing"))
    lead = np.subtract(report["values"]["default"][changing], report["values"]["clock"][changing])
    assert report["versus_clock_unforeseeable"]["mean"] == pytest.approx(float(lead.mean()))
    assert report["versus_clock_unforeseeable"]["cells"] == 1
    assert sum(report["default_regret"].values()) / 2 == pytest.approx(
        float((values["best_fixed"] - values["default"]).mean())
    )
    assert "regret of the default" in table
    assert (out / "lambda_study.png").stat().st_size > 10_000
    # Everything is kept: a second call only writes the tables again.
    assert balancers.main([*where]) == 0
    assert capsys.readouterr().out == table


def test_statements_by_hand() -> None:
    means = {
        "fixed 0": {"a": 70.0, "b": 80.0},
        "fixed 0.25": {"a": 60.0, "b": 82.0},
        "fixed 0.5": {"a": 60.0, "b": 81.0},
        "fixed 0.75": {"a": 60.0, "b": 84.0},
        "fixed 1": {"a": 50.0, "b": 83.0},
    }
    assert balancers.statements(means) == {
        "cells": 2,
        "best_fixed_above_half": 1,
        "teacher_alone_behind_best_fixed": 10.5,
        "labels_alone_behind_best_fixed": 2.0,
        "one_fixed_for_all": "fixed 0",
        "one_fixed_for_all_behind_best_fixed": 2.0,
    }


def test_without_its_tuning_there_is_no_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert balancers.main(["--out", str(tmp_path), "--runs", str(tmp_path / "runs")]) == 1
    assert "run --tune first" in capsys.readouterr().err


def test_an_interval_counts_a_seed_once() -> None:
    # Differences of 1 and 3 in one seed, 2 and 4 in the other: means 2 and 3, so 2.5 ± 12.706·0.5.
    values = {"default": {"a": [1.0, 2.0], "b": [3.0, 4.0]}, "clock": {"a": [0.0, 0.0], "b": [0.0, 0.0]}}
    found = balancers.versus(values, "clock", ["a", "b"])
    assert found["mean"] == pytest.approx(2.5)
    assert found["high"] - found["low"] == pytest.approx(2 * 12.706 * 0.5, rel=1e-4)


SMALL = {
    "rounds": 1,
    "data": {"private_size": 300, "public": {"size": 200}},
    "student": {"model": "mlp"},
    "distillation": {"steps": 20},
}


def answers_of(folder: Path, clients: int) -> list[Path]:
    """Clients that are sure of the right class, or of the class before it if they are odd."""
    truth = Experiment.of(Setting(SMALL).config(Cell(1.0, 40, "mean_probabilities", clients), 0)).data.public.truth
    files = [folder / f"{client}.npz" for client in range(clients)]
    for client, file in enumerate(files):
        named = (truth - client % 2) % 10
        np.savez(file, examples=np.array(10), logits=(9.0 * torch.nn.functional.one_hot(named, 10)).float().numpy())
    return files


def test_teachers_are_what_their_cell_says(tmp_path: Path) -> None:
    files, setting = answers_of(tmp_path, 10), Setting(SMALL)

    def found(twist: lambda_cells.Twist) -> list[torch.Tensor]:
        return lambda_cells.teachers(setting, Cell(1.0, 40, "mean_probabilities", 10, twist), 0, files)

    truth = Experiment.of(setting.config(Cell(1.0, 40, "mean_probabilities"), 0)).data.public.truth

    def right(teacher: torch.Tensor) -> float:
        return float((teacher.argmax(dim=-1) == truth).double().mean())

    (plain,), (misled,), (noised,) = found(""), found("misled"), found("noised")
    at = torch.arange(len(truth))
    # Half of the clients are right, and half name the class before; the mean halves both.
    torch.testing.assert_close(plain.exp()[at, truth], plain.exp()[at, (truth - 1) % 10])
    assert float(plain.exp()[at, truth].mean()) == pytest.approx(0.5, abs=0.01)
    # Six name the class after the one that they mean, and so the right one if they are odd.
    assert right(misled) != right(plain)
    assert not torch.equal(noised, plain)
    changing = found("changing")
    assert len(changing) == lambda_cells.ROUNDS
    assert any(not torch.equal(changing[0], other) for other in changing[1:])


def test_public_samples_from_elsewhere_leave_only_the_labelled_ones_of_the_own_data_set() -> None:
    setting, cell = Setting(SMALL, foreign="digits"), Cell(1.0, 40, "mean_probabilities", twist="foreign")
    experiment = Experiment.of(setting.config(cell, 0))
    public = setting.public(cell, experiment)
    # 1,437 images of the other set's train split behind 40 labelled ones, a fifth of them for validation.
    assert len(public.inputs) == 40 + len(setting.foreign_inputs(experiment))
    assert int((public.labels >= 0).sum()) == 32
    assert int(public.validation.sum()) == 8
    assert bool((public.truth[40:] == -1).all())


def test_clients_answer_on_samples_from_elsewhere_and_a_student_learns_from_them(tmp_path: Path) -> None:
    setting, cell = Setting(SMALL, foreign="digits"), Cell(1.0, 40, "mean_probabilities", 2, "foreign")
    files = [tmp_path / f"{client}.npz" for client in range(2)]
    for client, file in enumerate(files):
        lambda_cells.answer(setting, cell, 0, client, file)
    own = Experiment.of(setting.config(cell, 0)).data.public
    (taught,) = lambda_cells.teachers(setting, cell, 0, files)
    # The teacher's first rows are those of the labelled samples, the others those of the foreign ones.
    answers = torch.stack([torch.from_numpy(np.load(file)["logits"]) for file in files]).softmax(dim=-1).mean(dim=0)
    places = torch.cat([lambda_cells.labelled(own), torch.arange(len(own.labels), len(answers))])
    torch.testing.assert_close(taught.exp(), answers[places], atol=1e-5, rtol=1e-4)
    model, mean = lambda_cells.student(setting, cell, 0, balancers.SETTINGS["cosine 1→0"], [taught])
    assert mean == pytest.approx(0.5)
    untrained = Experiment.of(setting.config(cell, 0)).initial_model()
    assert not torch.equal(next(iter(model.parameters())), next(iter(untrained.parameters())))
