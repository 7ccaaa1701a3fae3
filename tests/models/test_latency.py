"""Latencies: of calls in turn, whatever the machine does in between."""

import pytest
import torch
from torch import Tensor, nn

from fedkd.core.samples import SampleSpec
from fedkd.models import forward_pass, latencies
from fedkd.models._latency import FEWEST, MOST, WARM_UP


class Clock:
    """Time that passes only when it is told to; the machine is ten times slower in its third second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.called = 0.0, list[str]()
        monkeypatch.setattr("fedkd.models._latency.time.perf_counter", lambda: self.now)

    def call(self, name: str, seconds: float) -> None:
        self.called.append(name)
        self.now += seconds * (10 if 2.0 <= self.now < 3.0 else 1)


def test_calls_are_made_in_turn_and_told_by_their_median(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    found = latencies(
        {"small": lambda: clock.call("small", 0.1), "large": lambda: clock.call("large", 0.3)}, seconds=4.0
    )
    assert found == pytest.approx({"small": 100, "large": 300})
    assert clock.called == ["small", "large"] * (len(clock.called) // 2)
    assert len(clock.called) // 2 - WARM_UP > FEWEST


@pytest.mark.parametrize(("seconds", "passes"), [(0.0, FEWEST), (1e9, MOST)])
def test_there_are_neither_too_few_passes_nor_too_many(
    monkeypatch: pytest.MonkeyPatch, seconds: float, passes: int
) -> None:
    clock = Clock(monkeypatch)
    latencies({"one": lambda: clock.call("one", 0.001)}, seconds=seconds)
    assert len(clock.called) == WARM_UP + passes


def test_a_pass_is_of_so_many_samples_on_one_thread_in_evaluation_mode() -> None:
    seen: list[tuple[torch.Size, int, bool]] = []

    class Spy(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            seen.append((inputs.shape, torch.get_num_threads(), self.training))
            return inputs.flatten(1)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = latencies({"spy": forward_pass(Spy(), SampleSpec((1, 4, 4)), 64)}, seconds=0.0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {(torch.Size((64, 1, 4, 4)), 1, False)}
    assert found["spy"] > 0
