"""What a run keeps on disk: checkpoints that know whether they are whole, logs that can be cut back, and the lock."""

import errno
import json
import os
import random
from collections import OrderedDict
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from fedkd.config.load import load_config
from fedkd.core.errors import FolderError, RunError
from fedkd.core.files import replace_file
from fedkd.core.messages import Traffic
from fedkd.distillation.diagnosis import Diagnosis, ValidationReport, Verdict
from fedkd.results.checkpoint import Checkpoint, Origin, Record, load_checkpoint, save_checkpoint
from fedkd.results.directory import ControlResult, RunDirectory
from fedkd.results.lock import locked
from fedkd.results.logs import LogName, LogState, round_lines
from fedkd.results.records import ClientRecord, Failure, RoundRecord
from fedkd.results.totals import Totals

VALIDATION = ValidationReport(0.5, 0.75, 0.5, 0.125, 1.0, None, None, 0.25, 0.5, 4, 0.25)
RECORD = RoundRecord(
    round=1,
    student_accuracy=0.1 + 0.2,
    validation_accuracy=0.5,
    teacher_accuracy=None,
    mean_lambda=1 / 3,
    loss_dist=1e-300,
    loss_cls=2.5,
    temperature=3.0,
    bytes_up=100,
    bytes_down=1000,
    clients=(0, 2),
    failures=(Failure(1, "λ is not a number"),),
    validation=VALIDATION,
    diagnosis=Diagnosis(next(iter(Verdict)), "All is well.", 4),
)
CLIENTS = (
    ClientRecord(1, 0, "mlp", Traffic(logits=60, other=10), Traffic(parameters=500), "honest", 0.5, 0.25),
    ClientRecord(1, 2, "mlp", Traffic(logits=30), Traffic(parameters=500), "lma", None, 0.75),
)


def checkpoint(server: dict[str, Any] | None = None, totals: Totals | None = None) -> Checkpoint:
    logs: dict[LogName, LogState] = {"clients.csv": LogState.of(b"abc")}
    record = Record(totals or Totals(), logs, {"clients.csv": "λ\r\n"}, Origin({"torch": "2"}), {"seed": 1}, {3: "ab"})
    return Checkpoint(server or {}, record)


def same(found: Any, expected: Any) -> bool:
    """Equality of values, types, and the bits and layout of arrays and tensors."""
    if isinstance(expected, torch.Tensor):
        equal = torch.equal(found.nan_to_num(7), expected.nan_to_num(7))
        return equal and found.dtype == expected.dtype and found.stride() == expected.stride()
    if isinstance(expected, np.ndarray | np.generic):
        return type(found) is type(expected) and found.dtype == expected.dtype and found.tobytes() == expected.tobytes()
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list | tuple):
        return (
            type(found) is type(expected)
            and len(found) == len(expected)
            and all(same(one, other) for one, other in zip(found, expected, strict=True))
        )
    return type(found) is type(expected) and bool(found == expected)


def test_every_kind_of_state_comes_back_bit_by_bit(tmp_path: Path) -> None:
    server = {
        "weights": torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)).contiguous(
            memory_format=torch.channels_last
        ),
        "ordered": OrderedDict(bias=torch.tensor([float("nan"), -0.0])),
        "by client": {3: np.arange(4, dtype=np.uint16), 0: np.zeros((0, 5), np.float32)},
        "mask": np.array([True, False]),
        "scalars": (np.float64(0.1), np.int32(-1), 0.1, 1, True, None, "text", b"bytes"),
        "nothing": [],
        "empty": {},
        "looks like a mark": {"numpy array": 1, "other": 2},
    }
    save_checkpoint(tmp_path / "c.pt", checkpoint(server))
    assert same(load_checkpoint(tmp_path / "c.pt", 0).server, server)


def test_plain_torch_reads_a_checkpoint_safely(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.pt", checkpoint({"student": torch.ones(3), "codes": np.ones(2, np.uint8)}))
    found = torch.load(tmp_path / "c.pt", weights_only=True)
    assert found["server"]["student"].tolist() == [1, 1, 1]


def test_a_state_that_cannot_be_kept_is_refused_with_its_place(tmp_path: Path) -> None:
    for value, kind in ((object(), "object"), ({1, 2}, "set"), (np.array(["a"]), "array of <U1")):
        with pytest.raises(RunError, match=rf"server\.rule\.1\.deep is an? {kind}.* cannot be kept"):
            save_checkpoint(tmp_path / "c.pt", checkpoint({"rule": [0, {"deep": value}]}))
    assert not list(tmp_path.iterdir())


def test_any_damage_is_noticed(tmp_path: Path) -> None:
    path, draw = tmp_path / "c.pt", random.Random(1)
    save_checkpoint(path, checkpoint({"student": torch.ones(300)}))
    whole = path.read_bytes()
    places = [0, 1, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(60))]
    for index in places:
        flipped = bytearray(whole)
        flipped[index] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(FolderError, match=r"c\.pt is (damaged|not what belongs there)"):
            load_checkpoint(path, 0)
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(FolderError, match="its end is missing"):
            load_checkpoint(path, 0)
    path.write_bytes(whole)
    assert load_checkpoint(path, 0).record == checkpoint().record


def test_a_checkpoint_of_another_round_or_format_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, checkpoint())
    with pytest.raises(FolderError, match=r"it is the checkpoint of round 0, format 3, not the checkpoint of round 3"):
        load_checkpoint(path, 3)
    monkeypatch.setattr("fedkd.results.checkpoint.FORMAT", 4)
    with pytest.raises(FolderError, match=r"of round 0, format 3, not the checkpoint of round 0, format 4"):
        load_checkpoint(path, 0)


def test_a_tally_adds_up_and_comes_back_exactly() -> None:
    first = Totals().after(RECORD, CLIENTS, ensemble_accuracy=None, probed=False, seconds=1.5)
    second = replace(RECORD, round=2, validation=None)
    totals = first.after(second, CLIENTS[:1], ensemble_accuracy=1 / 7, probed=True, seconds=2.5)
    assert (totals.rounds, totals.bytes_up, totals.bytes_down, totals.failures) == (2, 200, 2000, 2)
    assert totals.sent == Traffic(logits=150, other=20)
    assert totals.received == Traffic(parameters=1500)
    assert first.client_test_accuracy == 0.5
    assert (totals.client_test_accuracy, totals.validation_before, totals.seconds) == (0.25, VALIDATION, 2.5)
    for each in (totals, Totals()):
        assert TypeAdapter(Totals).validate_json(json.dumps(asdict(each)), strict=True) == each


def contents(out: Path) -> dict[str, bytes]:
    names = ("clients.csv", "distillation.csv", "rounds.jsonl", "timings.jsonl")
    return {name: (out / name).read_bytes() for name in names}


def committed(out: Path, rounds: int) -> RunDirectory:
    """A run directory with so many rounds, all alike."""
    directory, totals = RunDirectory.create(out, load_config({})), Totals()
    directory.commit({}, totals, Origin())
    for round in range(1, rounds + 1):
        record, rows = replace(RECORD, round=round), [replace(row, round=round) for row in CLIENTS]
        totals = totals.after(record, rows, ensemble_accuracy=None, probed=round == rounds, seconds=float(round))
        directory.commit({"round": round}, totals, Origin(), round_lines(record, rows, (), 1.0))
    return directory


def ignore(text: str) -> None:
    raise AssertionError(f"nothing is wrong, and yet: {text}")


@pytest.fixture(scope="module")
def two_rounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    committed(out, 2)
    return out


@settings(deadline=None, max_examples=30)
@given(extra=st.binary(max_size=40), log=st.sampled_from(["clients.csv", "rounds.jsonl", "timings.jsonl"]))
def test_whatever_follows_the_finished_rounds_in_a_log_is_cut_off(two_rounds: Path, extra: bytes, log: str) -> None:
    out, whole = two_rounds, contents(two_rounds)
    (out / log).write_bytes(whole[log] + extra)
    found = RunDirectory(out).resume_from(2, ignore)
    assert found is not None
    assert (found.round, found.server) == (2, {"round": 2})
    assert contents(out) == whole


def test_lines_of_the_newest_round_that_never_came_are_added(tmp_path: Path) -> None:
    committed(tmp_path / "one", 1)
    committed(tmp_path / "two", 2)
    before, whole = contents(tmp_path / "one"), contents(tmp_path / "two")
    for name in whole:
        for size in range(len(before[name]), len(whole[name]) + 1, 17):
            (tmp_path / "two" / name).write_bytes(whole[name][:size])
            RunDirectory(tmp_path / "two").resume_from(2, ignore)
            assert contents(tmp_path / "two") == whole


def test_two_checkpoints_are_kept_beyond_five_digits(tmp_path: Path) -> None:
    directory = committed(tmp_path / "run", 3)
    for round in (99_999, 100_000):
        directory.commit({}, Totals(rounds=round), Origin())
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["round_100000.pt", "round_99999.pt"]
    assert directory.rounds_done == 100_000


def test_controls_belong_to_a_number_of_rounds(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path / "run", load_config({}))
    finished = {"fedavg": ControlResult([0.1, 0.1 + 0.2], None, 3.0), "public_only": ControlResult([1.0], 0.5, 1.0)}
    directory.save_controls(5, finished)
    assert directory.controls(5, ignore) == finished
    assert directory.controls(6, ignore) == {}
    notices: list[str] = []
    for text in ('{"rounds": 5, "finis', '{"rounds": 5, "finished": {}}', "[]", ""):
        (tmp_path / "run" / "controls.json").write_text(text)
        assert directory.controls(5, notices.append) == {}
        assert "controls.json" in notices[-1]
        assert "controls are computed again" in notices[-1]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_content_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file"
    replace_file(path, b"old")

    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(RunError, match=r"file cannot be written \(.*No space left on device\); see that .* has room"):
        replace_file(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_checkpoint_that_cannot_be_written_takes_no_log_line_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = committed(tmp_path / "run", 1)
    before = contents(tmp_path / "run")

    def fail(*arguments: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(RunError, match=r"round_00002\.pt cannot be written"):
        directory.commit({}, Totals(rounds=2), Origin(), round_lines(RECORD, CLIENTS, (), 1.0))
    monkeypatch.undo()
    assert contents(tmp_path / "run") == before
    assert directory.rounds_done == 1


def test_one_holder_at_a_time_and_none_after_the_process_is_gone(tmp_path: Path) -> None:
    ready, release = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with locked(tmp_path / "run"):
            os.write(ready[1], b"x")
            os.read(release[0], 1)
        os._exit(1)
    os.read(ready[0], 1)
    with pytest.raises(RunError, match=rf"run is in use by process {child} on .*; wait until it has ended"):
        locked(tmp_path / "run").__enter__()
    os.kill(child, 9)
    os.waitpid(child, 0)
    with locked(tmp_path / "run"):
        pass
    for handle in (*ready, *release):
        os.close(handle)


def test_a_config_that_was_torn_is_named(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path / "run", load_config({}))
    assert directory.config == load_config({})
    for text, words in (
        ("rounds: [1,", "cannot be used"),
        ("", "is not as the run wrote"),
        ("rounds: 3", "as the run"),
    ):
        (tmp_path / "run" / "config.yaml").write_text(text)
        with pytest.raises(
            FolderError, match=rf"(?s)config\.yaml .*{words}.*; put it back as the run wrote it, or remo"
        ):
            _ = RunDirectory(tmp_path / "run").config
