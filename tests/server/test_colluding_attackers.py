"""Attackers who know the others' answers: whose reports change, and what they become."""

from pathlib import Path

import pytest
import torch

from fedkd.core.errors import RunError
from fedkd.core.messages import ClientReport
from fedkd.core.seeding import torch_generator
from fedkd.server.colluding_attackers import collude
from tests.support.federations import Federation, federation

HALF = "clients.attackers.share=0.5"

OUTSIDER = """
from dataclasses import dataclass
from typing import ClassVar

import torch

from fedkd.client import ClientBehaviour


@dataclass(frozen=True)
class Watching(ClientBehaviour):
    needs_others: ClassVar[bool] = True
    damage: float = 0.0

    def collude(self, view):
        noise = torch.rand(view.own.shape, generator=view.generator)
        noise = noise / (1.0 - self.damage) if self.damage < 1.0 else noise * float("inf")
        return 10 * view.attackers + view.honest.sum(dim=0) + 100 * view.own + noise
"""


def reports(run: Federation, samples: int = 3) -> list[ClientReport]:
    """One report of every client, with logits of its own."""
    draw = torch.Generator().manual_seed(5)
    return [
        ClientReport(client, 1, torch.randn(samples, 10, generator=draw), examples=client + 1) for client in range(4)
    ]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Federation:
    (tmp_path / "watching.py").write_text(OUTSIDER, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return federation(None, HALF, "clients.attackers.behaviour=watching:Watching")


def exact(logits: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return logits


def test_only_the_attackers_logits_change_and_only_their_logits(run: Federation) -> None:
    given = reports(run)
    changed, tests = collude(run.experiment, 1, given, {})
    assert tests == {}
    assert len(run.experiment.attackers) == 2
    for before, after in zip(given, changed, strict=True):
        if before.client not in run.experiment.attackers:
            assert after is before
        else:
            assert (after.client, after.examples, after.sent) == (before.client, before.examples, before.sent)
            assert not torch.equal(after.logits, before.logits)


def test_an_attacker_sees_the_honest_answers_its_own_and_how_many_attack(run: Federation) -> None:
    given = reports(run)
    honest = sum(report.logits for report in given if report.client not in run.experiment.attackers)
    for report in collude(run.experiment, 7, given, {})[0]:
        if report.client in run.experiment.attackers:
            generator = torch_generator(0, round=7, client=report.client, purpose="collusion")
            noise = torch.rand(3, 10, generator=generator)
            assert torch.allclose(report.logits, 20 + honest + 100 * given[report.client].logits + noise, atol=1e-4)


def test_attackers_that_did_not_report_do_not_count(run: Federation) -> None:
    first, second = sorted(run.experiment.attackers)
    given = [report for report in reports(run) if report.client != first]
    honest = sum(report.logits for report in given if report.client != second)
    changed, _ = collude(run.experiment, 7, given, {})
    forged = next(report for report in changed if report.client == second)
    own = next(report for report in given if report.client == second)
    assert ((forged.logits - honest - 100 * own.logits).floor() == 10).all()


def test_a_forged_answer_goes_through_the_codec(tmp_path: Path) -> None:
    codec = "communication.uplink={name: quantise, bits: 2, of: probabilities}"
    run = federation(None, HALF, "clients.attackers.behaviour=lma", codec)
    changed, _ = collude(run.experiment, 1, reports(run), {})
    forged = [report.logits for report in changed if report.client in run.experiment.attackers]
    # All attackers say the same; of two bits' three steps all lie on one class, which the honest ones believe in least.
    assert torch.equal(forged[0], forged[1])
    honest = torch.stack([report.logits for report in changed if report.client not in run.experiment.attackers])
    assert torch.equal(forged[0].argmax(dim=1), honest.softmax(dim=2).mean(dim=0).argmin(dim=1))
    assert (forged[0].max(dim=1).values == 0).all()


def test_where_an_attacker_abstains_it_says_nothing() -> None:
    run = federation(None, HALF, "clients.attackers.behaviour=lma")
    mask = torch.tensor([True, False, True])
    given = [ClientReport(each.client, 1, each.logits, 1, mask=mask) for each in reports(run)]
    for report in collude(run.experiment, 1, given, {})[0]:
        if report.client in run.experiment.attackers:
            assert (report.logits[1] == 0).all()
            assert (report.logits[0] != 0).any()


def test_the_answers_on_the_test_images_are_forged_as_well(run: Federation) -> None:
    given = reports(run)
    tests = {report.client: report for report in reports(run, samples=6)}
    _, changed = collude(run.experiment, 1, given, tests)
    moved = {client for client, report in changed.items() if not torch.equal(report.logits, tests[client].logits)}
    assert moved == run.experiment.attackers


def test_honest_clients_and_their_bytes_are_untouched_in_a_round() -> None:
    quiet, loud = (
        federation(None, HALF, "clients.attackers.behaviour=" + name, "strategy=mean_logits")
        for name in ("lma", "stale")
    )
    (job, honest), (_, attacked) = quiet.ask(1), loud.ask(1)
    for one, other in zip(honest, attacked, strict=True):
        if one.client not in quiet.experiment.attackers:
            assert one.arrays["logits"].tobytes() == other.arrays["logits"].tobytes()
    result = quiet.server.finish_round(job, honest)
    assert {row.sent.logits for row in result.clients} == {1601}
    assert not result.record.failures


def test_forged_logits_that_cannot_be_sent_end_the_run_with_the_behaviours_name(
    tmp_path: Path, run: Federation
) -> None:
    broken = federation(None, HALF, "clients.attackers.behaviour={name: 'watching:Watching', damage: 1.0}")
    with pytest.raises(RunError, match=r"watching:Watching forged what client \d cannot send \(logits must be finite"):
        collude(broken.experiment, 1, reports(broken), {})


@pytest.mark.parametrize(("share", "attackers"), [(0.0, 0), (0.125, 1), (0.37, 1), (0.5, 2), (0.9, 4)])
def test_the_share_of_attackers_is_rounded_to_whole_clients_that_the_seed_draws(share: float, attackers: int) -> None:
    drawn = {
        seed: federation(None, f"clients.attackers.share={share}", f"seed={seed}").experiment.attackers
        for seed in range(4)
    }
    assert {len(found) for found in drawn.values()} == {attackers}
    if attackers == 1:
        assert len(set(drawn.values())) > 1
