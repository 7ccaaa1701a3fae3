"""A sum that got lost: made again over the same clients, or in another attempt with its own noise and charge."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedkd.client.release import release_of
from fedkd.core.errors import RunError
from fedkd.core.messages import Job, Reply
from fedkd.privacy.accounting import composed_epsilon
from fedkd.server.secure_round import SecureResult, SumStore, sum_once
from fedkd.server.server import Server
from tests.support.federations import Federation, federation
from tests.support.secure_rounds import SECURE, SIX, Wire

NOISE = "privacy.mechanism={name: distributed_skellam, noise_multiplier: 2.0}"


def without(client: int, parts: Federation) -> Callable[[Job, Sequence[int]], Iterator[Reply]]:
    """Clients of which one fails as it should send its masked report."""

    def run(job: Job, clients: Sequence[int]) -> Iterator[Reply]:
        for reply in parts.engine().run(job, clients):
            yield replace(reply, error="lost") if (job.kind, reply.client) == ("secure/mask", client) else reply

    return run


def interrupted(parts: Federation, monkeypatch: pytest.MonkeyPatch) -> SecureResult:
    """The first sum, without client 5, known to the server and then lost: what it was."""
    known: list[SecureResult] = []

    def killed(store: SumStore, run: bytes, round: int, result: SecureResult) -> None:
        known.append(result)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SumStore, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            sum_once(parts.experiment, parts.server.job(1), 40, without(5, parts))
    return known[0]


@pytest.mark.parametrize("noise", [(), (NOISE,)], ids=["plain", "noisy"])
def test_a_lost_sum_is_made_again_over_the_same_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: tuple[str, ...]
) -> None:
    parts = federation(tmp_path, SIX, SECURE, *noise)
    first = interrupted(parts, monkeypatch)
    charged: list[int] = []
    again = sum_once(parts.experiment, parts.server.job(1), 40, parts.engine().run, None, charged.append)
    assert again.survivors == first.survivors == (0, 1, 2, 3, 4)
    assert torch.equal(again.total, first.total)
    assert again.account.record.attempt == 1
    assert charged == [], "it is the same release"
    assert [(each.client, each.reason) for each in again.account.record.dropouts] == [
        (5, "left out: the sum was begun without it")
    ]


def test_a_sum_over_others_is_an_attempt_with_noise_and_a_charge_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = federation(tmp_path, SIX, SECURE, NOISE)
    saved: list[float] = []
    server = Server.build(
        parts.experiment, state_dir=str(tmp_path), keep=lambda charges: saved.append(server.ledger.epsilon(1e-5))
    )
    parts.server = server
    server.charge(server.job(1))
    first = interrupted(parts, monkeypatch)
    once = server.ledger.epsilon(1e-5)
    # Client 0, which was in the first sum, is not there any more.
    result = server.run_round(server.job(1), without(0, parts))
    record = result.record.secure
    assert record is not None
    assert (record.attempt, record.survivors) == (2, (1, 2, 3, 4, 5))
    event = parts.experiment.mechanism.dp_event(release_of(parts.experiment, 0, 40))  # type: ignore[attr-defined]
    assert once == pytest.approx(composed_epsilon(event, 1e-5))
    assert saved == [once, once, server.ledger.epsilon(1e-5)], "before anything of it was unmasked"
    assert saved[-1] == pytest.approx(composed_epsilon((*event, *event), 1e-5))
    assert saved[-1] > once
    assert result.record.attempts == 2
    kept = SumStore(str(tmp_path)).load(bytes.fromhex(_run(tmp_path)), 1)
    assert kept is not None
    # The noise of each is that of five clients; had they the same, the difference would be two reports.
    assert float((kept.total - first.total).std()) > 20
    wire = Wire(parts.engine())
    assert torch.equal(sum_once(parts.experiment, server.job(1), 40, wire.run).total, kept.total)
    assert not wire.replies


def test_another_broadcast_is_another_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = federation(tmp_path, SIX, SECURE, NOISE)
    interrupted(parts, monkeypatch)
    job = parts.server.job(1)
    charged: list[int] = []
    changed = replace(job, parameters={name: array * 1.01 for name, array in job.parameters.items()})
    result = sum_once(parts.experiment, changed, 40, parts.engine().run, None, charged.append)
    assert (result.account.record.attempt, charged) == (2, [2])


def test_without_noise_there_is_no_sum_over_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = federation(tmp_path, SIX, SECURE)
    interrupted(parts, monkeypatch)
    with pytest.raises(RunError, match=r"unmasked before, over clients \[0, 1, 2, 3, 4\]"):
        sum_once(parts.experiment, parts.server.job(1), 40, without(0, parts))


def test_a_damaged_note_of_what_was_begun_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = federation(tmp_path, SIX, SECURE)
    interrupted(parts, monkeypatch)
    note = tmp_path / "round_sums/round_00001.json"
    for damage in (b"", note.read_bytes()[:-9], b"{}", b"[" * 100_000, note.read_bytes().replace(b"[0,", b"[true,")):
        note.write_bytes(damage)
        with pytest.raises(RunError, match=r"round_00001\.json cannot be read, .* bring it back, or start a new run"):
            sum_once(parts.experiment, parts.server.job(1), 40, parts.engine().run)


def _run(folder: Path) -> str:
    return str(json.loads((folder / "round_sums/round_00001.json").read_text())["run"])
