"""Words of eight languages, as Debian's spelling dictionaries list them."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field

from fedkd.core.errors import DataError
from fedkd.data.reading.labels import divide
from fedkd.data.reading.texts import TextEncoder, Texts
from fedkd.data.source import DataSource, SampleSet

_LISTS = {
    "Dutch": ("dutch", "wdutch", "utf-8"),
    "English": ("american-english", "wamerican", "utf-8"),
    "French": ("french", "wfrench", "utf-8"),
    "German": ("ngerman", "wngerman", "utf-8"),
    "Italian": ("italian", "witalian", "utf-8"),
    "Portuguese": ("portuguese", "wportuguese", "utf-8"),
    "Spanish": ("spanish", "wspanish", "utf-8"),
    "Swedish": ("swedish", "wswedish", "iso-8859-1"),
}
"""File, Debian's package and encoding of each language's list."""

_LENGTHS = range(3, 21)
TEST_SHARE = 0.2


@dataclass(frozen=True)
class WordLists(DataSource):
    """Words of eight languages, letter by letter, from Debian's word lists: which language is it?

    ``words`` of each, of 3 to 20 letters and in one list alone, in lower case, evenly spread over the alphabet; every
    fifth one is a test sample. ``folder`` is where the packages put the lists.
    """

    installed_by = f"apt-get install {' '.join(package for _, package, _ in _LISTS.values())}"
    folder: str = "/usr/share/dict"
    words: Annotated[int, Field(ge=10, le=50_000)] = 2000

    def load(self, root: Path) -> SampleSet:
        found = {language: self._read(*place) for language, place in _LISTS.items()}
        lists = Counter(word for words in found.values() for word in words)
        texts, labels = [], []
        for label, words in enumerate(found.values()):
            own = sorted(word for word in words if lists[word] == 1)
            spread = torch.linspace(0, len(own) - 1, min(self.words, len(own))).long().tolist()
            texts += [own[position] for position in spread]
            labels += [label] * len(spread)
        numbers, all_texts = torch.tensor(labels), Texts(texts)
        train, test = divide(numbers, TEST_SHARE)
        return SampleSet(
            Texts(all_texts[train]),
            numbers[train],
            Texts(all_texts[test]),
            numbers[test],
            tuple(found),
            encoder=TextEncoder("char", vocabulary=256, length=_LENGTHS.stop - 1),
        )

    def available(self, root: Path) -> bool:
        return all(Path(self.folder, name).is_file() for name, _, _ in _LISTS.values())

    def _read(self, name: str, package: str, encoding: str) -> set[str]:
        path = Path(self.folder, name)
        try:
            words = path.read_text(encoding=encoding).split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"data.dataset: word_lists needs {path}, which cannot be read ({error}); run "
                f"`{self.installed_by}` (Debian, Ubuntu), or set data.dataset.folder to where {package} keeps it"
            ) from error
        return {word for word in (each.strip().lower() for each in words) if word.isalpha() and len(word) in _LENGTHS}
