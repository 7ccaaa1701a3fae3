"""The robustness study runs, is resumable, and its table says what it claims."""

import csv
import json
from pathlib import Path

import pytest
from studies.robustness import study
from studies.robustness.settings import COLLUDERS, experiment_of

from tests.support.scripts_run import run_script


def test_the_robustness_study_runs_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--seeds", "0", "--out", str(tmp_path), "--runs", str(tmp_path / "runs"), "--workers", "1")
    table = run_script("scripts/robustness_study.py", *where)
    report = json.loads((tmp_path / "robustness_study.json").read_text())
    assert set(report["best"]) == {"iid", "colluders hold a class"}
    assert set(report["best"]["iid"]) == {"none", "label_noise 30%", "hips 30%", "absent 30%"}
    for case, row in report["mean"]["iid"].items():
        best = report["best"]["iid"][case]
        assert best["accuracy"] == row[best["defence"]]
        for defence, (mean, _) in row.items():
            assert report["loss"]["iid"][case][defence][0] == pytest.approx(
                report["mean"]["iid"]["none"][defence][0] - mean
            )
    # Three of ten clients that train on wrong labels hurt the mean, and hardly the teacher that is fitted on labels.
    loss = {defence: value[0] for defence, value in report["loss"]["iid"]["label_noise 30%"].items()}
    assert loss["mean_probabilities"] > 3.0
    assert loss["stacked"] < loss["mean_probabilities"]
    for partition, by_share in report["beyond_absence"].items():
        row, values = by_share["30%"]["stacked"], report["values"][partition]
        worst = min(values[f"{attack} 30%"]["stacked"][0] for attack in ("label_noise", "hips"))
        assert row["points"][0] == pytest.approx(values["absent 30%"]["stacked"][0] - worst)
        assert values[row["attack"]]["stacked"][0] == worst
    assert all(len(attackers) == 3 for attackers in report["attackers"].values())
    with (tmp_path / "robustness_study.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 8 * len(report["defences"])
    assert (tmp_path / "robustness_study.png").stat().st_size > 10_000
    # Everything is kept: a second call only writes the tables again.
    assert study.main(where) == 0
    assert capsys.readouterr().out == table


def test_colluders_hold_all_private_samples_of_a_class() -> None:
    experiment = experiment_of("small", "colluders hold a class", 3, COLLUDERS)
    held, clients = experiment.config.data.dataset.options["held"], experiment.data.clients
    counts = [int((experiment.data.labels[client.train] == held).sum()) for client in clients]
    attackers = experiment.attackers
    assert len(attackers) == 3
    assert all((count > 0) == (client in attackers) for client, count in enumerate(counts))
    assert (experiment.data.public.truth == held).any()
    # Everybody has samples of other classes.
    assert all(client.train.numel() > counts[at] for at, client in enumerate(clients))
