"""Privacy in whole runs: messages are as noisy as declared, and what is claimed is what was spent."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console as RichConsole

from fedkd.app.checks import check, composition_faults
from fedkd.app.cli.console import ConsoleObserver
from fedkd.app.run import run_experiment
from fedkd.client.behaviour import ClientBehaviour
from fedkd.client.context import ClientContext
from fedkd.client.rule import ClientRule, Upload
from fedkd.config.load import load_config
from fedkd.core import plugins
from fedkd.core.errors import ConfigError, RunError
from fedkd.core.messages import Arrays, Reply
from fedkd.experiment import Experiment
from fedkd.privacy.accounting import GaussianEvent, composed_epsilon, gaussian_epsilon
from fedkd.privacy.clipping import clip_vectors
from fedkd.privacy.dp_sgd import private_steps, sampling_rate
from fedkd.privacy.ledger import PrivacyLedger
from fedkd.results.observer import Silent
from fedkd.results.records import Summary
from fedkd.server.privacy_budget import privacy_lines
from tests.support.federations import SMALL, experiment_of, federation

DELTA = 1e-5
GAUSSIAN = "privacy.mechanism={name: gaussian_logits, noise_multiplier: 2.0}"
DP_SGD = "privacy.mechanism={name: dp_sgd, noise_multiplier: 1.5}"
AVERAGING = ("clients.rule=parameters", "student.rule=average")


class Abstaining(ClientBehaviour):
    """Tells where it would rather not answer."""

    def respond(self, context: ClientContext, rule: ClientRule) -> Upload:
        return replace(rule.respond(context), mask=torch.ones(len(context.queries), dtype=torch.bool))


class Talkative(ClientBehaviour):
    """Sends its labels as well."""

    def respond(self, context: ClientContext, rule: ClientRule) -> Upload:
        return replace(rule.respond(context), arrays={"truth/labels": context.labels.numpy()})


class Interrupting(Silent):
    """Stops a run when so many clients of a round have answered."""

    def __init__(self, round: int) -> None:
        self._rounds = round

    def progress(self, stage: str, done: int, total: int) -> None:
        if stage == "clients" and done == 0:
            self._rounds -= 1
        if stage == "clients" and done == 1 and self._rounds == 0:
            raise KeyboardInterrupt


def run(out: Path, *overrides: str, resume: bool = False) -> Summary:
    return run_experiment(load_config(SMALL, overrides), out, resume=resume).summary


def sent(reply: Reply, samples: int) -> torch.Tensor:
    """The logits in a client's message."""
    codec = plugins.build(plugins.CODEC, "float32")
    logits: torch.Tensor = codec.decode(reply.arrays["logits"].tobytes(), samples=samples, classes=10).logits
    return logits


def rounds_of(out: Path) -> dict[int, int]:
    """In how many rounds each client took part."""
    rounds = [json.loads(line)["clients"] for line in (out / "rounds.jsonl").read_text().splitlines()]
    return {client: sum(client in each for each in rounds) for client in range(4)}


def kept(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "privacy_ledger.json").read_text())
    return content


def test_dp_sgd_spends_its_target_and_no_more(tmp_path: Path) -> None:
    config = load_config(SMALL, ["privacy.mechanism={name: dp_sgd, target_epsilon: 6.0}"])
    screen = io.StringIO()
    summary = run_experiment(
        config, tmp_path / "run", ConsoleObserver(rich=RichConsole(file=screen, width=200))
    ).summary
    assert summary.epsilon is not None
    assert 5.9 < summary.epsilon <= 6.0
    # By hand: every client takes part in all rounds, each of one epoch.
    assert summary.guarantee is not None
    noise = summary.guarantee.noise_multiplier
    spent = []
    for client in experiment_of().data.clients:
        examples = client.train.numel()
        rate, steps = sampling_rate(examples, 32), private_steps(examples, 32, 1)
        spent.append(composed_epsilon((GaussianEvent(noise, rate, 3 * steps),), DELTA))
    assert summary.epsilon == pytest.approx(max(spent), rel=1e-9)
    assert [summary.client_epsilon[client] for client in range(4)] == pytest.approx(spent, rel=0.01)
    assert max(summary.client_epsilon.values()) == summary.epsilon
    assert (summary.guarantee.unit, summary.guarantee.adversary) == ("record", "local")
    text = " ".join(screen.getvalue().split())
    assert text.count(f"ε = {summary.epsilon:.4g} at δ = 1e-05") == 2, "announced before the run, and told after it"
    assert "protects each record" in text
    # The run's own file keeps what was asked for; what came of it is in the summary.
    assert "target_epsilon: 6.0" in (tmp_path / "run" / "config.yaml").read_text()
    assert check(config).config.privacy.mechanism.options["noise_multiplier"] == pytest.approx(noise)


@pytest.mark.parametrize("per", ["vector", "report"])
def test_messages_are_as_noisy_as_declared_and_independent_over_clients_and_rounds(per: str) -> None:
    noisy = federation(None, f"privacy.mechanism={{name: gaussian_logits, noise_multiplier: 2.0, clip: 4, per: {per}}}")
    plain = federation(None)
    deviation = 2.0 * 2 * 4.0 * (math.sqrt(40) if per == "vector" else 1.0)
    drawn, tests = [], []
    for round in (1, 2):
        _, replies = noisy.ask(round, probe=True)
        # The student is still the initial one: nothing was learnt in between.
        _, clean = plain.ask(round, probe=True)
        for one, other in zip(replies, clean, strict=True):
            signal = sent(other, 40).double()
            bound = clip_vectors(signal, 4.0) if per == "vector" else _whole(signal, 4.0)
            drawn.append((sent(one, 40).double() - bound).flatten())
            assert one.measured is not None
            assert one.measured.test_logits is not None
            tests.append(torch.from_numpy(one.measured.test_logits)[:200].flatten())
    noise = torch.stack(drawn)
    # 3,200 draws: the standard deviation is known to 1.3 %, a correlation of 400 pairs to 0.05.
    assert float(noise.std()) == pytest.approx(deviation, rel=0.05)
    assert float((torch.corrcoef(noise) - torch.eye(len(noise))).abs().max()) < 0.25
    assert float(torch.stack(tests).std()) == pytest.approx(deviation, rel=0.05), "the ensemble is measured as it is"


def _whole(logits: torch.Tensor, clip: float) -> torch.Tensor:
    centred = logits - logits.mean(dim=1, keepdim=True)
    return centred * min(1.0, clip / float(centred.norm()))


def test_released_answers_do_not_depend_on_being_probed() -> None:
    parts = federation(None, GAUSSIAN)
    for probed, quiet in zip(parts.ask(1, probe=True)[1], parts.ask(1)[1], strict=True):
        assert probed.measured != quiet.measured
        assert {name: array.tobytes() for name, array in probed.arrays.items()} == {
            name: array.tobytes() for name, array in quiet.arrays.items()
        }
        assert replace(probed, arrays=quiet.arrays, measured=quiet.measured) == quiet


def test_a_clients_parameters_carry_the_noise_of_its_steps() -> None:
    # One step with all samples, whose gradient of norm 1 at most drowns in noise: w − w₀ ≈ −0.05·N(0, 50²)/n.
    mechanism = "privacy.mechanism={name: dp_sgd, noise_multiplier: 50.0}"
    parts = federation(None, *AVERAGING, mechanism, "clients.batch_size=500")
    job, replies = parts.ask(1)
    changes = []
    for reply in replies:
        assert reply.examples is not None
        changes.append(_change(job.parameters, reply.arrays) / (0.05 * 50.0 / reply.examples))
    moved = torch.stack(changes)
    assert float(moved.std()) == pytest.approx(1.0, rel=0.05)
    assert float((torch.corrcoef(moved) - torch.eye(len(moved))).abs().max()) < 0.2


def _change(before: Arrays, after: Arrays) -> torch.Tensor:
    return torch.cat([torch.from_numpy(after[name] - before[name]).flatten() for name in sorted(after)])


def test_private_training_is_repeatable_and_not_the_plain_one() -> None:
    first, again, plain = (
        sent(federation(None, *overrides).ask(1)[1][0], 40) for overrides in ((DP_SGD,), (DP_SGD,), ())
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, plain)


def test_epsilon_is_that_of_the_client_that_took_part_most(tmp_path: Path) -> None:
    summary = run(tmp_path / "run", GAUSSIAN, "clients.fraction=0.5", "rounds=5")
    counts = rounds_of(tmp_path / "run")
    assert len(set(counts.values())) > 1
    expected = {
        client: gaussian_epsilon(noise_multiplier=2.0, releases=count, delta=DELTA)
        for client, count in counts.items()
        if count > 0
    }
    assert summary.client_epsilon == pytest.approx(expected)
    assert summary.epsilon == max(summary.client_epsilon.values())
    assert summary.epsilon < gaussian_epsilon(noise_multiplier=2.0, releases=5, delta=DELTA)


def test_a_noisy_teacher_pays_for_the_samples_that_were_asked_about(tmp_path: Path) -> None:
    summary = run(tmp_path / "run", "strategy={name: gnmax, noise: 20.0}", "communication.cache_rounds=2")
    # All 40 samples in the first round; after that the 20 labelled ones, since the others' targets are kept.
    expected = gaussian_epsilon(noise_multiplier=20.0 / math.sqrt(2), releases=40 + 20 + 20, delta=DELTA)
    assert summary.epsilon == pytest.approx(expected)
    assert summary.guarantee is not None
    assert (summary.guarantee.unit, summary.guarantee.adversary) == ("client", "central")


def test_the_threshold_is_paid_for_on_every_query_and_answers_up_to_their_share(tmp_path: Path) -> None:
    teacher = "strategy={name: confident_gnmax, noise: 30.0, threshold_noise: 20.0, threshold: 1.0, answers: 0.25}"
    summary = run(tmp_path / "run", teacher, "communication.cache_rounds=2")
    # 40 + 20 + 20 queries, of which 10 + 5 + 5 may be answered, even though hardly one passes.
    events = (GaussianEvent(20.0, count=80), GaussianEvent(30.0 / math.sqrt(2), count=20))
    assert summary.epsilon == pytest.approx(composed_epsilon(events, DELTA))


@pytest.mark.parametrize("teacher", ["gnmax", "gaussian_mean", "confident_gnmax"])
def test_a_teacher_meets_its_target_over_the_run_and_again_when_resumed(tmp_path: Path, teacher: str) -> None:
    overrides = (f"strategy={{name: {teacher}, target_epsilon: 7}}", "clients.fraction=0.5")
    whole = run(tmp_path / "whole", *overrides)
    assert whole.epsilon is not None
    assert 6.9 < whole.epsilon <= 7.0
    with pytest.raises(KeyboardInterrupt):
        run_experiment(load_config(SMALL, overrides), tmp_path / "run", Interrupting(2))
    resumed = run(tmp_path / "run", *overrides, resume=True)
    assert (resumed.epsilon, resumed.student_sha256) == (whole.epsilon, whole.student_sha256)
    assert "target_epsilon: 7" in (tmp_path / "run" / "config.yaml").read_text()


@pytest.mark.parametrize("mechanism", ["none", "{name: temperature, value: 2.0}"])
def test_without_proof_epsilon_is_none_and_said_to_be(tmp_path: Path, mechanism: str) -> None:
    screen = io.StringIO()
    config = load_config(SMALL, [f"privacy.mechanism={mechanism}", "rounds=1"])
    summary = run_experiment(
        config, tmp_path / "run", ConsoleObserver(rich=RichConsole(file=screen, width=200))
    ).summary
    assert (summary.epsilon, summary.guarantee, summary.client_epsilon) == (None, None, {})
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["epsilon"] is None
    assert screen.getvalue().count("no formal privacy guarantee (no DP)") == 2
    assert not (tmp_path / "run" / "privacy_ledger.json").exists()


def test_a_round_is_charged_before_anything_of_it_is_released(tmp_path: Path) -> None:
    # Every report is refused, so that no round ever ends.
    with pytest.raises(RunError, match="0 valid reports"):
        run(tmp_path / "run", DP_SGD, "clients.behaviour=not_a_number")
    ledger = PrivacyLedger()
    ledger.load_state_dict(kept(tmp_path / "run"))
    assert {client: ledger.releases(client) for client in ledger.clients} == dict.fromkeys(range(4), 1)
    assert ledger.epsilon(DELTA) > 0


class Reading(Silent):
    """Reads the ledger on disk at the moment at which clients are about to be asked."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self.seen: list[set[int]] = []

    def progress(self, stage: str, done: int, total: int) -> None:
        if stage == "clients" and done == 0:
            self.seen.append({charge["round"] for charge in kept(self._out)["charges"]})


@pytest.mark.parametrize("private", [DP_SGD, GAUSSIAN, "strategy={name: gnmax, noise: 20.0}"])
def test_the_charge_is_on_disk_before_clients_are_asked(tmp_path: Path, private: str) -> None:
    watch = Reading(tmp_path / "run")
    run_experiment(load_config(SMALL, [private]), tmp_path / "run", watch)
    assert watch.seen == [{1}, {1, 2}, {1, 2, 3}]


def test_an_interrupted_run_owes_what_it_had_begun_and_a_resumed_one_what_a_whole_one_owes(tmp_path: Path) -> None:
    overrides = (DP_SGD, "clients.fraction=0.5")
    whole = run(tmp_path / "whole", *overrides)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(load_config(SMALL, overrides), tmp_path / "run", Interrupting(2))
    assert {charge["round"] for charge in kept(tmp_path / "run")["charges"]} == {1, 2}
    resumed = run(tmp_path / "run", *overrides, resume=True)
    assert (resumed.epsilon, resumed.client_epsilon) == (whole.epsilon, whole.client_epsilon)
    assert kept(tmp_path / "run") == kept(tmp_path / "whole")
    longer = run(tmp_path / "run", *overrides, "rounds=4", resume=True)
    assert longer.epsilon is not None
    assert whole.epsilon is not None
    assert longer.epsilon > whole.epsilon


def test_a_damaged_ledger_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_experiment(load_config(SMALL, [GAUSSIAN]), tmp_path / "run", Interrupting(2))
    (tmp_path / "run" / "privacy_ledger.json").write_text('{"charges": [{"client"')
    with pytest.raises(RunError, match=r"privacy_ledger\.json is damaged"):
        run(tmp_path / "run", GAUSSIAN, resume=True)


def test_controls_without_protection_are_pointed_out(tmp_path: Path) -> None:
    screen = io.StringIO()
    config = load_config(SMALL, [GAUSSIAN, "controls=[public_only, local_only, fedavg]", "rounds=1"])
    run_experiment(config, tmp_path / "run", ConsoleObserver(rich=RichConsole(file=screen, width=200)))
    assert "outside of this guarantee: local_only, fedavg; controls" in " ".join(screen.getvalue().split())


LARGE = "privacy.delta=0.09"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((DP_SGD, LARGE, "data.partition.scheme=iid"), ("δ = 0.09 is not below 1/", "records of the smallest client")),
        ((GAUSSIAN, LARGE), ()),
        (
            (GAUSSIAN, LARGE, "clients.count=12"),
            ("is not below 1/12, for 12 clients", "to 8e-03 or less"),
        ),
        ((LARGE,), ()),
    ],
)
def test_a_delta_that_lets_one_be_given_away_is_warned_of(overrides: tuple[str, ...], words: tuple[str, ...]) -> None:
    text = "\n".join(privacy_lines(experiment_of(*overrides)))
    assert ("is not below" in text) == bool(words)
    for word in words:
        assert word in text


@pytest.mark.parametrize("delta", ["0", "-1e-5", "0.1", "0.9", ".nan", ".inf"])
def test_a_delta_that_means_nothing_is_refused(delta: str) -> None:
    with pytest.raises(ConfigError, match=r"privacy\.delta"):
        load_config(SMALL, [f"privacy.delta={delta}"])


@pytest.mark.parametrize(("behaviour", "word"), [("Abstaining", "masks"), ("Talkative", "truth")])
@pytest.mark.parametrize("mechanism", [GAUSSIAN, DP_SGD])
def test_a_client_sends_nothing_that_is_not_covered(behaviour: str, word: str, mechanism: str) -> None:
    parts = federation(None, mechanism, f"clients.behaviour={__name__}:{behaviour}")
    for reply in parts.ask(1)[1]:
        assert f"proves nothing about {word}" in (reply.error or "")
        assert not reply.arrays


FITTING: list[tuple[str, ...]] = [
    (DP_SGD,),
    ("privacy.mechanism={name: dp_sgd, target_epsilon: 8}",),
    (DP_SGD, "clients.rule={name: own_model, pretrain_epochs: 1}", "clients.models=[{name: mlp, hidden: [8]}]"),
    (DP_SGD, *AVERAGING),
    (DP_SGD, "strategy=weighted"),
    (DP_SGD, "clients.attackers={share: 0.5, behaviour: lma}"),
    (GAUSSIAN, "clients.rule=own_model"),
    (GAUSSIAN, "clients.logit_adjustment=1"),
    ("strategy={name: gaussian_mean}", "clients.rule=selective"),
    ("strategy={name: confident_gnmax}", "privacy.mechanism={name: temperature}"),
    # What is not used discloses nothing.
    (DP_SGD, *AVERAGING, "strategy=class_count_weighted"),
]

BAD: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "noise on logits where parameters are sent": (
        (GAUSSIAN, *AVERAGING),
        ("privacy.mechanism: gaussian_logits covers logits", "clients.rule parameters sends parameters"),
    ),
    "no proof for what is sent": (
        ("privacy.mechanism={name: top_k}", *AVERAGING),
        ("privacy.mechanism: it protects logits", "sends parameters"),
    ),
    "abstaining tells something": (
        (GAUSSIAN, "clients.rule=selective"),
        ("privacy.mechanism: gaussian_logits proves nothing about where clients abstain", "selective"),
    ),
    "a rule that does more than train": (
        (DP_SGD, "clients.rule=label_logits", "student.rule=label_means"),
        ("privacy.mechanism: dp_sgd covers logits and parameters", "label_logits uses private data in other ways too"),
    ),
    "a rule around one that trains": (
        (DP_SGD, "clients.rule={name: selective, base: broadcast}"),
        ("selective uses private data in other ways too",),
    ),
    "label counts in the loss": (
        (DP_SGD, "clients.logit_adjustment=0.5"),
        ("clients.logit_adjustment: it uses a client's label counts", "got 0.5", "set clients.logit_adjustment=0"),
    ),
    "a former self in the loss": (
        (DP_SGD, "clients.self_distillation=0.5"),
        ("clients.self_distillation: privacy.mechanism=dp_sgd trains by plain cross-entropy", "got 0.5"),
    ),
    "two proofs": (
        (DP_SGD, "strategy=gnmax"),
        ("privacy.mechanism: DpSgd and GNMax each prove a privacy of their own", "another strategy"),
    ),
    "a private teacher that is not asked": (
        ("strategy=gnmax", *AVERAGING),
        ("strategy.name: gnmax protects what a teacher makes of logits", "student.rule average has no teacher"),
    ),
    "a private teacher whose noise attackers outvote": (
        ("strategy=gnmax", "clients.attackers={share: 0.5, behaviour: hips}"),
        ("clients.attackers.behaviour: hips repeats what honest clients answered", "strategy.name=gnmax"),
    ),
    "label counts for the teacher": (
        (GAUSSIAN, "strategy=class_count_weighted"),
        ("strategy.name: class_count_weighted has clients disclose how many samples of each class",),
    ),
    "counts that clients do not tell": (
        (GAUSSIAN, "strategy=weighted"),
        ("strategy.name: weighted weights clients by how many samples they hold", "choose another strategy"),
    ),
    "batch normalisation": (
        (DP_SGD, "student.model={name: resnet8, norm: batch}"),
        ("student.model: resnet8: DP-SGD cannot train BatchNorm2d", "group normalisation"),
    ),
    "batch normalisation of one client": (
        (DP_SGD, "clients.rule=own_model", "clients.models=[mlp, {name: resnet8, norm: batch}]"),
        ("clients.models: resnet8: DP-SGD cannot train BatchNorm2d",),
    ),
}


@pytest.mark.parametrize("overrides", FITTING, ids=" ".join)
def test_parts_that_fit_are_not_complained_about(overrides: tuple[str, ...]) -> None:
    assert composition_faults(Experiment.of(load_config(SMALL, overrides))) == []


@pytest.mark.parametrize("case", BAD)
def test_what_breaks_a_proof_is_refused_with_a_remedy(case: str) -> None:
    overrides, words = BAD[case]
    with pytest.raises(ConfigError) as caught:
        check(load_config(SMALL, overrides))
    text = "\n".join(caught.value.problems)
    for word in words:
        assert word in text


def test_only_the_clients_models_have_to_be_trainable_privately() -> None:
    overrides = [DP_SGD, "clients.rule=own_model", "clients.models=[{name: mlp, hidden: [8]}]"]
    check(load_config(SMALL, [*overrides, "student.model={name: resnet8, norm: batch}"]))
