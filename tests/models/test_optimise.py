"""Batches: how one pass over samples is cut."""

import pytest
import torch

from fedkd.models import batch_sizes, batches


@pytest.mark.parametrize(
    ("samples", "size", "sizes"),
    [
        (6, 3, [3, 3]),
        (8, 3, [3, 3, 2]),
        # A last one by itself joins the batch before.
        (7, 3, [3, 4]),
        (4, 3, [4]),
        (33, 32, [33]),
        # There is none before it, or one by itself is what was asked for.
        (1, 3, [1]),
        (3, 1, [1, 1, 1]),
        (2, 5, [2]),
        (0, 3, []),
    ],
)
def test_no_batch_is_a_single_sample_unless_all_are(samples: int, size: int, sizes: list[int]) -> None:
    assert batch_sizes(samples, size) == sizes
    found = list(batches(torch.arange(samples), size, torch.Generator().manual_seed(0)))
    assert [batch.numel() for batch in found] == sizes
    assert sorted(index for batch in found for index in batch.tolist()) == list(range(samples))
