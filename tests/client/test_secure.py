"""An active server that asks for more than a sum gets nothing; without clients' memory or its lock it gets all."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedkd.client import secure_state
from fedkd.client.secure_terms import fixed_point_of, job_kind, terms_of
from fedkd.core.errors import RunError
from fedkd.core.messages import Arrays, Host, Job, Reply
from fedkd.engines.inline import InlineEngine
from fedkd.engines.resources import Workload
from fedkd.privacy.secure_sum.client import ClientSession
from fedkd.privacy.secure_sum.fixed_point import Words, to_words
from fedkd.privacy.secure_sum.identities import Directory
from fedkd.privacy.secure_sum.masks import pair_mask, self_mask
from fedkd.privacy.secure_sum.messages import ids, named, number, rows_of
from fedkd.privacy.secure_sum.server import SecureServer, _combined
from fedkd.privacy.secure_sum.terms import Phase
from fedkd.server.secure_round import sum_securely
from tests.support.federations import Federation, federation
from tests.support.secure_rounds import SECURE, SIX, plain_summands

VICTIM = 5
NOISE = "privacy.mechanism={name: distributed_skellam, noise_multiplier: 2.0}"


@pytest.fixture(scope="module")
def own_report() -> torch.Tensor:
    """What the victim adds to the sum of the first round."""
    return plain_summands(federation(None, SIX), 1)[VICTIM]


def losing(run: Callable[[Job, Sequence[int]], Iterable[Reply]]) -> Callable[[Job, Sequence[int]], Iterator[Reply]]:
    """What a server gets that makes believe that the victim's masked report is lost."""

    def lossy(job: Job, clients: Sequence[int]) -> Iterator[Reply]:
        for reply in run(job, clients):
            yield replace(reply, error="lost") if (job.kind, reply.client) == ("secure/mask", VICTIM) else reply

    return lossy


def difference(parts: Federation, first: Path, second: Path, change: Callable[[Job], Job]) -> torch.Tensor:
    """The sum of a round's six reports less that of five of them; ``change`` is what the second job has different.

    Clients remember in ``first`` when they are asked at first, and in ``second`` after that.
    """
    engines = [InlineEngine(Workload(memory=str(folder))) for folder in (first, second)]
    job = parts.server.job(1)
    whole = sum_securely(parts.experiment, job, 40, engines[0].run)
    less = sum_securely(parts.experiment, change(job), 40, losing(engines[1].run))
    assert (len(whole.survivors), len(less.survivors)) == (6, 5)
    return whole.total - less.total


CHANGES: dict[str, Callable[[Job], Job]] = {
    "nothing": lambda job: job,
    "another folder": lambda job: replace(job, state_dir=f"{job.state_dir}-other"),
    "what was accepted": lambda job: replace(job, accepted=dict.fromkeys(range(6), 1)),
    "what it wants": lambda job: replace(job, wants=frozenset({"label_counts"})),
    "a probe": lambda job: replace(job, probe=True),
    "a host in the message": lambda job: replace(job, host=Host("/tmp/elsewhere")),
    "another student": lambda job: replace(
        job, parameters={name: array * 1.01 for name, array in job.parameters.items()}
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_second_sum_of_a_round_tells_a_clients_report(tmp_path: Path, change: str) -> None:
    parts = federation(tmp_path, SIX, SECURE)
    with pytest.raises(
        RunError,
        match=r"was unmasked before, over clients|had another report in attempt 1",
    ):
        difference(parts, tmp_path, tmp_path, CHANGES[change])


@pytest.mark.parametrize("noise", [(), (NOISE,)], ids=["plain", "noisy"])
def test_one_client_that_is_told_another_story_adds_nothing_to_the_same_sum(
    tmp_path: Path, noise: tuple[str, ...]
) -> None:
    """Others would take it for the sum that they gave, and the difference would be that client's alone."""
    parts = federation(tmp_path, SIX, SECURE, *noise)
    job, engine = parts.server.job(1), parts.engine()
    changed = {name: array * 1.01 for name, array in job.parameters.items()}

    def untold(step: Job, clients: Sequence[int]) -> Iterator[Reply]:
        """The victim's report is in the first sum, and it is not told so."""
        late = step.kind in ("secure/confirm", "secure/unmask")
        yield from engine.run(step, [client for client in clients if client != VICTIM or not late])

    first = sum_securely(parts.experiment, job, 40, untold)
    assert first.survivors == tuple(range(6))
    told = replace(job, personal={VICTIM: changed})
    with pytest.raises(RunError, match=rf"client {VICTIM}, mask: .*had another report in attempt 1"):
        sum_securely(parts.experiment, told, 40, engine.run)


def test_without_their_memory_clients_would_tell_it(tmp_path: Path, own_report: torch.Tensor) -> None:
    found = difference(federation(tmp_path, SIX, SECURE), tmp_path / "one", tmp_path / "another", CHANGES["nothing"])
    assert float((found - own_report).abs().max()) < 1e-6


def test_a_report_is_not_given_in_the_open_nor_in_other_rounds_than_there_are(tmp_path: Path) -> None:
    parts = federation(tmp_path, SIX, SECURE)
    job = parts.server.job(1)
    for reply in parts.engine().run(job, range(6)):
        assert not reply.arrays
        assert "asked for in the open" in str(reply.error)
    for round in (-1, 0, 4):
        (reply,) = parts.engine().run(replace(job, kind="secure/advertise", round=round), [VICTIM])
        assert not reply.arrays
        assert "the experiment has rounds 1 to 3" in str(reply.error)


def test_a_probe_adds_no_test_samples_to_the_sum(tmp_path: Path) -> None:
    parts = federation(tmp_path, SIX, SECURE)
    job = replace(parts.server.job(1), probe=True)
    wanted: list[int] = []

    def probing(step: Job, clients: Sequence[int]) -> Iterator[Reply]:
        for reply in parts.engine().run(replace(step, probe=True), clients):
            wanted.extend(array.size for name, array in reply.arrays.items() if name == "secure/masked")
            yield reply

    sum_securely(parts.experiment, job, 40, probing)
    assert wanted == [40 * 10] * 6


def test_a_repeated_sum_has_noise_of_its_own_and_no_more_are_given_than_planned(tmp_path: Path) -> None:
    """Over others the same noise is refused; with new noise the difference hides a client, and repeats are counted."""
    parts = federation(tmp_path, SIX, "privacy.secure_aggregation={repeats: 2}", NOISE)
    job, engine = parts.server.job(1), parts.engine()
    first = sum_securely(parts.experiment, job, 40, engine.run)
    assert torch.equal(sum_securely(parts.experiment, job, 40, engine.run).total, first.total), "the same sum again"
    with pytest.raises(RunError, match="the difference of the two would tell of single ones"):
        sum_securely(parts.experiment, job, 40, losing(engine.run))
    again = sum_securely(parts.experiment, job, 40, losing(engine.run), attempt=2)
    # Noise of σ² = (2·√80)²·6/4 and ·5/4; the victim's report alone is between 0 and 1.
    assert float((first.total - again.total).std()) > 20
    third = sum_securely(parts.experiment, job, 40, engine.run, attempt=3)
    assert float((third.total - first.total).std()) > 20
    with pytest.raises(RunError, match=r"has repeated 2 sums .* as many as privacy\.secure_aggregation\.repeats"):
        sum_securely(parts.experiment, job, 40, engine.run, attempt=4)
    # Later rounds have their own sum each, and no repetition is left for them.
    later = parts.server.job(2)
    sum_securely(parts.experiment, later, 40, engine.run)
    with pytest.raises(RunError, match="has repeated 2 sums"):
        sum_securely(parts.experiment, later, 40, losing(engine.run), attempt=2)


@pytest.mark.parametrize("entropy", ["seed", "system"])
def test_attempts_of_equal_number_have_equal_noise_and_others_other_noise(tmp_path: Path, entropy: str) -> None:
    parts = federation(tmp_path, SIX, f"privacy.secure_aggregation={{entropy: {entropy}}}", NOISE)
    job, engine = parts.server.job(1), parts.engine()
    totals = [sum_securely(parts.experiment, job, 40, engine.run, attempt=attempt).total for attempt in (1, 2, 1, 2)]
    assert torch.equal(totals[0], totals[2])
    assert torch.equal(totals[1], totals[3])
    # The reports are the same: what is left is the noise of both.
    one, other = totals[0].flatten(), totals[1].flatten()
    assert float((one - other).std()) == pytest.approx(2 * np.sqrt(80) * np.sqrt(6 / 4) * np.sqrt(2), rel=0.15)


@dataclass
class TwoStories:
    """A server that tells each client of two lists of survivors at once: with the victim, and without it.

    Clients that fall for it give away shares of both of its secrets.
    """

    parts: Federation
    memory: Path

    def __post_init__(self) -> None:
        experiment = self.parts.experiment
        self.terms = terms_of(experiment, 1)
        self.server = SecureServer(self.terms, Directory.seeded(experiment.config.seed), 400)
        self.job = self.parts.server.job(1)
        self.masked: dict[int, Words] = {}

    def ask(
        self, phase: Phase, clients: Sequence[int], request: Arrays, own: Mapping[int, Arrays] | None = None
    ) -> Any:
        job = replace(
            self.job,
            kind=job_kind(phase),
            parameters={**self.job.parameters, **request},
            personal=dict(own or {}),
        )
        replies = list(InlineEngine(Workload(memory=str(self.memory))).run(job, clients))
        return [(reply.client, reply.error or reply.arrays) for reply in replies]

    def up_to_masks(self) -> None:
        server, everybody = self.server, self.terms.clients
        server.take_keys(self.ask("advertise", everybody, named(attempt=number(1))))
        server.take_shares(self.ask("share", everybody, server.share_request()))
        inboxes = {client: server.mask_request(client) for client in everybody}
        answers = self.ask("mask", everybody, {}, inboxes)
        self.masked = {client: answer["secure/masked"] for client, answer in answers}
        server.take_masked(answers)

    def unmasking(self, survivors: Sequence[int], confirmations: Mapping[int, Arrays]) -> dict[int, Arrays]:
        """The shares that clients give away for a list of survivors that some confirmed."""
        signatures = [confirmations[each]["secure/signature"].tobytes() for each in sorted(confirmations)]
        request = named(
            survivors=ids(survivors),
            dropouts=ids(set(self.terms.clients) - set(survivors)),
            confirmed=ids(confirmations),
            signatures=rows_of(signatures, 64),
        )
        found = self.ask("unmask", [client for client in survivors if client != VICTIM], request)
        return {client: answer for client, answer in found if not isinstance(answer, str)}

    def attack(self, monkeypatch: pytest.MonkeyPatch) -> Words | None:
        """The victim's report, if both of its secrets come to light."""
        self.up_to_masks()
        all_six, five = list(range(6)), list(range(5))
        go_on, waiting, slow = threading.Event(), threading.Semaphore(0), {}
        confirm = ClientSession.confirm

        def late(session: ClientSession, request: Arrays) -> Arrays:
            answer = confirm(session, request)
            if threading.current_thread() is not threading.main_thread():
                waiting.release()
                go_on.wait(1.0)
            return answer

        monkeypatch.setattr(ClientSession, "confirm", late)

        def tell(client: int) -> None:
            ((_, slow[client]),) = self.ask("confirm", [client], named(survivors=ids(five)))

        threads = [threading.Thread(target=tell, args=(client,)) for client in five]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert waiting.acquire(timeout=60)
        fast = dict(self.ask("confirm", all_six, named(survivors=ids(all_six))))
        secrets = self._shares(all_six, fast)
        go_on.set()
        for thread in threads:
            thread.join()
        keys = self._shares(five, slow)
        return self._opened(secrets, keys)

    def _shares(self, survivors: Sequence[int], answers: Mapping[int, Any]) -> dict[int, Arrays]:
        confirmed = {client: answer for client, answer in answers.items() if not isinstance(answer, str)}
        return self.unmasking(survivors, confirmed) if len(confirmed) >= self.terms.threshold else {}

    def _opened(self, secrets: Mapping[int, Arrays], keys: Mapping[int, Arrays]) -> Words | None:
        count = self.terms.threshold
        if min(len(secrets), len(keys)) < count:
            return None
        session, roster = self.server._session, self.server._roster

        def combined(given: Mapping[int, Arrays], name: str, row: int) -> bytes:
            owners = sorted(given)[:count]
            shares = [given[owner][f"secure/{name}"][[row]] for owner in owners]
            secret = _combined(shares, owners, (VICTIM,))[VICTIM]
            assert secret is not None
            return secret

        report = self.masked[VICTIM] - self_mask(session, VICTIM, combined(secrets, "secrets", VICTIM), 400)
        key = combined(keys, "keys", 0)
        for other in range(5):
            report -= pair_mask(session, VICTIM, key, other, roster.keys[other].masking, 400)
        return report


def test_two_requests_at_once_do_not_open_a_clients_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = federation(tmp_path, SIX, SECURE)
    assert TwoStories(parts, tmp_path).attack(monkeypatch) is None


def test_without_the_lock_they_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_report: torch.Tensor) -> None:
    monkeypatch.setattr(secure_state, "held", lambda path, danger: nullcontext())
    parts = federation(tmp_path, SIX, SECURE)
    found = TwoStories(parts, tmp_path).attack(monkeypatch)
    assert found is not None
    exact = to_words(fixed_point_of(parts.experiment, queries=40, classes=10).encode(own_report.numpy())).ravel()
    assert np.array_equal(found, exact)
