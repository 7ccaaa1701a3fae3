"""Every run says who has which samples, and another run can be given that."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fedkd.app.run import run_experiment
from fedkd.config.digest import configuration_digest
from fedkd.config.given import pinned
from fedkd.config.load import load_config
from fedkd.core.errors import ConfigError
from fedkd.data import prepare
from fedkd.results.observer import Silent
from fedkd.results.records import Overview, RoundRecord
from tests.support.federations import SMALL

FILE = "partition.json"


class Watcher(Silent):
    """Keeps what is told before the first round, and whether the partition was there then; stops after a round."""

    def __init__(self, folder: Path, last: int | None = None) -> None:
        self.folder, self.last = folder, last
        self.overview: Overview | None = None
        self.written = False

    def started(self, overview: Overview) -> None:
        self.overview = overview

    def progress(self, stage: str, done: int, total: int) -> None:
        self.written |= stage == "clients" and done == 0 and (self.folder / FILE).is_file()

    def round_ended(self, record: RoundRecord, seconds: float) -> None:
        if record.round == self.last:
            raise KeyboardInterrupt


def given(path: Path) -> list[str]:
    return ["data.partition={scheme: given, path: " + str(path) + "}", "data.private_size=null"]


def result(folder: Path) -> tuple[Any, bytes, bytes]:
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary["student_sha256"], (folder / "rounds.jsonl").read_bytes(), (folder / "clients.csv").read_bytes()


@pytest.mark.parametrize("scheme", ["dirichlet", "shards"])
def test_a_run_that_is_given_the_partition_of_another_is_the_same_run(tmp_path: Path, scheme: str) -> None:
    drawn, again, watcher = tmp_path / "drawn", tmp_path / "again", Watcher(tmp_path / "again")
    run_experiment(load_config(SMALL, [f"data.partition.scheme={scheme}", "rounds=2"]), drawn)
    run_experiment(load_config(SMALL, [*given(drawn / FILE), "rounds=2"]), again, watcher)
    assert result(again) == result(drawn)
    assert (again / FILE).read_bytes() == (drawn / FILE).read_bytes()
    assert watcher.written
    assert watcher.overview is not None
    assert watcher.overview.partition == "given(partition.json)"
    partition = json.loads((drawn / FILE).read_text(encoding="utf-8"))
    assert sum(map(len, partition["clients"])) == 80
    assert len(partition["public"]) == 40


def test_the_partition_is_there_again_after_a_run_was_resumed(tmp_path: Path) -> None:
    config, out = load_config(SMALL, ["rounds=2"]), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_experiment(config, out, Watcher(out, last=1))
    before = (out / FILE).read_bytes()
    (out / FILE).write_text("{")
    run_experiment(config, out, resume=True)
    assert (out / FILE).read_bytes() == before


def test_another_partition_under_the_name_is_refused_on_resume(tmp_path: Path) -> None:
    path, out = tmp_path / FILE, tmp_path / "run"
    rows = [list(range(client * 20, client * 20 + 20)) for client in range(4)]
    path.write_text(json.dumps({"clients": rows}))
    run_experiment(load_config(SMALL, [*given(path), "rounds=1"]), out)
    shutil.copy(path, tmp_path / "moved.json")
    path.write_text(json.dumps({"clients": rows[::-1]}))
    with pytest.raises(ConfigError, match=r"data\.partition\.sha256: the run in .* has"):
        run_experiment(load_config(SMALL, [*given(path), "rounds=2"]), out, resume=True)
    with pytest.raises(ConfigError, match=r"data\.partition\.path: .* is not the file"):
        prepare(load_config(out / "config.yaml"))
    moved = load_config(SMALL, [*given(tmp_path / "moved.json"), "rounds=2"])
    assert run_experiment(moved, out, resume=True).summary.rounds == 2


def test_the_digest_of_a_configuration_is_that_of_the_partition_wherever_it_lies(tmp_path: Path) -> None:
    digests = []
    for name, rows in (("a.json", [[1, 2]]), ("b.json", [[1, 2]]), ("c.json", [[1, 3]])):
        (tmp_path / name).write_text(json.dumps({"clients": rows}))
        digests.append(configuration_digest(pinned(load_config(SMALL, given(tmp_path / name)))))
    assert digests[0] == digests[1] != digests[2]


def test_a_faulty_partition_is_told_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"clients": [[1, 2], [2, 3], [4, 5], [6, 7]]}')
    with pytest.raises(ConfigError) as caught:
        run_experiment(load_config(SMALL, given(tmp_path / FILE)), tmp_path / "run")
    (problem,) = caught.value.problems
    assert "got position 2 twice" in problem
    with pytest.raises(ConfigError) as caught:
        run_experiment(load_config(SMALL, given(tmp_path / "none.json")), tmp_path / "run")
    assert len(caught.value.problems) == 1
    assert not (tmp_path / "run").exists()
