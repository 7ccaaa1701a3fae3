"""Whole rounds and runs over secure sums: the plain result, nothing beside the sum, and whatever may fail."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.core.errors import RunError
from fedkd.core.messages import Job, Reply
from fedkd.engines.inline import InlineEngine
from fedkd.engines.resources import Workload
from fedkd.privacy.secure_sum.terms import PHASES
from fedkd.results.observer import Silent
from fedkd.results.records import Summary
from fedkd.server.secure_round import sum_once, sum_securely
from tests.support.federations import SMALL, federation
from tests.support.secure_rounds import (
    SECURE,
    SIX,
    Wire,
    check_that_nothing_is_unmasked,
    plain_summands,
    rounds,
    run_round,
)

RAISING = "tests.support.secure_performers:raising"


def run(out: Path, *overrides: str, **options: Any) -> Summary:
    return run_experiment(load_config(SMALL, overrides), out, **options).summary


def test_the_sum_is_that_of_the_plain_run_within_the_stated_bound(tmp_path: Path) -> None:
    plain = plain_summands(federation(None, SIX), 1)
    parts = federation(tmp_path, SIX, SECURE)
    result = sum_securely(parts.experiment, parts.server.job(1), 40, parts.engine().run)
    exact = torch.stack(list(plain.values())).sum(dim=0)
    assert result.survivors == tuple(range(6))
    assert float((result.total - exact).abs().max()) <= result.account.record.error_bound < 1e-6


@pytest.mark.parametrize("bits", [6, 12])
def test_coarser_numbers_have_the_larger_bound_they_state(tmp_path: Path, bits: int) -> None:
    exact = torch.stack(list(plain_summands(federation(None, SIX), 1).values())).sum(dim=0)
    parts = federation(tmp_path, SIX, f"privacy.secure_aggregation.bits={bits}")
    result = sum_securely(parts.experiment, parts.server.job(1), 40, parts.engine().run)
    gap = float((result.total - exact).abs().max())
    assert result.account.record.error_bound == 6 / 2**bits
    assert result.account.record.error_bound / 20 < gap <= result.account.record.error_bound


def test_sums_of_votes_are_exact_so_that_the_student_is_the_same_bit_by_bit(tmp_path: Path) -> None:
    plain = run(tmp_path / "plain", "strategy=vote")
    secure = run(tmp_path / "secure", "strategy=vote", SECURE)
    assert secure.student_sha256 == plain.student_sha256


@pytest.mark.parametrize(
    "teacher",
    [
        "{name: gnmax, noise: 1.5}",
        "{name: confident_gnmax, noise: 1.5, threshold: 0.3}",
        "{name: gaussian_mean, noise: 2.0}",
    ],
)
def test_a_noisy_teacher_of_a_sum_costs_what_one_of_reports_does(tmp_path: Path, teacher: str) -> None:
    plain = run(tmp_path / "plain", f"strategy={teacher}")
    secure = run(tmp_path / "secure", f"strategy={teacher}", SECURE)
    assert (secure.epsilon, secure.client_epsilon) == (plain.epsilon, plain.client_epsilon)
    # A sum and reports are different attempts, and each has noise of its own.
    assert secure.student_sha256 != plain.student_sha256


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("strategy={name: era, temperature: 0.2}",),
        ("strategy=enhanced_era",),
        ("clients.rule=own_model", "communication.cache_rounds=1"),
        # In the second round there is nothing left to ask.
        ("communication.cache_rounds=3", "data.public.labelled=0", "data.public.pseudo_labels=true"),
        ("privacy.mechanism={name: temperature, value: 2.0}",),
        ("clients.attackers={share: 0.25, behaviour: random}",),
    ],
    ids=" ".join,
)
def test_teachers_of_sums_are_those_of_reports_up_to_rounding(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    targets = []
    for name, more in (("plain", ()), ("secure", (SECURE,))):
        parts = federation(tmp_path / name, *overrides, *more)
        run_round(parts, 1)
        run_round(parts, 2)
        consensus = parts.server.state_dict()["consensus"]
        targets.append(consensus["log_probabilities"].exp())
    assert float((targets[0] - targets[1]).abs().max()) < 1e-4


def test_secure_aggregation_alone_proves_no_epsilon(tmp_path: Path) -> None:
    summary = run(tmp_path / "run", SECURE, "rounds=1")
    assert (summary.epsilon, summary.guarantee, summary.client_epsilon) == (None, None, {})


def test_nothing_is_known_of_single_clients(tmp_path: Path) -> None:
    parts = federation(tmp_path, SECURE)
    wire = Wire(parts.engine())
    result = run_round(parts, 1, wire, probe=True)
    assert [job.kind for job, _ in wire.replies[::4]] == [f"secure/{phase}" for phase in PHASES]
    for _, reply in wire.replies:
        assert replace(reply, arrays={}) == Reply(reply.client)
        assert all(name.startswith("secure/") for name in reply.arrays)
    assert result.ensemble_accuracy is None
    assert result.record.client_accuracy is None
    assert result.record.student_accuracy is not None
    assert result.record.teacher_accuracy is not None, "on public samples, from the sum"
    assert all((row.validation_accuracy, row.test_accuracy) == (None, None) for row in result.clients)
    summary = run(tmp_path / "run", SECURE, "rounds=1")
    assert (summary.client_accuracy, summary.client_test_accuracy) == (None, None)
    with (tmp_path / "run/clients.csv").open() as file:
        for row in csv.DictReader(file):
            assert (row["validation_accuracy"], row["test_accuracy"]) == ("", "")
            assert int(row["up_logits"]) == 4 * 40 * 10
            assert int(row["up_other"]) > 0
            assert int(row["down_parameters"]) > 0


def test_the_server_never_holds_an_unmasked_report(tmp_path: Path) -> None:
    check_that_nothing_is_unmasked(tmp_path, InlineEngine(Workload(memory=str(tmp_path))))


def test_clients_that_raise_at_each_step_drop_out_there(tmp_path: Path) -> None:
    parts = federation(tmp_path, "clients.count=12", "privacy.secure_aggregation.threshold=0.58")
    failing = parts.engine(RAISING)
    record = run_round(parts, 1, failing).record
    assert record.secure is not None
    assert [(drop.client, drop.phase) for drop in record.secure.dropouts] == list(enumerate(PHASES))
    assert all("out of battery" in drop.reason for drop in record.secure.dropouts)
    assert record.secure.survivors == tuple(range(3, 12)), "3 and 4 had sent their masked reports"
    assert [failure.client for failure in record.failures] == [0, 1, 2]
    assert "secure sum, advertise: OSError: client 0 is out of battery" in record.failures[0].reason
    kept = plain_summands(federation(None, "clients.count=12"), 1)
    again = federation(tmp_path / "again", "clients.count=12", "privacy.secure_aggregation.threshold=0.58")
    result = sum_securely(again.experiment, again.server.job(1), 40, again.engine(RAISING).run)
    exact = torch.stack([kept[client] for client in range(3, 12)]).sum(dim=0)
    assert float((result.total - exact).abs().max()) <= result.account.record.error_bound


def test_too_few_survivors_stop_the_run_and_keep_its_rounds(tmp_path: Path) -> None:
    parts = federation(tmp_path, SIX, "privacy.secure_aggregation.threshold=0.83")
    with pytest.raises(RunError, match=r"4 clients are left after the step share, the threshold is 5 \(client 0, adv"):
        run_round(parts, 1, parts.engine(RAISING))
    out = tmp_path / "run"
    with pytest.raises(
        RunError, match=r"round 1: the secure sum failed: 0 clients are left after the step mask"
    ) as caught:
        run(out, SECURE, "clients.behaviour=not_a_number")
    assert "report cannot be summed: values must be finite" in str(caught.value)
    assert "--resume" not in str(caught.value), "there is no finished round to go on from"
    assert rounds(out) == []


def test_min_reports_counts_the_reports_in_the_sum(tmp_path: Path) -> None:
    parts = federation(
        tmp_path, "clients.count=12", "privacy.secure_aggregation.threshold=0.58", "clients.min_reports=10"
    )
    with pytest.raises(RunError, match=r"9 valid reports, clients\.min_reports is 10 \(client 0, advertise: OSError"):
        run_round(parts, 1, parts.engine(RAISING))
    # Nothing was unmasked, so the round can be done again with all clients.
    record = run_round(parts, 1).record
    assert record.secure is not None
    assert len(record.secure.survivors) == 12


def test_a_tampered_answer_costs_its_client_only(tmp_path: Path) -> None:
    parts = federation(tmp_path, SIX, SECURE)

    def tampering(job: Job, clients: Sequence[int]) -> Iterable[Reply]:
        for reply in parts.engine().run(job, clients):
            if reply.client == 4 and job.kind == "secure/mask":
                changed = reply.arrays["secure/masked"].copy()
                changed[0] += 1
                yield replace(reply, arrays={**reply.arrays, "secure/masked": changed})
            else:
                yield reply

    record = parts.server.run_round(parts.server.job(1), tampering).record
    assert record.secure is not None
    assert [(each.client, each.phase) for each in record.secure.rejected] == [(4, "mask")]
    assert "signature is not that of client 4" in record.failures[0].reason
    assert record.secure.survivors == (0, 1, 2, 3, 5)


def test_secrets_are_kept_by_clients_alone(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(out, SECURE, "rounds=1")
    files = sorted(out.glob("client_state/secure_sums/*/client_*.json"))
    assert [path.stem for path in files] == [f"client_{client:06d}" for client in range(4)]
    secrets = [json.loads(path.read_text())["content"]["session"]["state"]["secret"] for path in files]
    assert all(path.stat().st_mode & 0o077 == 0 for path in files), "for its owner only"
    for path in out.rglob("*"):
        if path.is_file() and path not in files:
            content = path.read_bytes()
            assert not any(secret.encode() in content or bytes.fromhex(secret) in content for secret in secrets)


def test_a_round_that_is_begun_again_has_new_masks_and_the_same_sum(tmp_path: Path) -> None:
    parts = federation(tmp_path, SIX, SECURE)
    found = []
    for _ in range(2):
        wire = Wire(parts.engine())
        total = sum_securely(parts.experiment, parts.server.job(1), 40, wire.run).total
        masked = [reply.arrays["secure/masked"] for job, reply in wire.replies if job.kind == "secure/mask"]
        found.append((total, masked))
    assert torch.equal(found[0][0], found[1][0])
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert int((one == other).sum()) < 5


@pytest.mark.parametrize("entropy", ["seed", "system"])
def test_where_secrets_come_from_does_not_show_in_the_result(tmp_path: Path, entropy: str) -> None:
    out = tmp_path / entropy
    summary = run(out, f"privacy.secure_aggregation={{entropy: {entropy}}}", "rounds=2")
    assert summary.student_sha256 == run(tmp_path / "other", SECURE, "rounds=2").student_sha256


def test_a_sum_that_is_known_is_not_asked_for_again_and_not_given_over_other_clients(tmp_path: Path) -> None:
    overrides = ("clients.count=12", "privacy.secure_aggregation.threshold=0.58", "rounds=2")
    undisturbed = federation(tmp_path / "whole", *overrides)
    whole = run_round(undisturbed, 1, undisturbed.engine(RAISING))

    broken = federation(tmp_path / "run", *overrides)
    failing, healthy = broken.engine(RAISING), broken.engine()
    job = broken.server.job(1)
    first = sum_once(broken.experiment, job, 40, failing.run)
    # Killed while the student was being trained; by the time the round is done again, all clients are well.
    wire = Wire(healthy)
    again = run_round(federation(tmp_path / "run", *overrides), 1, wire)
    assert not wire.replies, "the sum was kept"
    assert again.record == whole.record
    # Other engines and more rounds are the same run still, another round is not.
    longer = federation(tmp_path / "run", *overrides[:2], "rounds=9", "clients.min_reports=3")
    assert torch.equal(sum_once(longer.experiment, longer.server.job(1), 40, wire.run).total, first.total)
    assert not wire.replies
    run_round(longer, 2, wire)
    assert wire.replies

    # A server that asks all the same is refused, for the difference of two sums would be a report.
    for path in (tmp_path / "run").rglob("round_sums/*"):
        path.unlink()
    with pytest.raises(RunError, match="was unmasked before, over clients") as caught:
        run_round(federation(tmp_path / "run", *overrides), 1, healthy)
    assert "0 clients are left after the step confirm" not in str(caught.value), "those that never unmasked may"
    other = federation(tmp_path / "run", *overrides)
    job = other.server.job(1)
    changed = {name: array * 1.01 for name, array in job.parameters.items()}
    with pytest.raises(RunError, match="had another report in attempt 1"):
        sum_securely(other.experiment, replace(job, parameters=changed), 40, failing.run)
    same = run_round(federation(tmp_path / "run", *overrides), 1, failing)
    assert same.record == whole.record, "the same sum again tells nothing new"


class Stopping(Silent):
    """Interrupts the n-th time that clients are asked anything."""

    def __init__(self, step: int) -> None:
        self._left = step

    def progress(self, stage: str, done: int, total: int) -> None:
        if stage == "clients" and done == 1:
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt


def test_a_run_stopped_at_any_step_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    overrides = (SECURE, "clients.rule=own_model", "rounds=2")
    whole = run(tmp_path / "whole", *overrides)
    for step in range(len(PHASES) + 1, 2 * len(PHASES) + 1):
        out = tmp_path / str(step)
        with pytest.raises(KeyboardInterrupt):
            run(out, *overrides, observer=Stopping(step))
        assert len(rounds(out)) == 1
        assert run(out, *overrides, resume=True).student_sha256 == whole.student_sha256
        assert rounds(out) == rounds(tmp_path / "whole")
