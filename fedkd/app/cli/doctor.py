"""What this machine has, and what will be slow on it."""

import importlib.util
import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from rich.console import Console as RichConsole
from rich.table import Table

from fedkd import __version__
from fedkd.app.cli.listing import catalogue

GIB = 2**30
MEMORY_PER_WORKER = 1.0
"""GiB that one Ray worker needs with PyTorch imported and a small data set loaded."""
ENOUGH_SHARED_MEMORY = 1.0
"""GiB of /dev/shm below which Ray's object store moves to the disk."""

_PACKAGES = ("torch", "torchvision", "numpy", "flwr", "ray", "scikit-learn", "pydantic")


def print_diagnosis(console: RichConsole | None = None) -> None:
    """Print facts first, then advice."""
    screen = console or RichConsole(highlight=False)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in facts():
        table.add_row(name, text)
    screen.print(table)
    screen.print()
    lines = list(advice()) or ["Nothing here will be unusually slow."]
    for line in lines:
        screen.print(line, markup=False)


def facts() -> Iterator[tuple[str, str]]:
    """What there is, as (name, text)."""
    yield "fedkd", f"{__version__} in {Path(__file__).resolve().parents[2]}"
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    for package in _PACKAGES:
        yield package, _version(package)
    yield "cores", str(cores())
    memory = memory_gib()
    yield "memory", "unknown" if memory is None else f"{memory:.1f} GiB available"
    yield "GPU", _gpu()
    found = [entry.name for entry in catalogue("datasets") if entry.note.startswith("found")]
    yield "data found", ", ".join(found) or "none"


def advice() -> Iterator[str]:
    """What will be slow or will not work here, and what to do about it."""
    ray = importlib.util.find_spec("ray") is not None
    count, memory = cores(), memory_gib()
    if not ray:
        yield "Ray is missing: clients run one after another with engine.kind=inline; pip install 'ray==2.55.*'."
    if ray and count < 2:
        yield "With one core, Ray gains nothing and costs about ten seconds of start-up; engine.kind=inline is quicker."
    if ray and memory is not None and memory < MEMORY_PER_WORKER * (count + 1):
        workers = max(1, int(memory / MEMORY_PER_WORKER) - 1)
        yield f"{memory:.1f} GiB is little for {count} Ray workers; set engine.workers={workers}."
    if ray and (shared := _shared_memory_gib()) is not None and shared < ENOUGH_SHARED_MEMORY:
        yield f"/dev/shm has only {shared:.1f} GiB, so Ray goes through the disk; in Docker, pass --shm-size=2g."
    if torch.cuda.is_available():
        yield "A GPU is here and not used unless asked for: engine.device=cuda."
    else:
        yield (
            "Without a GPU, digits take seconds a round and Fashion-MNIST with the small CNN tens of seconds; "
            "the larger models (see fedkd list models) take minutes a round."
        )


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def memory_gib() -> float | None:
    """Memory available to new programs in GiB, within the container's limit; None where the system does not say."""
    available = _meminfo("MemAvailable")
    limit, used = _number("/sys/fs/cgroup/memory.max"), _number("/sys/fs/cgroup/memory.current")
    if available is not None and limit is not None and used is not None:
        available = min(available, limit - used)
    return None if available is None else available / GIB


def _meminfo(key: str) -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    values = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return values[key] * 1024 if key in values else None


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _shared_memory_gib() -> float | None:
    try:
        stats = os.statvfs("/dev/shm")
    except OSError:
        return None
    return stats.f_bavail * stats.f_frsize / GIB


def _gpu() -> str:
    if not torch.cuda.is_available():
        return "none that torch can see"
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ", ".join(names)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
