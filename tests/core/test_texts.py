"""Foreign texts: what is shown of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkd.core.texts import TEXT_LENGTH, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("OSError: no data, naïve 数据 – ✓", "OSError: no data, naïve 数据 – ✓"),
        ("", ""),
        ("one\ntwo\r\tthree", r"one\ntwo\r\tthree"),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("abc\u202efdp.exe\u2066", r"abc\u202efdp.exe\u2066"),
        ("a\u200bb\u2028c\u2029\ufeff", r"a\u200bb\u2028c\u2029\ufeff"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_does_not_print_by_itself_is_escaped(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_a_long_text_is_cut_and_says_by_how_much() -> None:
    assert shown("a" * TEXT_LENGTH) == "a" * TEXT_LENGTH
    assert shown("a" * 10_000_000) == "a" * TEXT_LENGTH + f" … ({10_000_000 - TEXT_LENGTH} more characters)"
    assert shown("abcdef", 2) == "ab … (4 more characters)"


@given(st.text())
def test_what_is_shown_is_one_printable_line_that_can_be_written(text: str) -> None:
    found = shown(text)
    assert found.isprintable()
    assert len(found.encode()) <= 10 * TEXT_LENGTH + 40
    assert shown(found, len(found)) == found
