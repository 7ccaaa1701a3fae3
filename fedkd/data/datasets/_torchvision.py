"""Opening torchvision's data sets: files first, then a download, then an error that says what to do."""

import contextlib
import importlib
import inspect
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedkd.core.errors import DataError
from fedkd.data.reading.files import no_column

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


def open_any(
    dataset: str,
    root: Path,
    splits: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any],
    *,
    download: bool = True,
) -> list[Any]:
    """The splits of any of torchvision's data sets, downloaded into ``root`` (if allowed) when they are not there.

    Each of ``splits`` holds the arguments that select one; ``options`` are given to all. Raises ``DataError``.
    """
    cls = class_of(dataset)
    known = parameters_of(cls)
    arguments = {**({"root": str(root)} if "root" in known else {}), **options}
    attempts: list[dict[str, bool]] = [{}]
    if "download" in known:
        attempts = [{"download": False}, {"download": True}] if download else [{"download": False}]
    reasons: list[Exception] = []
    for attempt in attempts:
        try:
            with _bounded_wait(), contextlib.redirect_stdout(sys.stderr):
                return [cls(**arguments, **split, **attempt) for split in splits]
        except Exception as error:  # torchvision lets through whatever urllib, tarfile, pickle and the like raise
            reasons.append(error)
    reason = " ".join(str(reasons[-1]).split()) or type(reasons[-1]).__name__
    raise DataError(
        f"data.dataset: {dataset} is not in data.root = {root} and cannot be downloaded, or not be opened with these "
        f"options ({reason}); point data.root at a folder that has it, or see data.dataset.options and the splits' "
        f"names in torchvision's documentation of {dataset}"
    ) from reasons[-1]


def class_of(dataset: str) -> Any:
    """The class of that name in ``torchvision.datasets``; raises ``DataError`` when there is none."""
    module = importlib.import_module("torchvision.datasets")
    if dataset not in module.__all__ or dataset == "VisionDataset":
        raise no_column("dataset", dataset, sorted(module.__all__), "torchvision.datasets")
    return getattr(module, dataset)


def parameters_of(cls: Any) -> set[str]:
    """The names of the arguments that a class is made with, those that it hands on to its base too."""
    found: set[str] = set()
    for each in cls.__mro__:
        parameters = inspect.signature(each.__init__).parameters.values()
        found |= {parameter.name for parameter in parameters}
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found
