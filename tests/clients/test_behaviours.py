"""Dishonest clients: what they send, by hand, and what becomes of it in a round."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from fedkd.client.behaviour import AdversaryView, ClientBehaviour
from fedkd.client.context import ClientContext
from fedkd.client.rule import ClientRule, Upload
from fedkd.config.load import load_config, to_json
from fedkd.core import plugins
from fedkd.core.messages import Consensus
from fedkd.experiment import Experiment

SMALL: dict[str, Any] = {
    "data": {"dataset": "digits", "private_size": 200, "public": {"size": 30, "labelled": 10}},
    "clients": {"count": 4},
    "student": {"model": {"name": "mlp", "hidden": [8]}},
}
COLLUDING = ("cpa", "hips", "little_is_enough", "lma")


def build(name: str, **options: object) -> ClientBehaviour:
    behaviour: ClientBehaviour = plugins.build(plugins.BEHAVIOUR, name, options)
    return behaviour


def experiment(*overrides: str) -> Experiment:
    return Experiment.of(to_json(load_config(SMALL, list(overrides))))


def work_of(client: int = 1, round: int = 1, **changes: Any) -> ClientContext:
    at = experiment()
    labels = at.data.labels[at.data.clients[client].train]
    return replace(ClientContext(at, client, round, {}, at.data.public.inputs, labels), **changes)


def own_rule() -> ClientRule:
    rule: ClientRule = plugins.build(plugins.CLIENT_RULE, "own_model")
    return rule


class Says(ClientRule):
    """A rule that answers what it is told to."""

    def __init__(self, logits: Tensor | None) -> None:
        self.logits = logits

    def respond(self, context: ClientContext) -> Upload:
        return Upload(logits=self.logits)


def sent(behaviour: ClientBehaviour, context: ClientContext, rule: ClientRule) -> Tensor:
    logits = behaviour.respond(context, rule).logits
    assert logits is not None
    return logits


def view_of(*honest: list[list[float]], attackers: int = 1, own: Tensor | None = None) -> AdversaryView:
    """The honest clients' probabilities, ``[samples][classes]`` each."""
    logits = (
        torch.tensor(honest).log() if honest else torch.empty(0, *(own if own is not None else torch.zeros(1)).shape)
    )
    mine = logits[0] if own is None else own
    return AdversaryView(logits, mine, torch.Generator().manual_seed(0), client=9, attackers=attackers)


def test_lma_names_the_class_that_is_least_likely_in_the_honest_mean() -> None:
    view = view_of([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]], [[0.5, 0.1, 0.4], [0.2, 0.2, 0.6]])
    # Means (0.6, 0.15, 0.25) and (0.15, 0.5, 0.35)
    forged = build("lma", confidence=5.0).collude(view)
    assert forged.tolist() == [[0.0, 5.0, 0.0], [5.0, 0.0, 0.0]]


def test_cpa_names_the_class_least_similar_to_the_top_one() -> None:
    # Over these four samples the shares of classes 0 and 1 rise together, and class 2 falls where they rise:
    # covariances with class 0: (0.01, 0.01, −0.02); with class 2: (−0.02, −0.02, 0.04).
    rows = [[0.4, 0.3, 0.3], [0.2, 0.1, 0.7], [0.4, 0.3, 0.3], [0.2, 0.1, 0.7]]
    forged = build("cpa").collude(view_of(rows))
    assert forged.argmax(dim=1).tolist()[0::2] == [2, 2]
    # Class 2's least similar one is 0 or 1, which tie: the first.
    assert forged.argmax(dim=1).tolist()[1::2] == [0, 0]


def test_hips_repeats_the_honest_answer_that_moves_the_mean_most() -> None:
    # Of three honest answers two agree; the third raises the cross-entropy to the mean.
    view = view_of([[0.8, 0.2]], [[0.8, 0.2]], [[0.2, 0.8]])
    assert build("hips").collude(view).exp().tolist()[0] == pytest.approx([0.2, 0.8])
    # The same of single samples: each gets the answer that is worst there.
    view = view_of([[0.9, 0.1], [0.3, 0.7]], [[0.8, 0.2], [0.1, 0.9]], [[0.3, 0.7], [0.1, 0.9]])
    chosen = build("hips").collude(view).exp()
    torch.testing.assert_close(chosen, torch.tensor([[0.3, 0.7], [0.3, 0.7]]))


def test_hips_weighs_harm_by_the_attackers_share() -> None:
    from clients.hips import loss_harm

    probabilities = torch.tensor([[[0.75, 0.25]], [[0.25, 0.75]]], dtype=torch.float64)
    # The mean is (½, ½); with half of the clients attacking, the result is (0.625, 0.375):
    # −½·ln 0.625 − ½·ln 0.375 = 0.7254; with none it stays at ln 2.
    assert loss_harm(probabilities, 0.5)[:, 0].tolist() == pytest.approx([0.72542, 0.72542], abs=1e-5)
    assert loss_harm(probabilities, 0.0)[:, 0].tolist() == pytest.approx([0.69315, 0.69315], abs=1e-5)


def test_hips_by_class_prior_repeats_who_believes_in_dissimilar_classes() -> None:
    rows = [[0.4, 0.3, 0.3], [0.2, 0.1, 0.7]]
    other = [[0.1, 0.1, 0.8], [0.3, 0.3, 0.4]]
    # The one among ten is too few to change the mean's top classes, 0 and 2.
    view = view_of(*[rows] * 9, other)
    chosen = build("hips", objective="cpa").collude(view).exp()
    torch.testing.assert_close(chosen, torch.tensor(other))


def test_little_is_enough_stays_within_the_spread() -> None:
    # Means (0.6, 0.4), deviations (0.1, 0.1): (0.6 − 0.2, 0.4 − 0.2), of which the shares are 2/3 and 1/3.
    view = view_of([[0.7, 0.3]], [[0.5, 0.5]])
    assert build("little_is_enough", deviations=2.0).collude(view).exp()[0].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert build("little_is_enough", deviations=0.0).collude(view).exp()[0].tolist() == pytest.approx([0.6, 0.4])


@pytest.mark.parametrize(
    ("honest", "attackers", "expected"),
    [
        # The paper's example: 50 workers, 24 of them corrupt, need s = 26 − 24 = 2 supporters: Φ⁻¹(24/26).
        (26, 24, float(norm.ppf(24 / 26))),
        (7, 3, float(norm.ppf(4 / 7))),
        # With few attackers the majority lies nearer than the mean: nothing to gain.
        (9, 1, 0.0),
        # Attackers in the majority need nobody else; one is still counted.
        (3, 5, float(norm.ppf(2 / 3))),
        (1, 1, 0.0),
    ],
)
def test_little_is_enough_takes_its_deviations_from_the_number_of_attackers(
    honest: int, attackers: int, expected: float
) -> None:
    from clients.little_is_enough import majority_deviations

    assert majority_deviations(honest, attackers) == pytest.approx(expected)


@pytest.mark.parametrize("name", COLLUDING)
def test_colluding_attackers_say_the_same_and_are_finite(name: str) -> None:
    logits = torch.randn(5, 40, 6, generator=torch.Generator().manual_seed(1)) * 300
    behaviour = build(name)
    assert behaviour.needs_others
    views = [
        AdversaryView(logits, torch.randn(40, 6), torch.Generator().manual_seed(client), client, attackers=2)
        for client in (3, 4)
    ]
    first, second = (behaviour.collude(view) for view in views)
    assert torch.equal(first, second)
    assert first.shape == (40, 6)
    assert first.dtype == torch.float32
    assert bool(torch.isfinite(first).all())
    assert float(first.abs().max()) < 1e4


@pytest.mark.parametrize("name", COLLUDING)
def test_attackers_among_themselves_start_from_their_own_answer(name: str) -> None:
    own = torch.tensor([[3.0, 1.0, 0.0], [0.0, 1.0, 2.0]])
    alone = AdversaryView(torch.empty(0, 2, 3), own, torch.Generator(), client=0, attackers=3)
    with_one = AdversaryView(own.unsqueeze(0), torch.zeros(2, 3), torch.Generator(), client=0, attackers=3)
    torch.testing.assert_close(build(name).collude(alone), build(name).collude(with_one))


def test_honest_clients_do_what_the_rule_says() -> None:
    context, logits = work_of(), torch.randn(30, 10)
    assert build("honest").respond(context, Says(logits)).logits is logits
    assert torch.equal(build("honest").labels(context), context.labels)
    assert not build("honest").needs_others


def test_random_names_one_class_with_certainty_and_another_one_next_time() -> None:
    rule = Says(torch.zeros(30, 10))
    first, again, later, other = (
        sent(build("random"), context, rule) for context in (work_of(), work_of(), work_of(round=2), work_of(client=2))
    )
    assert first.softmax(dim=1).amax(dim=1).min() > 0.9999
    assert len(set(first.argmax(dim=1).tolist())) > 4
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert not torch.equal(first, other)


def test_fixed_names_its_class() -> None:
    rule = Says(torch.zeros(30, 10))
    assert set(sent(build("fixed", target=7), work_of(), rule).argmax(dim=1).tolist()) == {7}
    with pytest.raises(ValueError, match="target must be one of the 10 classes, 0 to 9; got 10"):
        build("fixed", target=10).respond(work_of(), rule)


def test_second_class_by_hand() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0], [0.0, 5.0, 4.0], [1.0, 1.0, 1.0]])
    assert sent(build("second_class"), work_of(), Says(logits)).tolist() == [[0, 20, 0], [0, 0, 20], [0, 20, 0]]


def test_shuffled_answers_are_the_same_collection() -> None:
    logits = torch.randn(30, 10)
    found = sent(build("shuffled"), work_of(), Says(logits))
    assert not torch.equal(found, logits)
    assert sorted(found.tolist()) == sorted(logits.tolist())


def test_scaled_by_hand() -> None:
    logits = torch.randn(30, 10)
    assert torch.equal(sent(build("scaled", factor=-3.0), work_of(), Says(logits)), logits * -3.0)


@pytest.mark.parametrize("name", ["random", "fixed", "second_class", "shuffled", "scaled"])
def test_there_is_nothing_to_forge_in_an_upload_without_logits(name: str) -> None:
    with pytest.raises(ValueError, match="the clients' rule sends none; choose"):
        build(name).respond(work_of(), Says(None))


def test_not_a_number_breaks_every_real_number() -> None:
    class Both(ClientRule):
        def respond(self, context: ClientContext) -> Upload:
            return Upload(
                logits=torch.zeros(3, 2), arrays={"w": torch.ones(2).numpy(), "count": torch.arange(2).numpy()}
            )

    upload = build("not_a_number").respond(work_of(), Both())
    assert upload.logits is not None
    assert bool(upload.logits.isnan().all())
    assert torch.from_numpy(upload.arrays["w"]).isnan().all()
    assert upload.arrays["count"].tolist() == [0, 1]


def test_label_noise_by_hand() -> None:
    context = work_of()
    assert torch.equal(build("label_noise", kind="next").labels(context), (context.labels + 1) % 10)
    flipped = build("label_noise").labels(context)
    assert bool((flipped != context.labels).all())
    assert set(((flipped - context.labels) % 10).tolist()) <= set(range(1, 10))
    assert len(set(((flipped - context.labels) % 10).tolist())) > 3
    assert torch.equal(build("label_noise").labels(work_of(round=5)), flipped)


def test_label_noise_flips_the_share_that_it_is_told() -> None:
    from clients.label_noise import flip

    labels = torch.arange(4).repeat(2500)
    flipped = flip(labels, 4, 0.3, "symmetric", torch.Generator().manual_seed(0))
    wrong = flipped[flipped != labels]
    assert len(wrong) / 10_000 == pytest.approx(0.3, abs=0.02)
    shifts = torch.bincount((flipped - labels)[flipped != labels] % 4, minlength=4) / len(wrong)
    assert shifts.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3], abs=0.04)


def test_a_free_rider_does_not_train() -> None:
    context = work_of()
    initial = context.answer(context.experiment.initial_model())
    torch.testing.assert_close(sent(build("free_rider"), work_of(), own_rule()), initial)
    assert not torch.allclose(sent(build("honest"), work_of(), own_rule()), initial)


def test_a_free_rider_hands_the_consensus_back() -> None:
    targets = torch.randn(3, 10).log_softmax(dim=-1)
    consensus = Consensus(torch.tensor([0, 4, 7]), targets, torch.tensor([True, False, True]))
    own = torch.randn(30, 10)
    context = work_of(round=2, consensus=consensus)
    found = sent(build("free_rider", answer="consensus"), context, Says(own))
    assert torch.equal(found[[0, 7]], targets[[0, 2]])
    assert torch.equal(found[[1, 4]], own[[1, 4]])
    assert torch.equal(sent(build("free_rider", answer="consensus"), work_of(), Says(own)), own)
    # Where the server asks about samples 4 and 7 only, those are the queries.
    marks = np.packbits([position in (4, 7) for position in range(30)])
    fewer = work_of(round=2, consensus=consensus, queries=context.queries[[4, 7]], received={"asked": marks})
    found = sent(build("free_rider", answer="consensus"), fewer, Says(own[:2]))
    assert torch.equal(found, torch.stack([own[0], targets[2]]))


def test_a_stale_client_answers_with_the_model_it_had() -> None:
    memory: dict[str, Tensor] = {}
    stale, rule = build("stale", since=2), own_rule()
    answers = [sent(stale, work_of(round=round, memory=memory), rule) for round in (1, 2, 3, 4)]
    assert not torch.equal(answers[0], answers[1])
    torch.testing.assert_close(answers[1], answers[2])
    torch.testing.assert_close(answers[1], answers[3])
    honest: dict[str, Tensor] = {}
    kept_up = [sent(build("honest"), work_of(round=round, memory=honest), own_rule()) for round in (1, 2, 3)]
    torch.testing.assert_close(kept_up[1], answers[1])
    assert not torch.allclose(kept_up[2], answers[2])
