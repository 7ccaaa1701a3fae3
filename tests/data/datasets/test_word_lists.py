"""Words and their languages."""

from pathlib import Path

import pytest

from fedkd.core.errors import DataError
from fedkd.data.datasets.word_lists import _LISTS, WordLists


def write_lists(folder: Path) -> None:
    """Twelve words of each language, and some that nothing is to be made of."""
    for number, (name, _, encoding) in enumerate(_LISTS.values()):
        own = [f"{letter}{'åbcdefgh'[number]}x" for letter in "abcdefghijkl"]
        (folder / name).write_text("\n".join([*own, "everywhere", "it", "don't", "Abc1", *own[:2]]), encoding=encoding)


def test_words_of_one_language_alone_are_taken(tmp_path: Path) -> None:
    write_lists(tmp_path)
    source = WordLists(str(tmp_path), words=10)
    assert source.available(tmp_path)
    found = source.load(tmp_path)
    words = [*found.train_inputs[:], *found.test_inputs[:]]
    assert len(words) == len(set(words)) == 80
    assert not {"everywhere", "it", "don't", "abc1"} & set(words)
    assert "aåx" in words, "in the encoding of its list"
    assert found.test_inputs[:][:2] == ["eåx", "låx"], "every fifth one of a language"
    assert found.encoder is not None
    encoding = found.encoder.fit(["aåx"])
    assert encoding(["xa", "zz"])[:, :3].tolist() == [[3, 2, 0], [1, 1, 0]]


def test_a_list_that_is_missing_is_named_with_its_package(tmp_path: Path) -> None:
    write_lists(tmp_path)
    (tmp_path / "swedish").unlink()
    assert not WordLists(str(tmp_path)).available(tmp_path)
    with pytest.raises(DataError, match=r"swedish, which cannot be read .*apt-get install wdutch .*wswedish"):
        WordLists(str(tmp_path)).load(tmp_path)
