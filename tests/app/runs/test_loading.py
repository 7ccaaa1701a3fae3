"""From a folder to a run, or to what is wrong with it and what to do."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from fedkd import FedkdError, Run, load_config, load_run, load_runs, run_experiment
from fedkd.core.documents import write_document
from tests.app.runs.conftest import SMALL
from tests.support import ROOT


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder / "0", tmp_path / "run"))


@pytest.fixture
def stopped(copy: Path) -> Path:
    """As after an interruption in the middle of writing down the second round."""
    (copy / "summary.json").unlink()
    for name in ("rounds.jsonl", "clients.csv"):
        (copy / name).write_bytes((copy / name).read_bytes()[:-40])
    return copy


def test_an_unfinished_run_says_how_far_it_is_and_can_be_read_so_far(stopped: Path) -> None:
    with pytest.raises(
        FedkdError, match="not finished: 1 of 2 rounds are recorded; fedkd run --resume --out"
    ) as caught:
        load_run(stopped)
    assert "unfinished=True" in str(caught.value)
    run = load_run(stopped, unfinished=True)
    assert not run.finished
    assert len(run.rounds) == 1
    assert len(run.clients) == 5
    assert set(run.controls["control"]) == {"public_only", "local_only", "teacher_only"}
    assert run.plot.accuracy().axes
    assert "after the last round that is recorded" in run._repr_html_()
    for ask in (run.student, run.teacher, lambda: run.summary):
        with pytest.raises(FedkdError, match="not finished; fedkd run --resume"):
            ask()


def test_an_unfinished_distillation_says_how_to_go_on(distilled: Run, tmp_path: Path) -> None:
    out = Path(shutil.copytree(distilled, tmp_path / "run"))
    (out / "result.json").unlink()
    with pytest.raises(FedkdError, match=r"not finished: .*fedkd distill .*config\.yaml --resume --out"):
        load_run(out)
    assert len(load_run(out, unfinished=True).steps) == 16


def test_a_foreign_folder_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FedkdError, match=r"is no folder; name the one"):
        load_run(tmp_path / "none")
    with pytest.raises(
        FedkdError, match=r"holds no run: there is neither config\.yaml nor rounds\.jsonl; name a folder"
    ):
        load_run(tmp_path)
    (tmp_path / "sweep.json").write_text("{}", encoding="utf-8")
    with pytest.raises(FedkdError, match="it holds a sweep, whose runs load_runs reads"):
        load_run(tmp_path)
    with pytest.raises(FedkdError, match="holds no run"):
        load_runs(tmp_path)


def test_files_that_were_changed_are_refused(copy: Path) -> None:
    text = (copy / "rounds.jsonl").read_text(encoding="utf-8")
    (copy / "rounds.jsonl").write_text(text.replace('"round": 1', '"round": 3'), encoding="utf-8")
    with pytest.raises(FedkdError, match=r"rounds\.jsonl was changed"):
        load_run(copy)


def test_frames_need_no_code_of_plug_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "strategies/mean_logits.py").read_text(encoding="utf-8")
    (tmp_path / "gone_strategy.py").write_text(text, encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        run_experiment(
            load_config(SMALL, ["strategy=gone_strategy:MeanLogits", "rounds=1", "controls=[]"]), tmp_path / "run"
        )
    sys.modules.pop("gone_strategy")
    run = load_run(tmp_path / "run")
    assert list(run.rounds["student_accuracy"]) == [run.summary.student_accuracy]
    assert run.plot.accuracy().axes
    with pytest.raises(FedkdError, match="cannot import 'gone_strategy'"):
        run.student()


def test_a_run_from_before_a_key_was_there_is_read(copy: Path) -> None:
    text = (copy / "config.yaml").read_text(encoding="utf-8")
    assert "\ntracking: []\n" in text
    (copy / "config.yaml").write_text(text.replace("\ntracking: []\n", "\n"), encoding="utf-8")
    assert load_run(copy).student() is not None


def test_a_run_of_another_version_says_which(copy: Path) -> None:
    """As a version would write it whose summaries have something else in them."""
    summary = json.loads((copy / "summary.json").read_text(encoding="utf-8"))
    run = summary.pop("run")
    del summary["sha256"], summary["bytes_up"]
    write_document(copy / "summary.json", {**summary, "versions": summary["versions"] | {"fedkd": "9.9"}}, run)
    with pytest.raises(FedkdError, match=r"was written by fedkd 9\.9, and fedkd .* cannot read it .*bytes_up"):
        load_run(copy)
