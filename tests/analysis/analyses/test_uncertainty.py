"""The uncertainty of a whole subject, of which the answers are known."""

import math

import pytest
import torch
from torch import Tensor

from fedkd.analysis.analyses.uncertainty import Uncertainty
from fedkd.analysis.analysis import Finding
from fedkd.analysis.subject import Samples
from fedkd.core import plugins
from fedkd.core.errors import ConfigError, PluginError
from fedkd.results.report.style import drawing, png
from tests.analysis.toys import Says, Toy

CLASSES = 3


def _samples() -> Samples:
    """Class y's samples lie about the y-th unit vector."""
    labels = torch.arange(120) % CLASSES
    draw = torch.Generator().manual_seed(0)
    return Samples(torch.eye(CLASSES)[labels] + 0.05 * torch.rand(120, CLASSES, generator=draw), labels)


def _exact(inputs: Tensor) -> Tensor:
    """The shares of a blend, as they are."""
    return inputs.clamp_min(1e-9).log()


def _hard(inputs: Tensor) -> Tensor:
    """Names the larger class alone."""
    return 40 * torch.nn.functional.one_hot(inputs.argmax(dim=-1), CLASSES).float()


def _at_odds(inputs: Tensor) -> Tensor:
    """Two clients that agree on the first class's samples and contradict each other on all others."""
    certain = torch.tensor([[60.0, 0.0, 0.0], [0.0, 60.0, 0.0]])
    first = inputs[:, 0] > 0.5
    return torch.stack([torch.where(first[:, None], certain[0], row) for row in certain])


def _soft(inputs: Tensor) -> Tensor:
    """Two clients that are as unsure as a sample is ambiguous."""
    return torch.stack([_exact(inputs), _exact(inputs)])


NETWORKS = {"student": Says(_exact), "without teacher": Says(_hard)}


def test_the_ensemble_s_entropy_is_split_on_average() -> None:
    found = Uncertainty().measure(Toy(_samples(), NETWORKS, classes=CLASSES, ensemble=_at_odds))

    # On two thirds of the samples two certain clients contradict each other.
    assert found.figures["split"] == pytest.approx(
        {"total": 2 / 3 * math.log(2), "aleatoric": 0, "epistemic": 2 / 3 * math.log(2)}, abs=1e-9
    )
    assert any("0.462 nats on average" in each and "0.462 because clients disagree" in each for each in found.sentences)


def test_a_student_that_is_as_unsure_as_its_teachers_follows_them() -> None:
    found = Uncertainty().measure(Toy(_samples(), NETWORKS, classes=CLASSES, ensemble=_soft))

    assert found.figures["split"]["epistemic"] == pytest.approx(0, abs=1e-12)
    assert found.figures["inherited"]["student"]["aleatoric"] == pytest.approx(1)
    assert found.figures["inherited"]["teacher"]["aleatoric"] == pytest.approx(1)
    assert found.figures["inherited"]["without_teacher"]["aleatoric"] is None, "its entropy is the same everywhere"
    assert found.figures["entropy"]["without_teacher"] == pytest.approx(0, abs=1e-9)


def test_blends_tell_a_soft_model_from_a_hard_one() -> None:
    found = Uncertainty().measure(Toy(_samples(), NETWORKS, classes=CLASSES, ensemble=_soft))

    blends = found.figures["blends"]
    assert blends["kl"]["student"] < 0.01 < blends["kl_of_even_odds"] < blends["kl"]["without_teacher"]
    assert blends["correlation"]["student"] > 0.99
    assert blends["mean_share"]["student"] == pytest.approx(blends["weights"], abs=0.05)
    assert blends["mean_share"]["without_teacher"][0] == pytest.approx(0, abs=1e-9)


def test_shuffled_samples_are_told_by_those_who_are_unsure_of_them() -> None:
    found = Uncertainty().measure(Toy(_samples(), NETWORKS, classes=CLASSES, ensemble=_soft))

    assert found.figures["strange_samples"] == "shuffled test samples"
    assert found.figures["auroc"]["without_teacher_entropy"] == 0.5
    assert found.figures["auroc"]["student_entropy"] == found.figures["auroc"]["aleatoric"] > 0.7
    assert found.figures["auroc"]["epistemic"] == pytest.approx(0.5, abs=0.2)


def test_without_clients_to_ask_the_other_figures_remain() -> None:
    for ensemble, why in ((None, "a secure sum hides"), (lambda inputs: _soft(inputs)[:1], "one client alone")):
        found = Uncertainty().measure(Toy(_samples(), NETWORKS, classes=CLASSES, ensemble=ensemble))

        assert found.figures["split"] is None
        assert found.figures["inherited"] == {}
        assert any("is not split" in each and why in each for each in found.sentences)
        assert set(found.figures["auroc"]) >= {"student_entropy", "without_teacher_entropy"}
        assert "epistemic" not in found.figures["auroc"]
        assert found.figures["blends"] is not None
        _drawn(found)


def test_tokens_are_not_blended() -> None:
    tokens = Samples(torch.arange(60).view(20, 3) % 7, torch.arange(20) % CLASSES)
    student = Says(lambda inputs: inputs.float() / 7)

    found = Uncertainty().measure(Toy(tokens, {"student": student}, classes=CLASSES, vocabulary=7))

    assert found.figures["blends"] is None
    assert any("they are tokens" in each for each in found.sentences)
    _drawn(found)


def test_a_data_set_that_does_not_exist_is_refused_when_it_is_named() -> None:
    with pytest.raises(PluginError, match="other: unknown data set 'digit'; did you mean 'digits'"):
        plugins.build(plugins.ANALYSIS, "uncertainty", {"other": "digit"})
    with pytest.raises(PluginError, match="samples"):
        plugins.build(plugins.ANALYSIS, "uncertainty", {"samples": 1})
    with pytest.raises(ConfigError, match=r"other: must differ from data\.dataset"):
        Uncertainty(other="digits").measure(Toy(_samples(), NETWORKS, classes=CLASSES))


def test_the_same_subject_gives_the_same_figures() -> None:
    first, second = (
        Uncertainty(samples=50, blends=20).measure(Toy(_samples(), NETWORKS, classes=CLASSES, ensemble=_at_odds))
        for _ in range(2)
    )

    assert first.figures == second.figures
    assert first.figures["samples"] == 50
    assert first.figures["blends"]["count"] == 20


def _drawn(found: Finding) -> None:
    assert found.draw is not None
    with drawing():
        assert png(found.draw())
