"""ε recomputed from what really crossed the wire: as many noised releases, with as much noise, as the ledger says."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.common.serde import recorddict_to_proto
from torch import Tensor

from fedkd.app.run import run_experiment
from fedkd.client.round import perform
from fedkd.config.load import load_config, parse_config, to_json
from fedkd.core import plugins
from fedkd.core.errors import RunError
from fedkd.core.messages import CONSENSUS, Job, Reply
from fedkd.engines.flower.wire import encode_replies
from fedkd.privacy.accounting import DpEvent, GaussianEvent, composed_epsilon
from fedkd.privacy.clipping import clip_report, clip_vectors
from fedkd.privacy.ledger import PrivacyLedger
from fedkd.server.server import Server
from tests.support.federations import SMALL, Federation, experiment_of

DELTA, QUERIES, CLASSES = 1e-5, 40, 10
VECTOR = "privacy.mechanism={name: gaussian_logits, noise_multiplier: 2.0, clip: 4}"
REPORT = "privacy.mechanism={name: gaussian_logits, noise_multiplier: 2.0, clip: 4, per: report}"
DP_SGD = "privacy.mechanism={name: dp_sgd, noise_multiplier: 50.0}"
AVERAGING = ("clients.rule=parameters", "student.rule=average", "clients.batch_size=500", "clients.momentum=0")
MEAN = ("strategy={name: gaussian_mean, noise: 3.0}", "clients.rule=own_model")
GNMAX = ("strategy={name: gnmax, noise: 20.0}", "clients.rule=own_model")
CONFIDENT = (
    "strategy={name: confident_gnmax, noise: 30.0, threshold_noise: 20.0, threshold: 0.1, answers: 0.5}",
    "clients.rule=own_model",
)
MECHANISMS = {"vector": (VECTOR,), "report": (REPORT,), "dp_sgd": (DP_SGD, *AVERAGING)}
STRATEGIES = {"gaussian_mean": MEAN, "gnmax": GNMAX, "confident_gnmax": CONFIDENT}

Lost = Callable[[int, int], bool]


def nobody(round: int, client: int) -> bool:
    return False


@dataclass
class Tapped:
    """A federation that is listened to: every reply of every client as it is serialised, and every broadcast."""

    folder: Path
    overrides: tuple[str, ...]
    jobs: list[Job] = field(default_factory=list)
    replies: list[tuple[Job, Reply, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger_file = self.folder / "ledger.json"
        self.experiment = experiment_of(*self.overrides)
        self.server = self.new_server()

    def new_server(self) -> Server:
        """A server that knows nothing but what was written down of the charges."""
        server = Server.build(
            self.experiment,
            state_dir=str(self.folder / "state"),
            keep=self._keep,
        )
        if self.ledger_file.exists():
            server.ledger.load_state_dict(json.loads(self.ledger_file.read_text()))
        return server

    def _keep(self, charges: Mapping[str, Any]) -> None:
        self.ledger_file.write_text(json.dumps(charges))

    def rounds(self, first: int, last: int, lost: Lost = nobody, *, probe: bool = False) -> None:
        (self.folder / "state").mkdir(parents=True, exist_ok=True)
        engine = Federation(self.experiment, self.server, self.folder).engine()
        for round in range(first, last + 1):
            job = self.server.job(round, probe=probe)
            self.jobs.append(job)

            def run(job: Job, clients: Any) -> Any:
                assert {charge["round"] for charge in self.charges} >= {job.round}, "on disk before a client is asked"
                for reply in engine.run(job, clients):
                    wire = recorddict_to_proto(encode_replies([reply])).SerializeToString()
                    self.replies.append((job, reply, wire))
                    yield Reply(reply.client, error="lost") if lost(job.round, reply.client) else reply

            self.server.run_round(job, run)

    @property
    def charges(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.ledger_file.read_text())["charges"]
        return found

    @property
    def written(self) -> PrivacyLedger:
        ledger = PrivacyLedger()
        ledger.load_state_dict({"charges": self.charges})
        return ledger

    def released(self, client: int) -> dict[bytes, tuple[Job, Reply]]:
        """What a client released, each release once: a copy of one tells nothing more."""
        return {wire: (job, reply) for job, reply, wire in self.replies if reply.client == client}


def check_nothing_else_travels(tap: Tapped, names: set[str], *, counted: bool) -> None:
    for _, reply, wire in tap.replies:
        assert reply.ok
        assert {name.partition("/")[0] for name in reply.arrays} == names
        assert (reply.examples is not None) == counted
        if reply.measured is not None and reply.measured.test_logits is not None:
            assert reply.measured.test_logits[0].tobytes() not in wire
            assert b"acc" not in wire


def decoded(reply: Reply) -> Tensor:
    codec = plugins.build(plugins.CODEC, "float32")
    logits: Tensor = codec.decode(reply.arrays["logits"].tobytes(), samples=QUERIES, classes=CLASSES).logits
    return logits.double()


def unprotected(job: Job, client: int) -> Reply:
    """What the client would have sent of the same job without a mechanism."""
    config = parse_config(json.loads(job.config))
    plain = replace(config, privacy=replace(config.privacy, mechanism=plugins_none()))
    return perform(replace(job, config=to_json(plain)), client)


def plugins_none() -> Any:
    return load_config(SMALL).privacy.mechanism


def noise_of(tap: Tapped, job: Job, reply: Reply) -> Tensor:
    """The noise in a release, in multiples of the sensitivity."""
    clean = unprotected(job, reply.client)
    if tap.overrides[0] == DP_SGD:
        # One step with all samples, whose clipped gradients, of norm 1 at most, drown: Δ = 1 on their sum.
        examples, rate = reply.examples or 0, tap.experiment.config.clients.learning_rate
        before, after = job.parameters, reply.arrays
        moved = [torch.from_numpy(after[name] - before[name]).flatten() for name in sorted(after)]
        return torch.cat(moved).double() * examples / rate
    bound, clip = (clip_vectors, 8 * math.sqrt(QUERIES)) if tap.overrides[0] == VECTOR else (clip_report, 8.0)
    return ((decoded(reply) - bound(decoded(clean), 4.0)) / clip).flatten()


def multiplier_of(tap: Tapped) -> float:
    return 50.0 if tap.overrides[0] == DP_SGD else 2.0


def check_ledger_of_releases(tap: Tapped) -> None:
    """For each client: as many releases as were charged, each with the noise that was charged for."""
    drawn = []
    for client in range(4):
        found = tap.released(client)
        drawn += [noise_of(tap, job, reply) for job, reply in found.values()]
        event: DpEvent = (GaussianEvent(multiplier_of(tap)),) * len(found)
        assert tap.written.epsilon_of(client, DELTA) == pytest.approx(composed_epsilon(event, DELTA), rel=1e-6)
    # At least 2,000 numbers: the standard deviation is known to 2 %, a correlation of 400 pairs to 0.05.
    noise = torch.stack(drawn)
    assert float(noise.std()) == pytest.approx(multiplier_of(tap), rel=0.06)
    assert float((torch.corrcoef(noise) - torch.eye(len(noise))).abs().max()) < 0.25, "no two share their noise"


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_every_release_of_a_client_is_charged_as_often_and_as_high_as_it_is_noised(
    mechanism: str, tmp_path: Path
) -> None:
    tap = Tapped(tmp_path, (*MECHANISMS[mechanism], "clients.fraction=0.75"))
    tap.rounds(1, 2, lambda round, client: (round, client) == (1, tap.server.sampled(1)[0]))
    tap.rounds(3, 3, probe=True)
    names = {"parameters"} if mechanism == "dp_sgd" else {"logits"}
    check_nothing_else_travels(tap, names, counted=mechanism == "dp_sgd")
    check_ledger_of_releases(tap)
    assert sum(len(tap.released(client)) for client in range(4)) == 9, "three of four clients in three rounds"


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_repeated_round_is_the_same_release_or_one_with_noise_and_charge_of_its_own(
    mechanism: str, tmp_path: Path
) -> None:
    tap = Tapped(tmp_path, (*MECHANISMS[mechanism], "clients.fraction=0.75"))
    tap.rounds(1, 2)
    once, releases = tap.charges, len({wire for _, _, wire in tap.replies})
    # The same rounds again, from the beginning, with nothing lost: the same bits, and nothing to pay. So does a last
    # round that is repeated for measuring.
    tap.server = tap.new_server()
    tap.rounds(1, 1)
    tap.rounds(2, 2, probe=True)
    assert tap.charges == once
    assert len({wire for _, _, wire in tap.replies}) == releases
    # A damaged checkpoint: round 1 is done again, and this time a report is lost. The second broadcast is another.
    tap.server = tap.new_server()
    gone = tap.server.sampled(1)[-1]
    tap.rounds(1, 2, lambda round, client: (round, client) == (1, gone))
    assert len({wire for _, _, wire in tap.replies}) == releases + 3
    check_ledger_of_releases(tap)
    assert tap.server.accountant.attempts(1) == 1
    assert tap.server.accountant.attempts(2) == 2
    for client in tap.server.sampled(2):
        first, second = (each for each in tap.released(client).values() if each[0].round == 2)
        if mechanism == "dp_sgd":
            continue
        released = decoded(first[1]) - decoded(second[1])
        clean = decoded(unprotected(*_asked(first))) - decoded(unprotected(*_asked(second)))
        assert float((released - clean).std()) > 10 * float(clean.std()), "noise does not cancel"


def _asked(each: tuple[Job, Reply]) -> tuple[Job, int]:
    return each[0], each[1].client


def drawn_teachers(tap: Tapped) -> dict[bytes, Tensor]:
    """The consensus of every attempt, as clients were sent it, each once."""
    codec = plugins.build(plugins.CODEC, tap.experiment.config.communication.downlink.name)
    found = {}
    for job in tap.jobs:
        if CONSENSUS in job.parameters:
            message = job.parameters[CONSENSUS].tobytes()
            found[message] = codec.decode(message, samples=QUERIES, classes=CLASSES).logits.double()
    return found


EVENTS: dict[str, DpEvent] = {
    "gaussian_mean": (GaussianEvent(3.0 / (2 * 5.0 * math.sqrt(QUERIES))),),
    "gnmax": (GaussianEvent(20.0 / math.sqrt(2), count=QUERIES),),
    "confident_gnmax": (GaussianEvent(20.0, count=QUERIES), GaussianEvent(30.0 / math.sqrt(2), count=QUERIES // 2)),
}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_teacher_that_is_drawn_is_charged_to_all_that_were_asked(strategy: str, tmp_path: Path) -> None:
    tap = Tapped(tmp_path, STRATEGIES[strategy])
    tap.rounds(1, 3)
    once = tap.charges
    tap.server = tap.new_server()
    tap.rounds(1, 3)
    assert tap.charges == once, "the same attempts"
    assert len(drawn_teachers(tap)) == 2
    # Again, with a client of the first round lost: another teacher is drawn of what the others sent, and charged.
    tap.server = tap.new_server()
    tap.rounds(1, 2, lambda round, client: (round, client) == (1, 3))
    assert len(drawn_teachers(tap)) == 3
    attempts = [tap.server.accountant.attempts(round) for round in (1, 2, 3)]
    assert attempts[0] == 2
    for client in range(4):
        event = EVENTS[strategy] * sum(filter(None, attempts))
        assert tap.written.epsilon_of(client, DELTA) == pytest.approx(composed_epsilon(event, DELTA), rel=1e-6)


def test_two_sums_of_one_round_do_not_tell_the_report_that_makes_their_difference(tmp_path: Path) -> None:
    tap = Tapped(tmp_path, MEAN)
    tap.rounds(1, 1)
    reports = {reply.client: clip_vectors(decoded(reply), 5.0) for _, reply, _ in tap.replies}
    tap.rounds(2, 2)
    tap.server = tap.new_server()
    tap.rounds(1, 2, lambda round, client: (round, client) == (1, 3))
    with_all, without = (_centred(each) for each in drawn_teachers(tap).values())
    difference = 4 * with_all - 3 * without - _centred(reports[3])
    # Two independent draws of σ = 3, centred over ten classes.
    assert float(difference.std()) == pytest.approx(3.0 * math.sqrt(2 * 0.9), rel=0.15)
    noise = 4 * with_all - _centred(torch.stack(list(reports.values())).sum(dim=0))
    assert float(noise.std()) == pytest.approx(3.0 * math.sqrt(0.9), rel=0.15)


def _centred(logits: Tensor) -> Tensor:
    return logits - logits.mean(dim=-1, keepdim=True)


@pytest.mark.parametrize("overrides", [(VECTOR,), GNMAX], ids=["at clients", "at the server"])
def test_with_the_systems_entropy_every_ask_is_an_attempt(overrides: tuple[str, ...], tmp_path: Path) -> None:
    tap = Tapped(tmp_path, (*overrides, "privacy.entropy=system"))
    for _ in range(2):
        tap.server = tap.new_server()
        tap.rounds(1, 1)
    assert tap.server.accountant.attempts(1) == 2
    event = GaussianEvent(2.0) if overrides == (VECTOR,) else GaussianEvent(20.0 / math.sqrt(2), count=QUERIES)
    assert tap.written.epsilon_of(0, DELTA) == pytest.approx(composed_epsilon((event, event), DELTA))
    if overrides == (VECTOR,):
        assert len(tap.released(0)) == 2


def test_a_run_says_how_many_attempts_a_round_took_and_a_resumed_one_that_differs_in_nothing_the_same(
    tmp_path: Path,
) -> None:
    config = load_config(SMALL, [VECTOR, "rounds=2"])
    run_experiment(config, tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run/rounds.jsonl").read_text().splitlines()]
    assert [record["attempts"] for record in records] == [1, 1]
    plain = run_experiment(load_config(SMALL, ["rounds=1"]), tmp_path / "plain").summary
    assert plain.epsilon is None
    assert json.loads((tmp_path / "plain/rounds.jsonl").read_text())["attempts"] is None


def test_no_noise_comes_from_generators_of_few_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever hides something draws from the generators of ``fedkd.privacy.noise``: it stands still without them."""

    def none(*arguments: Any, **options: Any) -> np.random.Generator:
        raise AssertionError("drawn")

    for name, overrides in {**MECHANISMS, **STRATEGIES}.items():
        tap = Tapped(tmp_path / name, overrides)
        with monkeypatch.context() as patch:
            if name in STRATEGIES:
                patch.setattr("fedkd.server.setup.seeded_noise", none)
                with pytest.raises(AssertionError, match="drawn"):
                    tap.rounds(1, 1)
                continue
            patch.setattr("fedkd.client.context.seeded_noise", none)
            with pytest.raises(RunError, match="0 valid reports"):
                tap.rounds(1, 1)
        assert all((reply.error or "").startswith("AssertionError: drawn") for _, reply, _ in tap.replies)
