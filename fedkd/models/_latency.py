"""How long networks take to answer."""

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from fedkd.core.compute import fixed_threads, laid_out_for
from fedkd.core.samples import SampleSpec

FEWEST, MOST = 5, 51
"""Passes that a median is of."""
WARM_UP = 2
"""Passes before them, in which memory is taken and kernels are chosen."""


def forward_pass(model: nn.Module, sample: SampleSpec, batch: int) -> Callable[[], object]:
    """A call that has the model, put into evaluation mode, answer ``batch`` made-up samples."""
    model.eval()
    inputs = laid_out_for(model, sample.made_up(batch, next(model.parameters(), None)))

    def call() -> object:
        with torch.inference_mode():
            logits = model(inputs)
            # A GPU has not finished when the call returns; a number that is read has been computed.
            return logits.flatten()[0].item()

    return call


def latencies(calls: Mapping[str, Callable[[], object]], *, seconds: float = 1.0) -> dict[str, float]:
    """The median milliseconds of each call, on one thread of the CPU.

    They are called in turn, so that whatever else the machine does meets all of them alike and their ratios stand,
    until each has had about so many ``seconds`` on average: at least ``FEWEST`` times, at most ``MOST``.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    with fixed_threads(1):
        for _ in range(WARM_UP):
            for call in calls.values():
                call()
        end = time.perf_counter() + seconds * len(calls)
        for turn in range(MOST):
            if turn >= FEWEST and time.perf_counter() > end:
                break
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                taken[name].append(time.perf_counter() - start)
    return {name: 1000 * float(np.median(each)) for name, each in taken.items()}
