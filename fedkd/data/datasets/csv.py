"""A table with one sample a row."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field

from fedkd.core.errors import DataError
from fedkd.core.wording import shown
from fedkd.data.reading.columns import TableEncoder, TableRows
from fedkd.data.reading.files import file_at, no_column, place, places
from fedkd.data.reading.labels import (
    TestShare,
    Values,
    class_numbers,
    clients_of,
    divide,
    labels_of,
    one_after_the_other,
    sample_set,
)
from fedkd.data.reading.tables import TABLES, columns_of, read_table, written
from fedkd.data.source import DataSource, SampleSet

if TYPE_CHECKING:
    import pandas as pd

Names = Annotated[list[str], Field(min_length=1)]

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Csv(DataSource):
    """Rows of a table, whose columns are made into numbers by what the public rows are like.

    ``label`` is the column with the classes; of several, the first is the main task. ``client`` says whose each row is,
    ``drop`` leaves columns out, ``categorical`` takes numbers in them for names. ``test`` is a table of test rows;
    without it, ``test_share`` of each class is for testing. ``delimiter`` is a comma, or a tab in .tsv files.
    """

    path: str
    label: str | Names
    client: str | None = None
    test: str | None = None
    test_share: TestShare = 0.2
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None

    def __post_init__(self) -> None:
        for option, names in (("client", self._clients), ("drop", self.drop), ("categorical", self.categorical)):
            for name in names:
                if name in self._labels:
                    raise ValueError(f"{option}: must not be the column of labels, got {name!r}; name another column")
        if len(set(self._labels)) < len(self._labels):
            raise ValueError(f"label: must name every column once, got {self.label}; leave one out")

    def load(self, root: Path) -> SampleSet:
        train = _Table(self, "path", self.path)
        test = None if self.test is None else _Table(self, "test", self.test, train)
        numbers = {}
        for name in self._labels:
            names, *split = class_numbers(
                "label", train.labels(name), None if test is None else test.labels(name), f"{name} in {train.file}"
            )
            numbers[name] = (names, torch.cat(split))
        (names, labels), *_ = numbers.values()
        if test is None:
            rows = divide(labels, self.test_share)
            parts = [TableRows(train.frame)[each] for each in rows]
        else:
            rows = one_after_the_other(len(train.frame), len(test.frame))
            parts = [train.frame, test.frame]
        return sample_set(
            (TableRows(parts[0]), TableRows(parts[1])),
            rows,
            labels,
            names,
            clients=train.clients(),
            others={name: found for name, found in numbers.items() if name != self._labels[0]},
            encoder=TableEncoder(train.numbers, train.words),
        )

    def available(self, root: Path) -> bool:
        return place("path", self.path).is_file()

    def files(self) -> Iterable[Path]:
        return places(path=self.path, test=self.test)

    @property
    def _labels(self) -> tuple[str, ...]:
        return (self.label,) if isinstance(self.label, str) else tuple(self.label)

    @property
    def _clients(self) -> tuple[str, ...]:
        return () if self.client is None else (self.client,)


class _Table:
    """The train table, or the test table that must be ``like`` it; ``frame`` has the columns to learn from."""

    def __init__(self, source: Csv, option: str, path: str, like: "_Table | None" = None) -> None:
        self.file = file_at(option, path, TABLES, "save it as such, or name another data source (fedkd list datasets)")
        self._source = source
        names = columns_of(option, self.file, source.delimiter)
        clients = source._clients if like is None else ()
        named = [("label", source._labels), ("client", clients)]
        named += [("drop", source.drop), ("categorical", source.categorical)] if like is None else []
        for key, columns in named:
            for column in columns:
                if column not in names:
                    raise no_column(key, column, [name for name in names if name], str(self.file))
        left = {*source._labels, *source._clients, *source.drop, ""}
        features = [name for name in names if name not in left] if like is None else [*like.numbers, *like.words]
        for name in features:
            if name not in names:
                raise no_column("test", name, [name for name in names if name], str(self.file))
        if not features:
            raise DataError(
                f"data.dataset.{option}: {self.file} has no column beside label, client and what is dropped; drop less"
            )
        table = read_table(
            self.file,
            source.delimiter,
            names,
            wanted={*features, *source._labels, *clients},
            labels={*source._labels, *clients},
            words=source.categorical if like is None else like.words,
        )
        self._texts = {name: table.pop(name) for name in (*source._labels, *clients)}
        self.numbers: tuple[str, ...]
        self.words: tuple[str, ...]
        if like is None:
            self.numbers = tuple(name for name in features if table[name].dtype.kind in "iuf")
            self.words = tuple(name for name in features if name not in self.numbers)
        else:
            self.numbers, self.words = like.numbers, like.words
        self.frame = self._as_declared(table[features], option)

    def labels(self, name: str) -> Values:
        return labels_of("label", written(self._texts[name]), self._place(name))

    def clients(self) -> Values | None:
        if self._source.client is None:
            return None
        return clients_of("client", written(self._texts[self._source.client]), self._place(self._source.client))

    def _place(self, column: str) -> Callable[[int], str]:
        return lambda row: f"row {row + 1} of {self.file}, column {column}"

    def _as_declared(self, table: "pd.DataFrame", option: str) -> "pd.DataFrame":
        """Numbers as float64 and everything else as text."""
        import pandas as pd

        columns: dict[str, Any] = {}
        for name in self.numbers:
            column = pd.to_numeric(table[name], errors="coerce").astype("float64")
            wrong = (column.isna() & table[name].notna()) | (column.abs() > _LARGEST)
            if wrong.any():
                row = int(wrong.to_numpy().argmax())
                raise DataError(
                    f"data.dataset.{option}: must be finite numbers, got {shown(table[name].tolist()[row])} in row "
                    f"{row + 1} of {self.file}, column {name}; replace it, or leave the cell empty"
                )
            columns[name] = column
        for name in self.words:
            columns[name] = pd.Series([_word(value) for value in table[name].tolist()], dtype="object")
        return pd.DataFrame(columns)


def _word(value: object) -> str:
    """A cell as text, the same whether or not its column was read as one of truth values; "" where it is missing."""
    text = "" if value is None or value != value else str(value)
    return text.capitalize() if text.lower() in {"true", "false"} else text
