"""What benchmarks share: medians of sides that take turns, and the peak of a reading."""

import statistics
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def medians(
    sides: Mapping[str, Callable[[], object]],
    repeats: int,
    warm_up: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """The median seconds of each side, over rounds in which each is run once.

    The first rounds are not counted: ``warm_up`` of them, and no more than those that are.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats + min(warm_up, repeats)):
        for name, side in sides.items():
            begun = clock()
            side()
            times[name].append(clock() - begun)
    return {name: statistics.median(each[-repeats:]) for name, each in times.items()}


class Peak:
    """The largest of a reading, taken every so many seconds inside the block."""

    def __init__(self, read: Callable[[], float], seconds: float) -> None:
        self.value = 0.0
        self._read, self._seconds = read, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self.value = max(self.value, self._read())


def family_bytes(process: int) -> float:
    """Proportional set size of a process and of all its descendants: a page that n processes share counts 1/n in each.

    Linux only.
    """
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
                parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
    family = {process}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return float(sum(map(_pss, family)))


def _pss(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
