"""Texts in a table or in lines of JSON."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from fedkd.core.errors import DataError
from fedkd.core.wording import shown
from fedkd.data.reading.files import file_at, no_column, place, places
from fedkd.data.reading.labels import (
    TestShare,
    Values,
    check_columns,
    class_numbers,
    clients_of,
    divide,
    labels_of,
    one_after_the_other,
    sample_set,
)
from fedkd.data.reading.tables import JSON_LINES, TABLES, as_text, columns_of, read_lines, read_table, written
from fedkd.data.reading.texts import Length, MostTokens, TextEncoder, Texts, Unit
from fedkd.data.source import DataSource, SampleSet


@dataclass(frozen=True)
class Text(DataSource):
    """Texts in a column of a .csv or .tsv file, or of a file with one JSON object a line (.jsonl, .ndjson).

    ``text``, ``label`` and ``client`` are columns. The first ``length`` words (``tokens``: word or char) count, of
    which those most frequent in the public texts are told apart, ``vocabulary`` tokens in all. ``test`` is a file of
    test samples; without it, ``test_share`` of each class is for testing.
    """

    path: str
    text: str
    label: str
    client: str | None = None
    test: str | None = None
    test_share: TestShare = 0.2
    tokens: Unit = "word"
    vocabulary: MostTokens = 8192
    length: Length = 128

    def __post_init__(self) -> None:
        check_columns("texts", self.text, self.label, self.client)

    def load(self, root: Path) -> SampleSet:
        train = self._read("path", self.path, self.client)
        test = None if self.test is None else self._read("test", self.test, None)
        where = f"{self.label} in {train.file}"
        names, *numbers = class_numbers("label", train.labels, None if test is None else test.labels, where)
        if test is None:
            rows = divide(numbers[0], self.test_share)
            parts = [Texts(Texts(train.texts)[each]) for each in rows]
        else:
            rows = one_after_the_other(len(train.texts), len(test.texts))
            parts = [Texts(train.texts), Texts(test.texts)]
        return sample_set(
            (parts[0], parts[1]),
            rows,
            torch.cat(numbers),
            names,
            clients=train.clients,
            encoder=TextEncoder(self.tokens, self.vocabulary, self.length),
        )

    def available(self, root: Path) -> bool:
        return place("path", self.path).is_file()

    def files(self) -> Iterable[Path]:
        return places(path=self.path, test=self.test)

    def _read(self, option: str, path: str, client: str | None) -> "_Part":
        file = file_at(option, path, (*TABLES, *JSON_LINES), "save it as such")
        wanted = {"text": self.text, "label": self.label} | ({} if client is None else {"client": client})
        columns = (_of_lines if file.suffix.lower() in JSON_LINES else _of_table)(option, file, wanted)
        labels = labels_of("label", columns["label"], _places(file, self.label))
        clients = None if client is None else clients_of("client", columns["client"], _places(file, client))
        return _Part(file, [value or "" for value in columns["text"]], labels, clients)


@dataclass(frozen=True)
class _Part:
    """What is in a file."""

    file: Path
    texts: list[str]
    labels: Values
    clients: Values | None


def _of_lines(option: str, file: Path, wanted: Mapping[str, str]) -> dict[str, list[str | None]]:
    """The wanted columns by the option that names them, as text."""
    lines = read_lines(option, file, wanted)
    for row, value in enumerate(lines["text"]):
        if not isinstance(value, str | None):
            raise DataError(
                f"data.dataset.text: must be a text, got {shown(value)} in {_places(file, wanted['text'])(row)}; name "
                "another column"
            )
    return {
        key: [as_text(key, value, where(row)) for row, value in enumerate(lines[key])]
        for key, name in wanted.items()
        for where in [_places(file, name)]
    }


def _of_table(option: str, file: Path, wanted: Mapping[str, str]) -> dict[str, list[str | None]]:
    """The wanted columns by the option that names them, as text."""
    names = columns_of(option, file, None)
    for key, name in wanted.items():
        if name not in names:
            raise no_column(key, name, [each for each in names if each], str(file))
    kept = set(wanted.values())
    table = read_table(file, None, names, wanted=kept, labels=kept - {wanted["text"]}, texts=[wanted["text"]])
    return {key: written(table[name]) for key, name in wanted.items()}


def _places(file: Path, column: str) -> Callable[[int], str]:
    return lambda row: f"row {row + 1} of {file}, column {column}"
