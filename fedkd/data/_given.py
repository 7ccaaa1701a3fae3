"""Reading a partition from a file: which samples each client has, or how many of each class."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fedkd.config.given import PARTITION
from fedkd.core.documents import parse_json
from fedkd.core.errors import ConfigError
from fedkd.core.wording import cut, nearest, shown

_KEYS = ("clients", "public", "class_counts", "order")
_LISTED = "listed"
_LARGEST = 2**31
_SHAPE = 'write {"clients": [[positions], ...]} or {"class_counts": [[counts], ...]}'

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class GivenPartition:
    """What a file says: the ``clients``' positions in the train split, and the ``public`` ones where it has them.

    Or the ``class_counts`` [clients, classes] alone. Where they are ``listed``, everybody's samples are in the order of
    the file, as if each had them in one of its own.
    """

    clients: tuple[Numbers, ...] = ()
    public: Numbers | None = None
    class_counts: Numbers | None = None
    listed: bool = False

    @property
    def count(self) -> int:
        """How many clients there are."""
        return len(self.clients) if self.class_counts is None else len(self.class_counts)


def read_partition(content: bytes, name: str, class_names: Sequence[str], samples: int) -> GivenPartition:
    """The partition in a file: JSON, or CSV where its ``name`` ends so, of a train split of so many ``samples``.

    Raises ``ConfigError`` with the first fault: what is no such file, rows of another length, numbers that are not
    whole, not in range, or there twice.
    """
    where = f"{PARTITION}: {cut(name)}"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError([f"{where} is not a text in UTF-8 ({error.reason}); {_SHAPE}"]) from error
    if name.lower().endswith(".csv"):
        return GivenPartition(class_counts=_counts_of(_table(text, where), where, class_names, samples))
    document = _document(text, where)
    if "class_counts" in document:
        rows = _rows(document["class_counts"], f"{where}, class_counts")
        return GivenPartition(class_counts=_counts_of(rows, where, class_names, samples))
    clients = tuple(
        _positions(row, f"{where}, client {client} (counted from 0)", samples)
        for client, row in enumerate(_rows(document["clients"], f"{where}, clients"))
    )
    public = None if "public" not in document else _positions(document["public"], f"{where}, public", samples)
    _check_distinct(clients, public, where)
    return GivenPartition(clients, public, listed="order" in document)


def partition_text(clients: Sequence[Sequence[int]], public: Sequence[int] | None, *, listed: bool = False) -> str:
    """A partition as ``read_partition`` reads it, a line for each client."""
    rows = ",\n".join(f"  {json.dumps(row)}" for row in clients)
    last = "" if public is None else f',\n "public": {json.dumps(public)}'
    last += f',\n "order": {json.dumps(_LISTED)}' if listed else ""
    return f'{{"clients": [\n{rows}\n ]{last}}}\n'


def _document(text: str, where: str) -> dict[str, Any]:
    try:
        document = parse_json(text)
    except ValueError as error:
        raise ConfigError([f"{where} is not valid JSON ({error}); {_SHAPE}, or name it .csv"]) from error
    if not isinstance(document, dict):
        raise ConfigError([f"{where} must hold keys and values at the top, got a {type(document).__name__}; {_SHAPE}"])
    for key in document:
        if key not in _KEYS:
            close = nearest(key, _KEYS)
            hint = f"the keys are {', '.join(_KEYS)}" if close is None else f"did you mean {close!r}?"
            raise ConfigError([f"{where} has an unknown key, {shown(key)}; {hint}"])
    if len({"clients", "class_counts"} & document.keys()) != 1 or {"class_counts", "public"} <= document.keys():
        raise ConfigError(
            [f"{where} must have clients, with or without public, or class_counts, got {', '.join(document)}; {_SHAPE}"]
        )
    if document.get("order", _LISTED) != _LISTED or {"class_counts", "order"} <= document.keys():
        raise ConfigError(
            [
                f'{where}: order must be "{_LISTED}", beside clients, got {shown(document["order"])}; leave it out for '
                "the order that the seed gives"
            ]
        )
    return document


def _rows(found: Any, where: str) -> list[list[Any]]:
    if not isinstance(found, list) or not found:
        raise ConfigError([f"{where} must be a list with one list for each client, got {shown(found)}; {_SHAPE}"])
    for client, row in enumerate(found):
        if not isinstance(row, list):
            raise ConfigError([f"{where}: client {client} (counted from 0) must be a list, got {shown(row)}; {_SHAPE}"])
    return found


def _positions(row: Any, where: str, samples: int) -> Numbers:
    if not isinstance(row, list):
        raise ConfigError([f"{where} must be a list of positions in the train split, got {shown(row)}; write one"])
    for position in row:
        if type(position) is not int or not 0 <= position < samples:
            raise ConfigError(
                [
                    f"{where}: a position is a whole number from 0 to {samples - 1}, for the train split has {samples} "
                    f"samples, got {shown(position)}; correct it, or name the data set that the file was made for"
                ]
            )
    return np.array(row, dtype=np.int64)


def _check_distinct(clients: Sequence[Numbers], public: Numbers | None, where: str) -> None:
    parts = [*clients, *([] if public is None else [public])]
    owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    everything = np.concatenate(parts)
    order = np.argsort(everything, kind="stable")
    again = np.flatnonzero(np.diff(everything[order]) == 0)
    if not len(again):
        return
    first, second = order[again[0]], order[again[0] + 1]
    names = [f"client {client}" for client in range(len(clients))] + ["public"]
    who = " and ".join(dict.fromkeys([names[owners[first]], names[owners[second]]]))
    raise ConfigError(
        [
            f"{where}: a sample has one role, got position {everything[first]} twice, in {who} (counted from 0); leave "
            "one out"
        ]
    )


def _counts_of(rows: Sequence[Sequence[Any]], where: str, class_names: Sequence[str], samples: int) -> Numbers:
    columns = list(range(len(class_names)))
    names = [str(cell).strip() for cell in rows[0]]
    if sorted(names) == sorted(class_names):
        columns, rows = [names.index(name) for name in class_names], rows[1:]
    if not rows:
        raise ConfigError([f"{where} has a header and no client; write a row of counts for each"])
    return np.array([_counts_row(row, where, client, columns, samples) for client, row in enumerate(rows)])


def _counts_row(row: Sequence[Any], where: str, client: int, columns: Sequence[int], samples: int) -> list[int]:
    if len(row) != len(columns):
        raise ConfigError(
            [
                f"{where}, client {client} (counted from 0) must have a count for each of the {len(columns)} classes, "
                f"got {len(row)}; write {len(columns)} columns, 0 where there are no samples"
            ]
        )
    return [_count(row[column], where, client, samples) for column in columns]


def _count(cell: Any, where: str, client: int, samples: int) -> int:
    text = cell.strip() if isinstance(cell, str) else None
    if text is not None and text.isascii() and text.isdigit() and len(text) <= len(str(_LARGEST)):
        cell = int(text)
    if type(cell) is int and 0 <= cell <= samples:
        return cell
    raise ConfigError(
        [
            f"{where}, client {client} (counted from 0): a count is a whole number from 0 to {samples}, the samples of "
            f"the train split, got {shown(cell)}; correct it (a header has the names of the classes)"
        ]
    )


def _table(text: str, where: str) -> list[list[str]]:
    rows = list(_lines(text, where))
    if not rows:
        raise ConfigError([f"{where} is empty; write a row of class counts for each client"])
    return rows


def _lines(text: str, where: str) -> Iterator[list[str]]:
    try:
        yield from (row for row in csv.reader(text.splitlines(), strict=True) if any(cell.strip() for cell in row))
    except csv.Error as error:
        raise ConfigError([f"{where} is not valid CSV ({error}); write a row of counts for each client"]) from error
