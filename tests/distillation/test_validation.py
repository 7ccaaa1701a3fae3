"""What policies are told of held-out samples."""

import pytest
import torch
from torch import Tensor, nn

from fedkd.distillation.validation import StudentError


class _Names(nn.Module):
    """Names one class, whatever it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([1.0, 0.0]))
        self.seen = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen += len(inputs)
        return self.bias.expand(len(inputs), 2)


@pytest.mark.parametrize(("samples", "parts"), [(1, [1]), (128, [128]), (129, [65, 64]), (400, [100] * 4)])
def test_a_students_error_is_renewed_in_turn(samples: int, parts: list[int]) -> None:
    model = _Names()
    error = StudentError(model, torch.zeros(samples, 1, 2, 2), torch.zeros(samples, dtype=torch.long))
    assert error.measure() == pytest.approx(1 / (samples + 2))
    assert model.seen == samples
    model.bias.data = torch.tensor([0.0, 1.0])
    wrong = 0
    for part in parts:
        before = model.seen
        wrong += part
        assert error.measure() == pytest.approx((wrong + 1) / (samples + 2))
        assert model.seen - before == part
    # From the beginning again.
    model.bias.data = torch.tensor([1.0, 0.0])
    assert error.measure() == pytest.approx((samples - parts[0] + 1) / (samples + 2))
