"""Memory that a long-lived worker no longer needs goes back to the system."""

import platform
from pathlib import Path

import pytest
import torch

from fedkd.core.compute import release_memory

MEGABYTE = 2**20


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory and can be told not to")
def test_freed_memory_between_blocks_in_use_is_released() -> None:
    blocks = [torch.ones(20_000) for _ in range(2_000)]
    kept = blocks[::100]
    del blocks
    before = resident()
    release_memory()
    assert before - resident() > 100 * MEGABYTE
    assert len(kept) == 20
