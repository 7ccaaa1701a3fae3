"""Opening torchvision's data sets: files first, then a download, then an error that says what to do."""

import contextlib
import importlib
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedkd.core.errors import DataError

_SILENCE_LIMIT = 30.0


def open_splits(
    name: str,
    dataset: str,
    root: Path,
    files: Sequence[str],
    *,
    train: Mapping[str, Any],
    test: Mapping[str, Any],
    hint: str = "",
) -> tuple[Any, Any]:
    """The train and the test split of ``torchvision.datasets.<dataset>``, downloaded into ``root`` when absent.

    ``files`` (relative to ``root``) are what makes a download unnecessary; ``train`` and ``test`` are the arguments
    that select the split; ``hint`` is one more way to get the data. Raises ``DataError``.
    """
    present = have(root, files)
    try:
        cls = getattr(importlib.import_module("torchvision.datasets"), dataset)
        with _bounded_wait(), contextlib.redirect_stdout(sys.stderr):
            return cls(str(root), download=not present, **train), cls(str(root), download=not present, **test)
    except Exception as error:  # torchvision lets through whatever urllib, tarfile, pickle and the like raise
        reason = " ".join(str(error).split()) or type(error).__name__
        if present:
            raise DataError(
                f"data.dataset: {name} in data.root = {root} cannot be read ({reason}); "
                f"delete {', '.join(files)} there to download it again"
            ) from error
        raise DataError(
            f"data.dataset: {name} is not in data.root = {root} and cannot be downloaded ({reason}); "
            f"{hint}put {', '.join(files)} there, point data.root at a folder that has them, "
            "or use data.dataset=digits, which needs no files"
        ) from error


def have(root: Path, files: Sequence[str]) -> bool:
    """Whether all ``files`` are under ``root``."""
    return all((root / file).is_file() for file in files)


def mnist_files(dataset: str, prefixes: tuple[str, str] = ("train", "t10k")) -> tuple[str, ...]:
    """Where torchvision keeps a data set of MNIST's format."""
    return tuple(
        f"{dataset}/raw/{prefix}-{part}-ubyte" for prefix in prefixes for part in ("images-idx3", "labels-idx1")
    )


@contextlib.contextmanager
def _bounded_wait() -> Iterator[None]:
    """Let a server that stops answering raise after 30 s; torchvision itself would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE_LIMIT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
