"""YAML as configurations are written in: what a scalar means, what is refused and where, and that dumps read back."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkd.config.strict_yaml import (
    DEEPEST,
    LONGEST_TEXT,
    YamlError,
    dump_yaml,
    is_key,
    parse_document,
    parse_yaml,
    read_document,
)

SCALARS: dict[str, Any] = {
    # YAML 1.2's core schema, section 10.3.2.
    "": None,
    "~": None,
    "Null": None,
    "true": True,
    "FALSE": False,
    "7": 7,
    "+7": 7,
    "-0": 0,
    "0o17": 15,
    "0x1F": 31,
    "1e-3": 0.001,
    "1E3": 1000.0,
    ".5": 0.5,
    "5.": 5.0,
    ".inf": math.inf,
    "-.INF": -math.inf,
    # What YAML 1.1 takes for something else.
    "yes": "yes",
    "No": "No",
    "on": "on",
    "1_000": "1_000",
    "1:30": "1:30",
    "0b11": "0b11",
    "2020-01-01": "2020-01-01",
    "=": "=",
    "0o8": "0o8",
    "-0x1F": "-0x1F",
    "'5'": "5",
    '"true"': "true",
    '""': "",
}


@pytest.mark.parametrize("text", SCALARS)
def test_a_scalar_means_what_the_core_schema_says(text: str) -> None:
    found = parse_yaml(f"key: {text}")["key"]
    assert (type(found), found) == (type(SCALARS[text]), SCALARS[text])
    assert math.isnan(parse_yaml(".NaN"))


ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{level}: &a{level} [*a{level - 1}]\n" for level in range(1, 100))

REFUSED: dict[str, tuple[str, tuple[str, ...]]] = {
    "a key that is given twice": (
        "clients:\n  count: 20\nrounds: 3\nclients:\n  epochs: 8",
        ("line 4: clients is given a second time, first in line 1",),
    ),
    "such keys at every level": (
        "a: 1\nb:\n  c: 1\n  c: 2\na: 2",
        ("line 4: b.c is given a second time, first in line 3", "line 5: a is given a second time, first in line 1"),
    ),
    "an octal number of YAML 1.1": ("seed: 1\nrounds: 010", ("line 2: 010 begins with a zero", "write 10")),
    "a number of no end": (f"a: {'9' * 5000}", ("line 1: 999", "larger than a whole number of 64 bits")),
    "a number of 65 bits": ("a: -0\nb: -9223372036854775808", ("line 2: -9223372036854775808 is larger",)),
    "a number beyond a double": ("a: 1e400", ("line 1: 1e400 is larger",)),
    "aliases that multiply": (ALIASES, ("line 5: more than 20,000 values",)),
    "aliases that deepen": (CHAIN, (f"more than {DEEPEST} levels",)),
    "an alias within itself": ("a: &x [1, *x]", ("line 1: *x repeats nothing",)),
    "an alias of nothing": ("\na: *x", ("line 2: *x repeats nothing",)),
    "depth": ("[" * 5000, (f"more than {DEEPEST} levels",)),
    "length": ("#" * (LONGEST_TEXT + 1), ("100,001 characters",)),
    "a tag": ("a: 1\nb: !!python/object:os.system x", ("line 2: tags such as", "python/object")),
    "a tag of a number": ("a: !!int '5'", ("line 1: tags",)),
    "a merge": ("a: &x {b: 1}\nc:\n  <<: *x", ("line 3: << merges keys in YAML 1.1 only",)),
    "a key that is a number": ("1: 2", ("line 1: a key must be a name, got 1",)),
    "a key that is a list": ("? [a]\n: 2", ("line 1: a key must be a name, got ['a']",)),
    "a key that a terminal would obey": ('"\\e[31m": 2', ("a key must be a name", r"\x1b[31m")),
    "a second document": ("a: 1\n---\nb: 2", ("line 2: a second document",)),
    "another YAML": ("%YAML 1.1\n---\na: yes", ("read as version 1.2",)),
    "NUL": ("a: 1\nb: \0", ("line 2: the character #x0000",)),
    "an escape of no character": ('a: "\\UFFFFFFFF"', ("line 1",)),
    "half a character": ('a: "\\ud800"', ("line 1: half of a surrogate pair",)),
    "an open bracket": ("a: 1\nb: [", ("line 2",)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_told_with_its_line(case: str) -> None:
    text, words = REFUSED[case]
    with pytest.raises(YamlError) as refusal:
        parse_yaml(text)
    for word in words:
        assert word in str(refusal.value)
    assert str(refusal.value).isprintable()


def test_an_alias_is_a_copy() -> None:
    found = parse_yaml("a: &x {b: [1]}\nc: *x")
    assert found == {"a": {"b": [1]}, "c": {"b": [1]}}
    found["a"]["b"].append(2)
    assert found["c"] == {"b": [1]}


def test_every_key_has_its_line() -> None:
    document = parse_document("# first\nseed: 1\nclients:\n  models:\n  - cnn\n  - {name: mlp,\n     hidden: [8]}\n")
    assert document.lines == {
        "seed": 2,
        "clients": 3,
        "clients.models": 4,
        "clients.models.0": 5,
        "clients.models.1": 6,
        "clients.models.1.name": 6,
        "clients.models.1.hidden": 7,
        "clients.models.1.hidden.0": 7,
    }


def test_files_are_read_as_utf_8_whatever_they_are(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes("\ufeffname: \u732b".encode())
    assert read_document(path).content == {"name": "\u732b"}
    path.write_bytes("a: 1\nb: \u00e9".encode("latin-1"))
    with pytest.raises(YamlError, match="line 2: the byte #xe9 is not UTF-8"):
        read_document(path)
    with pytest.raises(YamlError, match="more than 400,000 bytes"):
        read_document(Path("/dev/zero"))
    for odd in (Path("a\0b"), Path("x" * 5000), tmp_path):
        with pytest.raises(OSError, match=r".+"):
            read_document(odd)


ODD_TEXTS = "yes|010|1e3|1e+5|null|~||1_000|0o17|0x1F|.inf|.nan|1:30|2020-01-01|=|<<|-|- a|a: b|#x|a #b|?|'|\"| a|a |%x|@|`|!t|&a|*a|...|---|+1|.5|5."  # noqa: E501
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    [*ODD_TEXTS.split("|"), "\n", "a\n", "\r\n", "\x85", "\u2028", "\ufeff", "\t", "\x7f", "\U0001f600", "a\n\n b\n"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(1 - 2**63, 2**63 - 1) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS.filter(is_key), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_what_is_dumped_reads_back_as_itself(value: Any) -> None:
    found = parse_yaml(dump_yaml(value))
    # Not only equal: 1 is no 1.0, and -0.0 no 0.0.
    assert repr(found) == repr(value)


SYNTAX = st.lists(
    st.sampled_from([*"[]{},:-?&*!|>'\"%@`#\n \t~=<", "a", "1", "0", "&a", "*a", "a: ", "\n  ", "---", "...", "\\U"]),
    max_size=30,
).map("".join)


@given(SYNTAX | st.text(max_size=30))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse_yaml(text)
    except YamlError:
        return
    assert repr(parse_yaml(dump_yaml(found))) == repr(found)
