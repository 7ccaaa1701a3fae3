"""What travels: the bytes that are counted, differences that stay in step, targets that are used again."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from fedkd.aggregation.types import Teacher
from fedkd.core.messages import Job, Reply, Traffic, parameter_digest
from fedkd.experiment import Experiment
from fedkd.server.exchange import ACCEPTED_BYTES, SEED_BYTES
from fedkd.server.server import RoundResult, Server
from fedkd.server.target_cache import TargetCache
from tests.support.federations import Federation, federation

PLAIN, DELTA = (f"{{name: quantise, bits: 8, compress: zlib, delta: {delta}}}" for delta in ("false", "true"))


def digest(run: Federation) -> str:
    student = run.server.rule.student
    assert student is not None
    return parameter_digest(student.state_dict())


def received_by(job: Job, client: int) -> dict[str, int]:
    """Bytes of every array that a client gets, its own going before everybody's."""
    return {name: array.nbytes for name, array in {**job.parameters, **job.personal.get(client, {})}.items()}


# The ledger


@pytest.mark.parametrize("rule", ["broadcast", "own_model"])
def test_the_ledger_holds_the_lengths_of_the_messages(tmp_path: Path, rule: str) -> None:
    codecs = (f"communication.uplink={DELTA}", f"communication.downlink={DELTA}")
    run = federation(tmp_path, f"clients.rule={rule}", "clients.fraction=0.5", *codecs)
    for round in range(1, 5):
        job, replies = run.ask(round)
        result = run.server.finish_round(job, replies)
        rows = {row.client: row for row in result.clients}
        assert list(rows) == list(run.server.sampled(round))
        for reply in replies:
            found = received_by(job, reply.client)
            parameters = sum(size for name, size in found.items() if name.startswith("parameters/"))
            consensus = found.get("consensus", 0)
            row = rows[reply.client]
            assert row.sent == Traffic(logits=reply.arrays["logits"].nbytes)
            assert row.received == Traffic(consensus, parameters, SEED_BYTES + ACCEPTED_BYTES)
            assert (parameters > 0) == (rule == "broadcast")
            assert (consensus > 0) == (rule == "own_model" and round > 1)
        assert result.record.bytes_up == sum(row.sent.total for row in result.clients)
        assert result.record.bytes_down == sum(row.received.total for row in result.clients)


def test_a_float32_message_costs_four_bytes_a_class_and_one() -> None:
    result = federation(None).round(1)
    assert {row.sent for row in result.clients} == {Traffic(logits=40 * 10 * 4 + 1)}


def test_of_the_parameters_a_client_is_sent_its_own_architectures_alone() -> None:
    run = federation(
        None,
        *("clients.rule=parameters", "student.rule=average_and_distil"),
        "clients.models=[{name: mlp, hidden: [8]}, {name: mlp, hidden: [4]}]",
    )
    rows = run.round(1).clients
    # 64·h + h weights and biases of the hidden layer, 10·h + 10 of the last one; float32.
    sizes = [4 * (65 * hidden + 10 * hidden + 10) for hidden in (8, 4, 8, 4)]
    assert [row.sent for row in rows] == [Traffic(parameters=size) for size in sizes]
    assert [row.received for row in rows] == [Traffic(parameters=size) for size in sizes]


def test_a_dropped_report_costs_nothing_up_and_its_job_is_paid() -> None:
    result = federation(None).round(1, lambda replies: replies[1:])
    assert result.clients[0].sent == Traffic()
    assert result.clients[0].received == result.clients[1].received
    assert [failure.reason for failure in result.record.failures] == ["sent nothing"]


def test_public_labels_are_sent_once() -> None:
    run = federation(Path("/nowhere"), "clients.rule={name: own_model, pretrain_epochs: 1}")
    job = run.server.job(1)
    assert {client: job.personal[client]["labels"].nbytes for client in job.personal} == dict.fromkeys(range(4), 80)
    assert job.personal[0]["labels"].tolist() == run.experiment.data.public.labels.tolist()


# Differences

CASES: dict[str, tuple[str, ...]] = {
    "all clients": (),
    "some clients a round": ("clients.fraction=0.5",),
    "other samples every round": ("data.public.round_size=10",),
    "some clients, other samples": ("clients.fraction=0.75", "data.public.round_size=5"),
    "some targets used again": ("communication.cache_rounds=1",),
}


def lose(lost: dict[int, int], round: int, replies: list[Reply]) -> list[Reply]:
    """The replies without that of the client lost in the round: computed, and never seen by the server."""
    return [reply for reply in replies if reply.client != lost.get(round)]


@contextmanager
def hidden(folder: Path) -> Iterator[None]:
    """Without the folder, which is put back at the end."""
    away = folder.with_name("away")
    folder.rename(away)
    yield
    away.rename(folder)


LOST = {2: 1, 3: 1, 4: 0}
"""By round, the client whose report is lost."""


@pytest.mark.parametrize(
    ("rule", "case", "lost"),
    [(rule, case, LOST) for rule in ("broadcast", "own_model") for case in CASES] + [("own_model", "all clients", {})],
)
def test_differences_change_no_result(tmp_path: Path, rule: str, case: str, lost: dict[int, int]) -> None:
    students, results = [], []
    for codec in (PLAIN, DELTA):
        options = (
            f"communication.uplink={codec}",
            f"communication.downlink={codec}",
            f"clients.rule={rule}",
            *CASES[case],
        )
        run = federation(tmp_path / codec[-6:], *options)
        found: list[RoundResult] = []
        for round in range(1, 6):
            job, replies = run.ask(round)
            assert [reply.error for reply in replies] == [None] * len(replies)
            found.append(run.server.finish_round(job, lose(lost, round, replies)))
            students.append(digest(run))
        results.append(found)
    assert students[:5] == students[5:]
    plain, delta = results
    assert [result.record.failures for result in plain] == [result.record.failures for result in delta]
    for before, after in zip(plain, delta, strict=True):
        for one, other in zip(before.clients, after.clients, strict=True):
            assert other.sent.logits <= one.sent.logits
            assert other.received.logits <= one.received.logits


def test_differences_of_slowly_changing_answers_are_short(tmp_path: Path) -> None:
    options = ("clients.learning_rate=1e-6", "distillation.learning_rate=1e-6", f"communication.downlink={DELTA}")
    run = federation(tmp_path, "clients.rule=own_model", f"communication.uplink={DELTA}", *options)
    first, second, third = run.rounds(3)
    for row, later in zip(first.clients, second.clients, strict=True):
        assert later.sent.logits < row.sent.logits / 3
    for row, later in zip(second.clients, third.clients, strict=True):
        assert later.received.logits < row.received.logits / 3


@pytest.mark.parametrize("missing", [2, 3])
def test_a_client_that_cannot_find_what_it_sent_is_dropped_until_that_is_back(tmp_path: Path, missing: int) -> None:
    """The result is that of a run in which its report of that round is lost."""
    students = []
    for codec in (PLAIN, DELTA):
        run = federation(tmp_path / codec[-6:], f"communication.uplink={codec}")
        for round in range(1, 5):
            gone = codec == DELTA and round == missing
            with hidden(tmp_path / codec[-6:] / "client_000001") if gone else nullcontext():
                job, replies = run.ask(round)
            assert [reply.client for reply in replies if not reply.ok] == ([1] if gone else [])
            result = run.server.finish_round(job, lose({missing: 1}, round, replies) if codec == PLAIN else replies)
            assert [failure.client for failure in result.record.failures] == ([1] if round == missing else [])
        students.append(digest(run))
    assert students[0] == students[1]


def test_a_client_that_cannot_find_the_last_consensus_is_dropped_until_it_is_back_and_sent_all_of_the_next(
    tmp_path: Path,
) -> None:
    run = federation(
        tmp_path, "clients.rule=own_model", f"communication.downlink={DELTA}", "clients.learning_rate=1e-6"
    )
    run.rounds(2)
    with hidden(tmp_path / "client_000001"):
        third = run.round(3)
        assert [failure.client for failure in third.record.failures] == [1]
        assert "client_000001/round_00002.pt cannot be read" in third.record.failures[0].reason
        assert "client 1 goes on from it: put it back" in third.record.failures[0].reason
        assert not (tmp_path / "client_000001").exists()
    fourth = run.round(4)
    assert not fourth.record.failures
    assert fourth.clients[1].received.logits > fourth.clients[0].received.logits


@pytest.mark.parametrize("codec", [PLAIN, DELTA])
@pytest.mark.parametrize(
    ("rule", "behaviour"), [("own_model", "honest"), ("selective", "honest"), ("broadcast", "stale")]
)
def test_a_client_whose_reports_were_dropped_goes_on_as_if_it_had_not_been_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str, behaviour: str, codec: str
) -> None:
    """Client 1's reports of rounds 1, 3, 4 and 5 never arrive; nor are those of the other federation ever asked for."""
    lost, sampled = (1, 3, 4, 5), Experiment.sampled
    students = []
    for name in ("dropped", "not asked"):
        run = federation(
            tmp_path / name,
            *(f"clients.rule={rule}", f"clients.behaviour={behaviour}"),
            *(f"communication.uplink={codec}", f"communication.downlink={codec}"),
        )
        if name == "not asked":
            monkeypatch.setattr(
                Experiment,
                "sampled",
                lambda experiment, round: tuple(c for c in sampled(experiment, round) if c != 1 or round not in lost),
            )
        for round in range(1, 8):
            job, replies = run.ask(round)
            run.server.finish_round(job, lose(dict.fromkeys(lost, 1), round, replies))
            students.append(digest(run))
    assert students[:7] == students[7:]


def test_asking_twice_for_a_rounds_job_gives_the_same_job(tmp_path: Path) -> None:
    run = federation(
        tmp_path, "clients.rule=own_model", f"communication.uplink={DELTA}", f"communication.downlink={DELTA}"
    )
    run.rounds(2)
    first, second = run.server.job(3), run.server.job(3)
    assert {name: array.tobytes() for name, array in first.parameters.items()} == {
        name: array.tobytes() for name, array in second.parameters.items()
    }
    assert not run.round(3).record.failures


def test_a_server_goes_on_from_its_state(tmp_path: Path) -> None:
    options = ("clients.rule=own_model", f"communication.uplink={DELTA}", f"communication.downlink={DELTA}")
    more = ("communication.cache_rounds=2", "clients.fraction=0.75", "strategy=personalised")
    run = federation(tmp_path / "state", *options, *more)
    run.rounds(2)
    state = run.server.state_dict()
    torch.save(state, tmp_path / "server.pt")
    shutil.copytree(tmp_path / "state", tmp_path / "copy")
    again = Federation(run.experiment, Server.build(run.experiment, state_dir=str(tmp_path / "copy")))
    again.server.load_state_dict(torch.load(tmp_path / "server.pt", weights_only=False))
    for round in (3, 4, 5):
        one, other = run.round(round), again.round(round)
        assert not one.record.failures
        assert one.record == other.record
        assert one.clients == other.clients
        assert digest(run) == digest(again)


def test_clients_that_have_to_remember_need_a_place_to_do_so() -> None:
    _, replies = federation(None, f"communication.uplink={DELTA}").ask(1)
    assert all("state_dir" in str(reply.error) for reply in replies)


# Targets that are used again


def asked_of(run: Federation, job: Job) -> list[int]:
    """The positions of the public samples that a job asks about."""
    chosen = run.experiment.data.public.subset(run.experiment.config.data.public.round_size, 0, job.round)
    marks = job.parameters.get("asked")
    return chosen.tolist() if marks is None else chosen[np.unpackbits(marks, count=len(chosen)).astype(bool)].tolist()


def test_a_target_is_used_again_for_exactly_so_many_rounds() -> None:
    run = federation(None, "communication.cache_rounds=2")
    public = run.experiment.data.public
    always = ((public.labels >= 0) | public.validation).nonzero().squeeze(1).tolist()
    assert len(always) == 20
    for round, rows in enumerate((40, 20, 20, 40, 20, 20, 40), start=1):
        job, replies = run.ask(round)
        asked = asked_of(run, job)
        assert len(asked) == rows
        assert set(always) <= set(asked)
        result = run.server.finish_round(job, replies)
        assert {row.sent.logits for row in result.clients} == {rows * 10 * 4 + 1}
        # The marks of which samples are asked about: one bit for each of 40.
        assert {row.received.other for row in result.clients} == {SEED_BYTES + (0 if rows == 40 else 5)}


def test_samples_that_were_not_in_the_last_subset_are_asked_about() -> None:
    run = federation(None, "communication.cache_rounds=1", "data.public.round_size=12")
    public = run.experiment.data.public
    last: set[int] = set()
    for round in range(1, 6):
        job, replies = run.ask(round)
        chosen = set(public.subset(12, 0, round).tolist())
        free = {index for index in chosen if int(public.labels[index]) < 0 and not bool(public.validation[index])}
        asked = set(asked_of(run, job))
        assert asked == chosen - (free & last)
        last = asked & free
        run.server.finish_round(job, replies)


def test_without_labels_there_are_rounds_that_ask_about_nothing() -> None:
    run = federation(None, "communication.cache_rounds=1", "data.public.labelled=0")
    first, second, third = run.rounds(3)
    assert [row.sent.logits for row in (*first.clients[:1], *second.clients[:1], *third.clients[:1])] == [1601, 1, 1601]
    assert not second.record.failures
    assert second.record.teacher_accuracy == first.record.teacher_accuracy
    assert second.record.mean_lambda is not None


def teacher(*classes: int, weight: float = 1.0) -> Teacher:
    target = torch.nn.functional.one_hot(torch.tensor(classes), 3).float() * 0.7 + 0.1
    return Teacher.from_probabilities(target, sample_weight=torch.full((len(classes),), weight))


def test_the_cache_completes_new_targets_with_old_ones() -> None:
    cache = TargetCache(2, samples=5)
    everything, asked = torch.tensor([0, 1, 2, 3]), torch.tensor([1, 3])
    cache.merge(1, teacher(0, 0, 0, 0, weight=0.5), everything, everything)
    merged = cache.merge(2, teacher(2, 2), asked, everything)
    assert merged.positions.tolist() == [0, 1, 2, 3]
    assert merged.teacher.log_probabilities.argmax(dim=1).tolist() == [0, 2, 0, 2]
    assert torch.allclose(merged.teacher.probabilities[0], torch.tensor([0.8, 0.1, 0.1]))
    assert merged.teacher.sample_weight.tolist() == [0.5, 1.0, 0.5, 1.0]
    # Sample 4 was never seen; 0 and 2 are of round 1, 1 and 3 of round 2.
    positions = torch.arange(5)
    assert cache.fresh(3, positions).tolist() == [True, True, True, True, False]
    assert cache.fresh(4, positions).tolist() == [False, True, False, True, False]
    assert cache.fresh(5, positions).tolist() == [False] * 5


def test_a_memory_averages_over_rounds_and_knows_all_samples_seen() -> None:
    cache = TargetCache(0, samples=3, memory=0.5)
    cache.merge(1, teacher(0, 0), torch.tensor([0, 2]), torch.tensor([0, 2]))
    merged = cache.merge(2, teacher(1), torch.tensor([0]), torch.tensor([0]))
    assert merged.positions.tolist() == [0, 2]
    # Sample 0: ⅓ of round 1 and ⅔ of round 2 in the logarithm; sample 2: round 1 alone, unattenuated.
    expected = torch.tensor([[0.8 ** (1 / 3) * 0.1 ** (2 / 3), 0.1 ** (1 / 3) * 0.8 ** (2 / 3), 0.1], [0.8, 0.1, 0.1]])
    assert torch.allclose(merged.teacher.probabilities, expected / expected.sum(dim=1, keepdim=True), atol=1e-6)


def test_a_cache_taken_up_is_a_copy() -> None:
    one, other = TargetCache(1, samples=2), TargetCache(1, samples=2)
    everything, nothing = torch.tensor([0, 1]), torch.tensor([], dtype=torch.long)
    one.merge(1, teacher(0, 0), everything, everything)
    other.load_state_dict(one.state_dict())
    one.merge(2, teacher(2, 2), everything, everything)
    assert other.merge(2, None, nothing, everything).teacher.log_probabilities.argmax(dim=1).tolist() == [0, 0]
    assert other.fresh(2, everything).tolist() == [True, True]
    assert other.fresh(3, everything).tolist() == [False, False]


def test_without_a_cache_nothing_is_ever_fresh_and_a_teacher_stays_as_it_is() -> None:
    cache = TargetCache(0, samples=2)
    everything, made = torch.tensor([0, 1]), teacher(0, 1)
    assert cache.merge(1, made, everything, everything).teacher is made
    assert cache.fresh(1, everything).tolist() == [False, False]


def test_nothing_asked_and_nothing_known_is_refused() -> None:
    nothing = torch.tensor([], dtype=torch.long)
    with pytest.raises(ValueError, match="no targets yet"):
        TargetCache(1, samples=2).merge(1, None, nothing, torch.tensor([0]))


@pytest.mark.parametrize("cached", [0, 1, 2])
def test_targets_of_single_clients_and_common_ones_take_turns(tmp_path: Path, cached: int) -> None:
    """Where targets are used again there are no personal ones, and a client's last target may be of either kind."""
    students = []
    for codec in (PLAIN, DELTA):
        options = ("clients.rule=own_model", "strategy=personalised", f"communication.cache_rounds={cached}")
        run = federation(tmp_path / codec[-6:], *options, f"communication.downlink={codec}", "clients.fraction=0.75")
        results = run.rounds(6)
        assert [result.record.failures for result in results] == [()] * 6
        students.append(digest(run))
    assert students[0] == students[1]
