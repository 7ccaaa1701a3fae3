"""One command for all benchmarks."""

import importlib
from collections.abc import Sequence

from benchmarks.ratios import BENCHMARKS

MODULES = (
    "memory",
    "driver_memory",
    "scaling",
    "projection",
    "secure_sum",
    "peer",
    "sweep",
    "compare",
    "quickstart",
    "gpu",
)
"""Benchmarks with options of their own, each a module of that name with a ``main``."""


def main(argv: Sequence[str]) -> int:
    """Run the benchmark that the first argument names with the rest of the arguments."""
    if argv and argv[0] in MODULES:
        return int(importlib.import_module(f"benchmarks.{argv[0]}").main(argv[1:]))
    if argv and argv[0] in BENCHMARKS:
        return int(importlib.import_module("benchmarks.ratios").main(argv))
    print(f"usage: benchmark.py {'|'.join([*sorted(BENCHMARKS), *MODULES])} [--help]")
    return 2
