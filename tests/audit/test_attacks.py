"""What each attack makes of evidence whose truth is known."""

import math

import pytest
import torch
from torch import Tensor

from fedkd.audit.attack import Disclosure, Evidence, MembershipAttack, confidence
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


def test_extraction_counts_equal_answers() -> None:
    found = plugins.build(plugins.ATTACK, "model_extraction").measure(
        [disclosure([1, 0, 0], told=[1, 1, 1], copied=0.8), disclosure([1, 0, 0], told=[1, 1, 1], copied=0.6)]
    )
    assert found == {"agreement": pytest.approx(0.7), "most_frequent": pytest.approx(1 / 3)}
