"""Every file of a run directory emptied, truncated, edited, swapped and deleted: noticed by name, never believed."""

import json
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fedkd.app.cli import main as cli
from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.core.errors import FedkdError, FolderError
from fedkd.results.observer import Silent
from fedkd.results.records import RoundRecord
from fedkd.results.report import run_page
from fedkd.results.report.run_log import RunLog
from tests.support.interrupted import PLAIN

TINY: dict[str, Any] = PLAIN | {
    "data": {"private_size": 45, "public": {"size": 40, "labelled": 20, "round_size": 20}},
    "clients": {"count": 2, "rule": "own_model"},
    "distillation": {"steps": 2, "warmup": 1},
    "controls": ["public_only"],
}
"""Clients that keep something between rounds."""

PRIVATE: dict[str, Any] = TINY | {
    "clients": {"count": 2},
    "privacy": {"mechanism": {"name": "gaussian_logits", "noise_multiplier": 5.0}},
    "rounds": 2,
}


class Listener(Silent):
    """Keeps what is said, and interrupts the run after a round."""

    def __init__(self, last: int | None = None) -> None:
        self.last, self.texts = last, list[str]()

    def noticed(self, text: str) -> None:
        self.texts.append(text)

    def round_ended(self, record: RoundRecord, seconds: float) -> None:
        if record.round == self.last:
            raise KeyboardInterrupt


class Runs:
    """Runs that are made when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, config: dict[str, Any], last: int | None = None) -> Path:
        out = self.folder / name
        if not out.exists():
            try:
                run_experiment(load_config(config), out, Listener(last))
            except KeyboardInterrupt:
                assert last is not None
        return out

    def stopped(self, seed: int = 3) -> Path:
        """Two of three rounds are done."""
        return self(f"stopped-{seed}", TINY | {"seed": seed}, 2)

    def finished(self, seed: int = 3) -> Path:
        return self(f"finished-{seed}", TINY | {"seed": seed})


@pytest.fixture(scope="module", autouse=True)
def _without_figures() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_page, "pictures", lambda *arguments: iter(()))
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


def edited(path: Path) -> bytes:
    """The file with another digit: the first of settings and results, one in the middle of what grows."""
    content = path.read_bytes()
    start = 0 if path.suffix in {".json", ".yaml"} else len(content) // 2
    place = next(index for index in range(start, len(content)) if chr(content[index]) in "012345678")
    return content[:place] + bytes([content[place] + 1]) + content[place + 1 :]


DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "emptied": lambda path, other: path.write_bytes(b""),
    "truncated": lambda path, other: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "edited": lambda path, other: path.write_bytes(edited(path)),
    "swapped": lambda path, other: shutil.copy(other, path),
    "deleted": lambda path, other: path.unlink(),
    "not text": lambda path, other: path.write_bytes(b"\xff\xfe" + path.read_bytes()),
}


def contents(out: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != ".lock"}


def outcome(out: Path, config: dict[str, Any]) -> tuple[str, list[str]]:
    """The digest of the student of the run that goes on, or the error, with the notices."""
    listener, before = Listener(), contents(out)
    try:
        summary = run_experiment(load_config(config), out, listener, resume=True).summary
    except FolderError as error:
        assert contents(out) == before, "a run that is refused is not touched"
        return str(error), listener.texts
    return str(summary.student_sha256), listener.texts


NEWEST = ("checkpoints/round_00002.pt", "client_state/client_000001/round_00002.pt")
LOGS = ("clients.csv", "distillation.csv", "rounds.jsonl")


@pytest.mark.parametrize("name", [*NEWEST, *LOGS, "config.yaml"])
def test_an_interrupted_run_ends_as_it_would_have_or_says_why_not(runs: Runs, tmp_path: Path, name: str) -> None:
    student = json.loads((runs.finished() / "summary.json").read_text())["student_sha256"]
    lines = (runs.finished() / "rounds.jsonl").read_bytes()
    for damage, spoil in DAMAGES.items():
        out = Path(shutil.copytree(runs.stopped(), tmp_path / damage))
        spoil(out / name, runs.stopped(seed=4) / name)
        found, notices = outcome(out, TINY)
        if found == student:
            assert (out / "rounds.jsonl").read_bytes() == lines
            # The newest round's lines are in its checkpoint, and without it the round is done again.
            gone_unsaid = name in LOGS or damage == "deleted"
            assert gone_unsaid or any(name in text for text in notices), (damage, notices)
        else:
            assert str(out / name) in found, (damage, found)
            assert "put " in found
        assert (found == student) or name not in NEWEST, damage
        assert (found != student) or name != "config.yaml" or damage == "deleted", damage


NOT_REFUSED = {
    *((name, damage) for name in ("controls.json", "checkpoints/round_00003.pt") for damage in DAMAGES),
    ("summary.json", "deleted"),
}
"""What reports do not read; and a run without a summary is one that is not finished."""


@pytest.mark.parametrize("name", [*LOGS, "config.yaml", "summary.json", "controls.json", "checkpoints/round_00003.pt"])
def test_a_finished_run_is_whole_or_says_what_is_not(runs: Runs, tmp_path: Path, name: str) -> None:
    student = json.loads((runs.finished() / "summary.json").read_text())["student_sha256"]
    for damage, spoil in DAMAGES.items():
        out = Path(shutil.copytree(runs.finished(), tmp_path / damage))
        spoil(out / name, runs.finished(seed=4) / name)
        before = contents(out)
        if (name, damage) not in NOT_REFUSED:
            with pytest.raises(FolderError) as refused:
                run_page.write_report(out)
            assert str(out / name) in str(refused.value), damage
            assert contents(out) == before
        found, notices = outcome(out, TINY)
        if found == student:
            assert damage == "deleted" or any(name in text for text in notices), (damage, notices)
            assert (out / "rounds.jsonl").read_bytes() == (runs.finished() / "rounds.jsonl").read_bytes()
            assert RunLog.read(out).summary is not None
        else:
            assert name in {*LOGS, "config.yaml"}
            assert str(out / name) in found, (damage, found)


def test_lost_wall_times_cost_nothing_else(runs: Runs, tmp_path: Path) -> None:
    student = json.loads((runs.finished() / "summary.json").read_text())["student_sha256"]
    for damage in ("emptied", "truncated", "deleted", "not text"):
        out = Path(shutil.copytree(runs.stopped(), tmp_path / f"stopped {damage}"))
        DAMAGES[damage](out / "timings.jsonl", out)
        found, notices = outcome(out, TINY)
        assert found == student
        assert damage == "truncated" or "timings.jsonl" in notices[0]
        out = Path(shutil.copytree(runs.finished(), tmp_path / f"finished {damage}"))
        DAMAGES[damage](out / "timings.jsonl", out)
        assert f"{out}/timings.jsonl" in run_page.write_report(out).read_text()
        assert outcome(out, TINY)[0] == student


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_ledger_never_refunds(runs: Runs, tmp_path: Path, damage: str) -> None:
    for source, other in (
        (runs("private", PRIVATE, 1), runs("private-4", PRIVATE | {"seed": 4}, 1)),
        (runs("private-whole", PRIVATE), runs("private-whole-4", PRIVATE | {"seed": 4})),
    ):
        out = Path(shutil.copytree(source, tmp_path / source.name))
        DAMAGES[damage](out / "privacy_ledger.json", other / "privacy_ledger.json")
        found, _ = outcome(out, PRIVATE)
        assert str(out / "privacy_ledger.json") in found
        assert "put it back" in found


def test_a_checkpoint_of_another_name_is_none(runs: Runs, tmp_path: Path) -> None:
    student = json.loads((runs.finished() / "summary.json").read_text())["student_sha256"]
    out = Path(shutil.copytree(runs.stopped(), tmp_path / "run"))
    newest, kept = out / NEWEST[0], out / "checkpoints/round_00001.pt"
    for name in ("round_2.pt", "round_x.pt", "round_00009.pt", "round_000001.pt", "round_99999999999999999999.pt"):
        shutil.copy(newest, newest.with_name(name))
    kept.write_bytes(newest.read_bytes())
    found, notices = outcome(out, TINY)
    assert found == student
    assert "round_00009.pt is not what belongs there: it is the checkpoint of round 2" in notices[0]
    for path in (out / "checkpoints").iterdir():
        path.rename(path.with_suffix(".bak"))
    (out / "summary.json").unlink()
    assert "its checkpoints are missing" in outcome(out, TINY)[0]


def test_names_and_links_lead_nowhere(runs: Runs, tmp_path: Path) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    for name in ("rounds.jsonl", "rounds.jsonl.partial", "config.yaml.partial", ".lock", "summary.json.partial"):
        out = Path(shutil.copytree(runs.stopped(), tmp_path / name))
        (out / name).unlink(missing_ok=True)
        (out / name).symlink_to(victim)
        with suppress(FedkdError):
            run_experiment(load_config(TINY), out, resume=True)
        assert victim.read_text() == "mine"


@pytest.mark.parametrize("damage", ["emptied", "truncated", "edited", "swapped", "not text"])
def test_the_commands_name_a_damaged_configuration(
    runs: Runs, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for source, commands in (
        (runs.stopped, [["run", "--resume", "--out"]]),
        (runs.finished, [["run", "--resume", "--out"], ["report"], ["audit"], ["compare", "--out", f"{tmp_path}/x"]]),
    ):
        out = Path(shutil.copytree(source(), tmp_path / source.__name__))
        DAMAGES[damage](out / "config.yaml", source(seed=4) / "config.yaml")
        before = contents(out)
        for command in commands:
            monkeypatch.setattr(sys, "argv", ["fedkd", *command, str(out)])
            with pytest.raises(SystemExit) as ended:
                cli.main()
            message = capsys.readouterr().err
            assert ended.value.code == cli.EXIT_BAD_INPUT, message
            assert str(out / "config.yaml") in message
            assert contents(out) == before
