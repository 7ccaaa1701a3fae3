"""A fixed number of threads for a stretch of work: sums over threads depend on how many there are."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Run the block with ``count`` threads in torch and in NumPy's BLAS, then put the caller's numbers back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
