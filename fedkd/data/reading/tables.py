"""Tables in text files: which columns and rows there are, and what is written in them."""

import contextlib
import csv
import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedkd.core.errors import DataError
from fedkd.core.wording import shown
from fedkd.data.reading.files import check_memory, no_column

if TYPE_CHECKING:
    import pandas as pd

MISSING = ("", "NA", "N/A", "n/a", "<NA>", "NaN", "nan", "null", "None", "?")
"""What in a table stands for a value that is not there."""

MISSING_LABELS = tuple(each for each in MISSING if each != "None")

JSON_LINES = (".jsonl", ".ndjson")
TABLES = (".csv", ".tsv", ".txt")


def columns_of(option: str, file: Path, delimiter: str | None) -> list[str]:
    """The names in a table's first line; those without a name are "".

    The whole table is looked through. Raises ``DataError`` for one that is empty, not UTF-8, or has a row that is
    longer or shorter than the first line.
    """
    check_memory(option, str(file), 3 * file.stat().st_size)
    with _reading(option, file), _long_fields(), file.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.reader(lines, delimiter=_delimiter(file, delimiter), strict=False)
        names = next(rows, [])
        if not names:
            raise DataError(f"data.dataset.{option}: {file} is empty; name a table with column names in its first line")
        count = 0
        for row in rows:
            if row and len(row) != len(names):
                raise DataError(
                    f"data.dataset.{option}: line {rows.line_num} of {file} has {len(row)} columns, and the first line "
                    f"{len(names)}; mend that line, or set data.dataset.delimiter"
                )
            count += bool(row)
    if count == 0:
        raise DataError(f"data.dataset.{option}: {file} has no rows below its column names; name a table with samples")
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise DataError(
            f"data.dataset.{option}: {file} has two columns {shown(twice[0])}; give every column a name of its own"
        )
    return names


def read_table(
    file: Path,
    delimiter: str | None,
    names: Sequence[str],
    *,
    wanted: Collection[str],
    labels: Collection[str] = (),
    texts: Collection[str] = (),
    words: Collection[str] = (),
) -> "pd.DataFrame":
    """The wanted columns of a table that ``columns_of`` has looked through, and whose columns it calls ``names``.

    ``labels``, ``texts`` and ``words`` are read as text, else what is written as numbers is numbers. Nothing is missing
    in ``texts``, and the label None is one.
    """
    import pandas as pd

    unique = [name or f"\0{position}" for position, name in enumerate(names)]
    missing: dict[str, list[str]] = {name: list(MISSING) for name in wanted if name not in texts}
    missing |= {name: list(MISSING_LABELS) for name in labels}
    found = pd.read_csv(
        file,
        sep=_delimiter(file, delimiter),
        header=0,
        names=unique,
        usecols=[name for name in unique if name in wanted],
        dtype=dict.fromkeys((*labels, *texts, *words), "str"),
        keep_default_na=False,
        na_values=missing,
        encoding="utf-8-sig",
        index_col=False,
        low_memory=False,
    )
    return found


def read_lines(option: str, file: Path, wanted: Mapping[str, str]) -> dict[str, list[Any]]:
    """Columns of a file with one JSON object a line, by the option that names them; ``wanted`` are these names.

    Raises ``DataError`` for a line that is no object, or lacks one of them.
    """
    check_memory(option, str(file), 3 * file.stat().st_size)
    found: dict[str, list[Any]] = {key: [] for key in wanted}
    with _reading(option, file), file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = _parsed(option, file, number, line)
            for key, name in wanted.items():
                if name not in row:
                    raise no_column(key, name, list(row), f"line {number} of {file}")
                found[key].append(row[name])
    if not next(iter(found.values())):
        raise DataError(f"data.dataset.{option}: {file} is empty; name a file with one JSON object a line")
    return found


def as_text(option: str, value: Any, where: str) -> str | None:
    """A label or a name as it is written in a table; None where it is missing."""
    if value is None or isinstance(value, str | bool | int):
        return None if value is None else str(value)
    if isinstance(value, float):
        return None if value != value else repr(value)
    raise DataError(
        f"data.dataset.{option}: must be a text or a whole number, got {shown(value)} in {where}; convert it"
    )


def written(values: "pd.Series[Any]") -> list[str | None]:
    """A column that was read as text; None where a value is missing."""
    return [value if isinstance(value, str) else None for value in values.tolist()]


def _parsed(option: str, file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"data.dataset.{option}: line {number} of {file} is not JSON ({error}); write one object a line"
        ) from error
    if not isinstance(row, dict):
        raise DataError(
            f"data.dataset.{option}: line {number} of {file} must be a JSON object, got {shown(row)}; write one object "
            "a line"
        )
    return row


def _delimiter(file: Path, delimiter: str | None) -> str:
    return delimiter or ("\t" if file.suffix.lower() == ".tsv" else ",")


@contextlib.contextmanager
def _reading(option: str, file: Path) -> Iterator[None]:
    """Turns what the reading of a text file raises into a ``DataError``."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(
            f"data.dataset.{option}: {file} is not UTF-8 ({error.reason} at byte {error.start}); save it with that "
            "encoding"
        ) from error
    except (OSError, csv.Error) as error:
        raise DataError(f"data.dataset.{option}: {file} cannot be read ({error}); mend it, or name another") from error


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    """Lets a field of a table be as long as it is."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)
