"""What each attack makes of evidence whose truth is known."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fedkd.audit.attack import (
    Asked,
    AskedShares,
    Disclosure,
    Evidence,
    MeansFound,
    MembershipAttack,
    Released,
    confidence,
)
from fedkd.audit.metrics import auc
from fedkd.core import plugins

CLASSES = 3
WITH_SHADOWS = ("lira_online", "lira_offline", "rmia")
ON_MEMBERSHIP = (*WITH_SHADOWS, "loss_threshold", "co_operative_lira")


def attack(name: str, **options: object) -> MembershipAttack:
    built: MembershipAttack = plugins.build(plugins.ATTACK, name, options)
    return built


def evidence(
    gap: float, *, shadows: int = 32, candidates: int = 400, rounds: int = 1, views: int = 1, seed: int = 0
) -> tuple[Evidence, Tensor]:
    """Confidences are a candidate's own difficulty plus N(0, 1), and ``gap`` more in models that trained on it."""
    draw = torch.Generator().manual_seed(seed)
    difficulty = 2 * torch.randn(candidates, generator=draw, dtype=torch.float64)
    labels = torch.randint(CLASSES, (candidates,), generator=draw)
    members = torch.arange(candidates) % 2 == 0
    halves = torch.stack([torch.randperm(candidates, generator=draw) < candidates // 2 for _ in range(shadows // 2)])
    included = torch.stack([halves, ~halves], dim=1).flatten(0, 1) if shadows else halves.reshape(0, candidates)

    def answers(inside: Tensor) -> Tensor:
        count = inside.shape[0]
        noise = torch.randn(count, rounds, views, candidates, generator=draw, dtype=torch.float64)
        phi = difficulty + gap * inside[:, None, None, :] + noise
        # The two other classes share what is left: z_y − log Σ exp z_c = φ with z_c = −log 2.
        logits = torch.full((*phi.shape, CLASSES), -math.log(2), dtype=torch.float64)
        return logits.scatter(-1, labels.expand(phi.shape).unsqueeze(-1), phi.unsqueeze(-1)).float()

    nobody = torch.zeros(9, candidates, dtype=torch.bool)
    found = Evidence(
        observation="queried",
        answers=answers(members.unsqueeze(0))[0],
        shadows=answers(included),
        included=included,
        others=answers(nobody),
        labels=labels,
    )
    return found, members


def test_confidence_by_hand_and_without_overflow() -> None:
    logits = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]).log()
    found = confidence(logits, torch.tensor([0, 1]))
    assert found.tolist() == pytest.approx([math.log(0.7 / 0.3), math.log(0.1 / 0.9)], abs=1e-6)
    # Where the softmax is 1 to the last bit, the logits still tell candidates apart.
    sure = confidence(torch.tensor([[60.0, 0.0, 0.0], [70.0, 0.0, 0.0]]), torch.tensor([0, 0]))
    assert sure.tolist() == pytest.approx([60 - math.log(2), 70 - math.log(2)])
    assert confidence(torch.tensor([[-1e4, 1e4, 0.0]]), torch.tensor([0])).isfinite().all()


@pytest.mark.parametrize("name", ON_MEMBERSHIP)
def test_a_gap_is_found(name: str) -> None:
    given, members = evidence(3.0)
    scores = attack(name).scores(given)
    assert auc(scores[members], scores[~members]) > 0.8


@pytest.mark.parametrize("name", ON_MEMBERSHIP)
def test_without_a_gap_there_is_nothing_to_find(name: str) -> None:
    given, members = evidence(0.0, candidates=2000, shadows=8)
    scores = attack(name).scores(given)
    assert abs(auc(scores[members], scores[~members]) - 0.5) < 0.04  # three standard errors


@pytest.mark.parametrize("name", WITH_SHADOWS)
def test_shadows_take_difficulty_off(name: str) -> None:
    given, members = evidence(1.5)
    calibrated, plain = attack(name).scores(given), attack("loss_threshold").scores(given)
    assert auc(calibrated[members], calibrated[~members]) > auc(plain[members], plain[~members]) + 0.05


def test_the_likelihood_ratio_comes_near_the_best_there_is() -> None:
    # The best test of N(0, 1) against N(1.5, 1) has AUC Φ(1.5/√2) = 0.856; with four measurements Φ(3/√2) = 0.983.
    given, members = evidence(1.5, shadows=64, candidates=2000)
    scores = attack("lira_online").scores(given)
    assert 0.83 < auc(scores[members], scores[~members]) < 0.88
    given, members = evidence(1.5, shadows=64, candidates=2000, rounds=2, views=2)
    scores = attack("lira_online").scores(given)
    assert 0.97 < auc(scores[members], scores[~members]) < 0.99


def test_shrinking_gaps_helps_where_shadows_are_few() -> None:
    given, members = evidence(1.0, shadows=4, candidates=2000)
    shrunk, plain = (attack("lira_online", shrink=shrink).scores(given) for shrink in (True, False))
    assert auc(shrunk[members], shrunk[~members]) > auc(plain[members], plain[~members]) + 0.02


@pytest.mark.parametrize("name", ON_MEMBERSHIP)
def test_scores_follow_the_candidates_and_nothing_else(name: str) -> None:
    given, _ = evidence(1.0, candidates=50)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    moved = Evidence(
        observation="queried",
        # What is added to all logits of a sample changes no probability.
        answers=given.answers[..., order, :] + 3.0,
        shadows=given.shadows[..., order, :],
        included=given.included[:, order],
        others=given.others[..., order, :],
        labels=given.labels[order],
    )
    assert attack(name).scores(moved) == pytest.approx(attack(name).scores(given)[order.numpy()], abs=1e-3)


@pytest.mark.parametrize("name", ON_MEMBERSHIP)
def test_constant_answers_give_constant_or_harmless_scores(name: str) -> None:
    # A mechanism that says the same whatever it is asked.
    given, members = evidence(1.0)
    silent = Evidence(
        observation="queried",
        answers=torch.zeros_like(given.answers),
        shadows=torch.zeros_like(given.shadows),
        included=given.included,
        others=torch.zeros_like(given.others),
        labels=given.labels,
    )
    scores = attack(name).scores(silent)
    assert auc(scores[members], scores[~members]) == 0.5


def asked(gaps: list[float], *, mood: float = 0.0, shadows: int = 32, seed: int = 0) -> tuple[Evidence, Tensor]:
    """As ``evidence``, of as many queries as ``gaps``; a model is N(0, mood²) surer of all candidates of a class."""
    plain, members = evidence(0.0, shadows=shadows, seed=seed)
    draw = torch.Generator().manual_seed(seed + 1)
    difficulty = torch.randn(members.numel(), generator=draw, dtype=torch.float64)

    def answers(inside: Tensor) -> Tensor:
        rise = torch.tensor(gaps, dtype=torch.float64)[:, None] * inside[:, None, :]
        common = mood * torch.randn(len(inside), 1, CLASSES, generator=draw, dtype=torch.float64)[:, :, plain.labels]
        phi = difficulty + rise + common + torch.randn(rise.shape, generator=draw, dtype=torch.float64)
        logits = torch.full((*phi.shape, CLASSES), -math.log(2), dtype=torch.float64)
        return logits.scatter(-1, plain.labels.expand(phi.shape).unsqueeze(-1), phi.unsqueeze(-1)).float()

    pairs = torch.arange(shadows) // 2 % 2
    halves = tuple(
        Asked(answers(members.unsqueeze(0))[0], answers(plain.included[pairs == half]), plain.included[pairs == half])
        for half in (0, 1)
    )
    return replace(plain, asked=halves), members


def test_what_models_are_sure_of_in_common_is_taken_off() -> None:
    # Two likelihood ratios of N(0, 1) against N(1.5, 1): at best AUC Φ(1.5) = 0.933, whatever a model's mood is.
    for mood in (0.0, 5.0):
        given, members = asked([1.5], mood=mood)
        scores = attack("optimised_queries").scores(given)
        assert 0.90 < auc(scores[members], scores[~members]) < 0.95
    # Where the mood stays there is next to nothing to see: Φ(1.5/√(2·26)) = 0.58.
    half = given.asked[0]
    told = replace(given, answers=half.answers.unsqueeze(0), shadows=half.shadows.unsqueeze(1), included=half.included)
    taken = attack("lira_online").scores(told)
    assert auc(taken[members], taken[~members]) < 0.7


def test_the_query_that_tells_shadows_apart_is_the_one_that_counts() -> None:
    # Of two ratios with a gap of 3, at best Φ(3) = 0.9987; the average with the useless query has Φ(2.12) = 0.983.
    given, members = asked([0.0, 3.0])
    scores = attack("optimised_queries").scores(given)
    assert auc(scores[members], scores[~members]) > 0.99
    # Where all are worth the same, their average is worth more than any: Φ(1.5·√2) = 0.983 against 0.933.
    given, members = asked([1.5, 1.5])
    scores = attack("optimised_queries").scores(given)
    assert auc(scores[members], scores[~members]) > 0.96


def test_optimised_queries_find_nothing_where_there_is_nothing() -> None:
    found = []
    for seed in range(5):
        given, members = asked([0.0, 0.0], shadows=8, seed=seed)
        scores = attack("optimised_queries").scores(given)
        found.append(auc(scores[members], scores[~members]))
    assert abs(sum(found) / len(found) - 0.5) < 0.04  # three standard errors of 2,000 candidates


def test_what_an_attack_lacks() -> None:
    given, _ = evidence(1.0, shadows=2)
    with pytest.raises(ValueError, match="LiraOnline needs at least 4 shadows, got 2"):
        attack("lira_online").scores(given)
    alone = Evidence("queried", given.answers, given.shadows, given.included, given.others[:1], given.labels)
    with pytest.raises(ValueError, match="CoOperativeLira needs at least 2 other clients, got 1"):
        attack("co_operative_lira").scores(alone)


def disclosure(shares: list[float], *, told: list[float], copied: float = 1.0) -> Disclosure:
    """A client with ``shares`` of three classes, whose answers tell ``told``; its copy is right in ``copied`` cases."""
    original = torch.nn.functional.one_hot(torch.arange(300) % 3, 3).float()
    wrong = original.roll(1, dims=1)
    kept = torch.arange(300) < round(300 * copied)
    return Disclosure(
        client=0,
        answers=torch.tensor(told, dtype=torch.float32).log().expand(5, 3),
        crafted=torch.tensor(told, dtype=torch.float32).log().expand(7, 3),
        copy=torch.where(kept.unsqueeze(1), original, wrong),
        original=original,
        shares=torch.tensor(shares, dtype=torch.float32),
    )


def test_label_distributions_by_hand() -> None:
    found = plugins.build(plugins.ATTACK, "label_distribution").measure([disclosure([1, 0, 0], told=[0.5, 0.25, 0.25])])
    assert found == {
        "kl": pytest.approx(math.log(2)),
        "l1": pytest.approx(1.0),
        "kl_uniform": pytest.approx(math.log(3)),
        "l1_uniform": pytest.approx(4 / 3),
    }


def test_crafted_queries_rank_frequent_classes() -> None:
    clients = [disclosure([0.8, 0.1, 0.1], told=[0.5, 0.2, 0.3]), disclosure([0.1, 0.1, 0.8], told=[0.25, 0.25, 0.5])]
    assert plugins.build(plugins.ATTACK, "crafted_queries").measure(clients)["auc"] == 1.0
    even = [disclosure([1 / 3, 1 / 3, 1 / 3], told=[0.5, 0.2, 0.3])]
    assert "auc" not in plugins.build(plugins.ATTACK, "crafted_queries").measure(even)


def test_shares_are_read_exactly_from_models_that_answer_with_their_priors() -> None:
    known = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.1, 0.5, 0.4], [0.3, 0.3, 0.4]])
    client = torch.tensor([0.5, 0.1, 0.4])
    # Whatever they are asked; one half sharpens nothing, the other answers half-way to even shares.
    exact = AskedShares(client.log().expand(7, 3), known.log().unsqueeze(1).expand(4, 7, 3), known)
    dull = [((part + 1 / 3) / 2).log() for part in (client, known)]
    halves = exact, AskedShares(dull[0].expand(7, 3), dull[1].unsqueeze(1).expand(4, 7, 3), known)
    given = replace(disclosure(client.tolist(), told=[1, 1, 1]), asked=halves)
    found = plugins.build(plugins.ATTACK, "optimised_shares").measure([given])
    assert found["l1"] == pytest.approx(0.0, abs=1e-6)
    assert found["kl"] == pytest.approx(0.0, abs=1e-6)
    assert found["auc"] == 1.0


def test_queries_about_shares_go_to_where_models_differ_by_them() -> None:
    shares = torch.tensor([[0.8, 0.2], [0.2, 0.8], [0.5, 0.5]])
    models = []
    for share in shares:
        model = torch.nn.Linear(2, 2)
        with torch.no_grad():
            # The second input stirs up what has nothing to do with shares, the first what has.
            model.weight.copy_(torch.tensor([[float(share[0]), float(share[0] == 0.5)], [float(share[1]), 0.0]]))
            model.bias.zero_()
        models.append(model.eval().requires_grad_(False))
    start = torch.tensor([[0.1, 1.0], [0.0, -1.0], [1.0, 0.5], [-1.0, 0.2]])
    built = plugins.build(plugins.ATTACK, "optimised_shares", {"steps": 100})

    def follows(places: Tensor) -> float:
        told = torch.stack([model(places).softmax(dim=-1).mean(dim=0) for model in models])
        return float(torch.corrcoef(torch.stack([told[:, 0], shares[:, 0]]))[0, 1])

    made = built.make(models, shares, start)
    assert follows(start) < 0.9
    assert follows(made) > 0.99
    assert float(made.min()) >= -1
    assert float(made.max()) <= 1


def test_class_means_are_those_of_the_samples_that_a_client_names_so() -> None:
    public = torch.tensor([[0.0, 0.0], [0.0, 2.0], [4.0, 0.0], [4.0, 4.0]])
    named = torch.nn.functional.one_hot(torch.tensor([0, 0, 1, 1]), 2) * 1000.0
    copy, before = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    with torch.no_grad():
        for model, weight in ((copy, [[3.0, 4.0], [0.0, 0.0]]), (before, [[0.0, 0.0], [0.0, 0.0]])):
            model.weight.copy_(torch.tensor(weight))
            model.bias.zero_()
    released = Released(named, public, copy.requires_grad_(False), before.requires_grad_(False))
    still = plugins.build(plugins.ATTACK, "class_means", {"reach": 0.0}).invert(released)
    assert still.tolist() == [[0.0, 1.0], [4.0, 2.0]]
    # The copy has learned that class 0 lies along (3, 4), and class 1 the other way.
    far = float((public - public.mean(dim=0)).norm(dim=1).mean())
    moved = plugins.build(plugins.ATTACK, "class_means", {"reach": 0.5 / far}).invert(released)
    assert moved[0].tolist() == pytest.approx([0.3, 1.4], abs=1e-5)
    assert moved[1].tolist() == pytest.approx([3.7, 1.6], abs=1e-5)


def test_class_means_that_tell_of_the_client_itself_are_nearer_to_its_own_than_to_others() -> None:
    own, other, public = torch.tensor([1.0, 0.0, 0.0, 3.0]), torch.tensor([0.0, 1.0, 3.0, 0.0]), torch.ones(4)
    held, nothing = torch.tensor([True, False]), torch.zeros(4)

    def client(truth: Tensor) -> Disclosure:
        theirs, known = (torch.stack([each, nothing]) for each in (truth, public))
        return replace(disclosure([1, 0, 0], told=[1, 1, 1]), means=MeansFound(theirs, theirs, known, held))

    found = plugins.build(plugins.ATTACK, "class_means").measure([client(own), client(other)])
    assert found["correlation"] == pytest.approx(1.0)
    assert found["correlation_public"] == 0.0
    assert found["beyond_public"] == pytest.approx(1.0)
    # By hand: both have mean 1; products of (0, −1, −1, 2) and (−1, 0, 2, −1) add up to −4, squares to 6 each.
    assert found["beyond_public_others"] == pytest.approx(-4 / 6)


def test_extraction_counts_equal_answers() -> None:
    found = plugins.build(plugins.ATTACK, "model_extraction").measure(
        [disclosure([1, 0, 0], told=[1, 1, 1], copied=0.8), disclosure([1, 0, 0], told=[1, 1, 1], copied=0.6)]
    )
    assert found == {"agreement": pytest.approx(0.7), "most_frequent": pytest.approx(1 / 3)}
