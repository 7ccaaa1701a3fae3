"""What clients keep on disk between rounds."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedkd.client.state import ClientStore, check_states, recall, state_digests, state_key
from fedkd.config.load import load_config, to_json
from fedkd.core.errors import FolderError, RunError
from fedkd.core.messages import Job
from fedkd.experiment import Experiment

RUN = "5" * 64


def memory(value: float) -> dict[str, torch.Tensor]:
    return {"model/weight": torch.full((2, 3), value)}


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_two_rounds_are_kept_besides_the_newest(tmp_path: Path) -> None:
    store = ClientStore(str(tmp_path), 7, RUN)
    assert store.rounds(5) == []
    for after, round in ((0, 1), (1, 2), (2, 4), (4, 5)):
        store.save(round, memory(round), after=after)
    assert files(tmp_path) == [f"client_000007/round_0000{round}.pt" for round in (2, 4, 5)]
    assert store.rounds(6) == [2, 4, 5]
    assert store.rounds(5) == [2, 4]
    assert torch.equal(store.load(4)["model/weight"], torch.full((2, 3), 4.0))


def test_a_memory_is_kept_however_many_rounds_nothing_came_of(tmp_path: Path) -> None:
    store = ClientStore(str(tmp_path), 0, RUN)
    for after, round in ((0, 1), (1, 2), (2, 3), (2, 4), (2, 5), (2, 6)):
        store.save(round, memory(round), after=after)
    assert store.rounds(7) == [1, 2, 6]


def test_clients_do_not_see_each_other(tmp_path: Path) -> None:
    ClientStore(str(tmp_path), 1, RUN).save(1, memory(1), after=0)
    assert ClientStore(str(tmp_path), 10, RUN).rounds(9) == []


def test_a_round_that_is_done_again_replaces_itself_and_what_came_after(tmp_path: Path) -> None:
    store = ClientStore(str(tmp_path), 0, RUN)
    for round in (1, 2, 3):
        store.save(round, memory(round), after=round - 1)
    # Done again from round 2 on: what round 3 left behind is not looked at, and then gone.
    assert store.rounds(3) == [1, 2]
    store.save(3, memory(30), after=2)
    assert torch.equal(store.load(3)["model/weight"], torch.full((2, 3), 30.0))
    store.save(2, memory(20), after=1)
    assert store.rounds(99) == [1, 2]
    assert torch.equal(store.load(2)["model/weight"], torch.full((2, 3), 20.0))


def test_a_write_that_fails_leaves_the_old_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ClientStore(str(tmp_path), 0, RUN)
    store.save(1, memory(1), after=0)

    def full(source: Path, target: Path) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    for round in (1, 2):
        with pytest.raises(RunError, match="no space left"):
            store.save(round, memory(9), after=round - 1)
    monkeypatch.undo()
    assert store.rounds(3) == [1]
    assert torch.equal(store.load(1)["model/weight"], torch.full((2, 3), 1.0))


def test_two_processes_never_write_to_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources, replace = [], os.replace

    def watched(source: Path, target: Path) -> None:
        sources.append(source.name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    for process in (11, 12):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        ClientStore(str(tmp_path), 0, RUN).save(1, memory(1), after=0)
    assert len(set(sources)) == 2
    assert files(tmp_path) == ["client_000000/round_00001.pt"]


@pytest.mark.parametrize("content", [b"", b"not a memory", None])
def test_a_damaged_memory_is_named(tmp_path: Path, content: bytes | None) -> None:
    store = ClientStore(str(tmp_path), 0, RUN)
    store.save(1, memory(1), after=0)
    path = tmp_path / "client_000000" / "round_00001.pt"
    path.write_bytes(path.read_bytes()[:100] if content is None else content)
    with pytest.raises(FolderError, match=r"client_000000/round_00001\.pt is damaged: .*; client 0 goes on from it"):
        store.load(1)


def test_a_machine_that_does_not_see_the_runs_folder_is_told(tmp_path: Path) -> None:
    store = ClientStore(str(tmp_path / "run" / "client_state"), 0, RUN)
    with pytest.raises(RunError, match=r"run is not on .*; on a cluster, name a folder that all machines share"):
        store.save(1, memory(1), after=0)


def test_a_memory_says_whose_and_which_rounds_it_is(tmp_path: Path) -> None:
    store = ClientStore(str(tmp_path), 0, RUN)
    store.save(1, memory(1), after=0)
    written = (tmp_path / "client_000000" / "round_00001.pt").read_bytes()
    for client, round, run in ((1, 1, RUN), (0, 2, RUN), (0, 1, "6" * 64)):
        path = tmp_path / f"client_{client:06d}" / f"round_{round:05d}.pt"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(written)
        with pytest.raises(
            FolderError, match=r"pt is not what belongs there: it is the memory of client 0 after round 1"
        ):
            ClientStore(str(tmp_path), client, run).load(round)


def test_what_clients_go_on_from_is_held_against_its_digests(tmp_path: Path) -> None:
    for client in (0, 1):
        ClientStore(str(tmp_path), client, RUN).save(2, memory(client), after=0)
    accepted = {0: 2, 1: 2, 5: 1}
    digests = state_digests(tmp_path, accepted, 2)
    assert set(digests) == {0, 1}
    check_states(tmp_path, RUN, {0: 2, 1: 2}, digests)
    ClientStore(str(tmp_path), 1, RUN).save(2, memory(7), after=0)
    with pytest.raises(FolderError, match=r"client_000001/round_00002\.pt was changed"):
        check_states(tmp_path, RUN, {0: 2, 1: 2}, digests)
    with pytest.raises(FolderError, match=r"client_000005/round_00001\.pt cannot be read"):
        check_states(tmp_path, RUN, {5: 1}, digests)


def test_a_client_that_lost_its_memory_refuses_to_begin_anew(tmp_path: Path) -> None:
    config = load_config({"clients": {"rule": "own_model", "count": 2}})
    experiment, job = Experiment.of(config), Job("round", 3, to_json(config), state_dir=str(tmp_path))
    assert recall(experiment, job, 1).memory == {}
    with pytest.raises(FolderError, match=r"client_000001/round_00002\.pt cannot be read .*; client 1 goes on from it"):
        recall(experiment, replace(job, accepted={1: 2}), 1)


@pytest.mark.parametrize("content", [b"", b"x 2", b"\xff", b"0123456789abcdef0123456789abcdef 0\n"])
def test_a_damaged_key_to_the_nodes_is_named(tmp_path: Path, content: bytes) -> None:
    assert state_key(tmp_path, 2) == state_key(tmp_path, 2)
    (tmp_path / "state_key").write_bytes(content)
    with pytest.raises(FolderError, match=r"state_key is damaged.*; put it back"):
        state_key(tmp_path, 2)
