"""The mean of a student's weights."""

import pytest
import torch
from torch import Tensor, nn

from fedkd.aggregation.types import Teacher
from fedkd.config.load import parse_config
from fedkd.config.schema import DistillationConfig
from fedkd.core.errors import ConfigError
from fedkd.distillation.balancer import build_balancer
from fedkd.distillation.distiller import Distiller
from fedkd.distillation.temperature import build_temperature
from fedkd.distillation.weight_average import WeightAverage

INPUTS, LABELS = torch.randn(40, 1, 1, 3, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2


def distiller(average: float) -> Distiller:
    torch.manual_seed(0)
    return Distiller(
        nn.Sequential(nn.Flatten(), nn.Linear(3, 2)),
        build_balancer("cosine"),
        DistillationConfig(steps=12, average=average),
        temperature=build_temperature("constant"),
        seed=0,
    )


def weights_of(trained: Distiller) -> Tensor:
    return trained.student.get_parameter("1.weight").detach()


def test_the_mean_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, 0.75)
    for value in (1.0, 3.0, -1.0):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update()
    average.settle()
    # 1; 0.75·1 + 0.25·3 = 1.5; 0.75·1.5 − 0.25 = 0.875.
    assert float(model.weight.detach()) == pytest.approx(0.875)


def test_without_a_share_the_last_weights_stay() -> None:
    model = nn.Linear(1, 1, bias=False)
    before = model.weight.detach().clone()
    average = WeightAverage(model, 0.0)
    average.update()
    average.settle()
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize("taught", [True, False])
def test_a_round_ends_with_the_mean_over_its_steps(taught: bool) -> None:
    teacher = Teacher.from_logits(torch.randn(40, 2, generator=torch.Generator().manual_seed(1)))
    seen: list[Tensor] = []
    averaged = distiller(average=0.5)

    def watch(done: int, total: int) -> None:
        seen.append(weights_of(averaged).clone())

    if taught:
        averaged.distil(teacher, INPUTS, LABELS, round=1, progress=watch)
    else:
        averaged.fit_labels(INPUTS, LABELS, round=1, progress=watch)
    mean = seen[0]
    for weights in seen[1:]:
        mean = 0.5 * mean + 0.5 * weights
    assert len(seen) == 12
    torch.testing.assert_close(weights_of(averaged), mean)


def test_a_mean_and_the_best_student_exclude_one_another() -> None:
    with pytest.raises(ConfigError, match=r"distillation\.average: .* got average = 0\.9 and patience = 5"):
        parse_config({"distillation": {"average": 0.9, "patience": 5}})
