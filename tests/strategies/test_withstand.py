"""What teachers withstand: liars among seven clients, and few labels."""

import io
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fedkd.aggregation.strategy import LogitAggregator
from fedkd.aggregation.testing import select_clients
from fedkd.aggregation.types import ReportStack
from fedkd.client.behaviour import AdversaryView
from fedkd.core import plugins
from fedkd.core.messages import UNKNOWN_LABEL


def build(name: str, **options: object) -> LogitAggregator:
    aggregator: LogitAggregator = plugins.build(plugins.STRATEGY, name, options)
    return aggregator


def stack_of(logits: Tensor, labels: Tensor | None = None) -> ReportStack:
    clients, samples, _ = logits.shape
    return ReportStack(
        logits=logits,
        examples=torch.ones(clients, dtype=torch.long),
        labels=torch.full((samples,), UNKNOWN_LABEL) if labels is None else labels,
        clients=tuple(range(clients)),
    )


ROBUST = ("median", "trimmed_mean", "geometric_median", "krum", "multi_krum", "cronus")


def seven(seed: int = 0) -> tuple[ReportStack, Tensor]:
    """Seven clients that mostly agree on 60 samples of four classes, and the truth."""
    draw = torch.Generator().manual_seed(seed)
    truth = torch.randint(4, (60,), generator=draw)
    logits = torch.nn.functional.one_hot(truth, 4) * 4.0 + torch.randn(7, 60, 4, generator=draw) * 0.5
    return stack_of(logits), truth


def with_liar(stack: ReportStack, truth: Tensor, lie: str) -> ReportStack:
    logits = stack.logits.clone()
    if lie == "extreme":
        logits[3] = torch.nn.functional.one_hot((truth + 1) % 4, 4) * 1e4
    else:
        logits[3] = -logits[3]
    return replace(stack, logits=logits)


def moved(name: str, lie: str) -> float:
    """How far the lie moves the targets: half the sum of absolute differences, the mean over the samples."""
    stack, truth = seven()
    honest, attacked = (build(name)(given).probabilities for given in (stack, with_liar(stack, truth, lie)))
    return float((honest - attacked).abs().sum(1).mean() / 2)


@pytest.mark.parametrize("lie", ["extreme", "flipped"])
@pytest.mark.parametrize("name", ROBUST)
def test_one_liar_of_seven_hardly_moves_robust_teachers(name: str, lie: str) -> None:
    assert moved(name, lie) < 0.02
    assert moved("mean_probabilities", lie) > 0.1


@pytest.mark.parametrize("name", ["mean_logits", "certainty_weighted", "variance_weighted"])
def test_one_liar_of_seven_rules_teachers_that_average_logits(name: str) -> None:
    assert moved(name, "extreme") > 0.95


@pytest.mark.parametrize("lie", ["extreme", "flipped"])
def test_exp_guard_learns_to_distrust_who_keeps_lying(lie: str) -> None:
    guard, mean = build("exp_guard"), build("mean_probabilities")
    weights = []
    for round in range(1, 9):
        stack, truth = seven(round)
        attacked = replace(with_liar(stack, truth, lie), round=round)
        teacher = guard(attacked)
        assert teacher.client_weight is not None
        weights.append(float(teacher.client_weight[3]))
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] < 1e-3
    honest = mean(select_clients(stack, [0, 1, 2, 4, 5, 6])).probabilities
    trusting = float((mean(attacked).probabilities - honest).abs().mean())
    assert float((teacher.probabilities - honest).abs().mean()) < 0.02 * trusting


def test_exp_guard_remembers_clients_through_absence_and_storage() -> None:
    stack, truth = seven()
    attacked = with_liar(stack, truth, "flipped")
    guard = build("exp_guard")
    guard(attacked)
    before = guard.state_dict()["log_weights"]
    assert min(before, key=before.__getitem__) == 3
    guard(select_clients(attacked, [0, 1, 2, 4, 5, 6]))
    after = guard.state_dict()["log_weights"]
    assert after[3] == before[3]
    assert after[0] < before[0] < 0

    silent = torch.ones(7, 60, dtype=torch.bool)
    silent[3] = False
    guard(replace(attacked, mask=silent))
    assert guard.state_dict()["log_weights"][3] == before[3]

    stored = io.BytesIO()
    torch.save(guard.state_dict(), stored)
    stored.seek(0)
    resumed = build("exp_guard")
    resumed.load_state_dict(torch.load(stored, weights_only=True))
    expected, found = guard(attacked), resumed(attacked)
    assert torch.equal(expected.log_probabilities, found.log_probabilities)
    assert not torch.equal(found.log_probabilities, build("exp_guard")(attacked).log_probabilities)


CLASSES, LABELLED, SAMPLES = 10, 50, 2000


def skewed(seed: int) -> tuple[Tensor, Tensor]:
    """Eight clients that know two or three of ten classes each, and take everything for one of those; and the truth."""
    draw = torch.Generator().manual_seed(seed)
    truth = torch.randint(CLASSES, (SAMPLES,), generator=draw)
    clients = []
    for client in range(8):
        known = torch.zeros(CLASSES)
        known[[client, (client + 1) % CLASSES, (client + 2) % CLASSES]] = 1.0
        evidence = torch.nn.functional.one_hot(truth, CLASSES) * 4.0 * known
        clients.append(evidence + 6.0 * known + torch.randn(SAMPLES, CLASSES, generator=draw) * 1.5)
    return torch.stack(clients), truth


def unlabelled_accuracy(name: str, logits: Tensor, truth: Tensor, **options: object) -> float:
    labels = truth.clone()
    labels[LABELLED:] = UNKNOWN_LABEL
    top = build(name, **options)(stack_of(logits, labels)).log_probabilities.argmax(dim=1)
    return float((top[LABELLED:] == truth[LABELLED:]).float().mean())


@pytest.mark.parametrize("seed", [0, 1])
def test_fifty_labels_are_enough_for_stacking_to_beat_the_mean_of_skewed_reports(seed: int) -> None:
    logits, truth = skewed(seed)
    stacked, mean = (unlabelled_accuracy(name, logits, truth) for name in ("stacked", "mean_probabilities"))
    assert stacked > mean + 0.05


def test_with_fifty_labels_clients_that_know_nothing_hardly_distract_stacking() -> None:
    logits, truth = skewed(0)
    draw = torch.Generator().manual_seed(100)
    guesses = torch.randn(16, SAMPLES, CLASSES, generator=draw) * 3
    more = torch.cat([logits, guesses])
    stacked, mean = (unlabelled_accuracy(name, more, truth) for name in ("stacked", "mean_probabilities"))
    assert stacked > mean - 0.03
    # Clients that all know the same, well, are what the mean is best at; the fit must not spoil it.
    alike = torch.nn.functional.one_hot(truth, CLASSES) * 3.0 + torch.randn(8, SAMPLES, CLASSES, generator=draw) * 1.5
    crowd = torch.cat([alike, guesses])
    stacked, mean = (unlabelled_accuracy(name, crowd, truth) for name in ("stacked", "mean_probabilities"))
    assert stacked > mean - 0.03


def test_stacking_on_labels_survives_colluders_who_undo_the_mean() -> None:
    logits, truth = skewed(5)
    behaviour = plugins.build(plugins.BEHAVIOUR, "hips")
    lie = behaviour.collude(AdversaryView(logits, logits[0], torch.Generator(), client=8, attackers=3))
    attacked = torch.cat([logits, lie.expand(3, -1, -1)])
    fixed: dict[str, object] = {"weights": "mean", "ridge": 1e-2}
    loss = {
        name: unlabelled_accuracy(name, logits, truth, **options)
        - unlabelled_accuracy(name, attacked, truth, **options)
        for name, options in {"mean_probabilities": {}, "stacked": fixed}.items()
    }
    assert loss["stacked"] < 0.03
    assert loss["mean_probabilities"] > loss["stacked"] + 0.05
