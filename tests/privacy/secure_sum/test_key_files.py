"""Signing keys in files: private halves for their owner alone, public ones in a directory without a doubt."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkd.core.errors import RunError
from fedkd.privacy.secure_sum.identities import Directory
from fedkd.privacy.secure_sum.key_files import joined, key_path, make_keys, read_directory, read_key, write_directory


def test_keys_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    public = make_keys(tmp_path / "keys", [0, 2])
    assert make_keys(tmp_path / "keys", [0, 2]) == public
    assert public[0] != public[2]
    assert make_keys(tmp_path / "others", [0])[0] != public[0], "not from any seed"
    for client in (0, 2):
        path = key_path(tmp_path / "keys", client)
        assert path.stat().st_mode & 0o777 == 0o600
        signature = read_key(tmp_path / "keys", client).sign(b"message")
        directory = Directory.of(public)
        assert directory.verifies(client, b"message", signature)
        assert not directory.verifies(2 - client, b"message", signature)


def test_keys_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    make_keys(tmp_path, [0])
    path = key_path(tmp_path, 0)
    path.chmod(0o640)
    with pytest.raises(RunError, match=r"client_000000\.key must be for its owner alone, got mode 640; chmod 600"):
        read_key(tmp_path, 0)
    path.chmod(0o600)
    for content in ("", "00", "g" * 64, "0" * 65):
        path.write_text(content, encoding="ascii")
        with pytest.raises(RunError, match="must hold 64 hexadecimal digits"):
            read_key(tmp_path, 0)
    with pytest.raises(RunError, match=r"client_000001\.key cannot be read .* fedkd keys make"):
        read_key(tmp_path, 1)


def test_a_directory_is_read_as_it_was_written(tmp_path: Path) -> None:
    public = make_keys(tmp_path, range(12))
    write_directory(tmp_path / "directory.json", public)
    assert read_directory(tmp_path / "directory.json") == public
    assert Directory.of(public).digest == Directory.of(dict(reversed(public.items()))).digest
    assert Directory.of(public).digest != Directory.of({**public, 3: public[4]}).digest


KEY = '"' + "ab" * 32 + '"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "must be an object of clients"),
        ("{}", "must be an object of clients"),
        (f'{{"0": {KEY}, "0": "{"cd" * 32}"}}', "client 0 has a key already"),
        (f'{{"0": {KEY}, "1": {KEY}}}', "clients 0 and 1 have the same key"),
        (f'{{"x": {KEY}, "-1": {KEY}, "01": {KEY}, "123456": {KEY}}}', "'x'.*'-1'.*'01'.*'123456'"),
        ('{"0": 5, "1": null, "2": "abc"}', "'0': 5; '1': None; '2': 'abc'"),
    ],
)
def test_a_directory_that_is_none_is_refused_with_all_its_faults(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "directory.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=rf"directory\.json.*{message}"):
        read_directory(path)


def test_directories_of_nodes_are_joined_but_where_they_contradict() -> None:
    one, other = {0: b"a" * 32, 2: b"b" * 32}, {1: b"c" * 32}
    assert joined([("one", one), ("other", other)]) == {0: b"a" * 32, 1: b"c" * 32, 2: b"b" * 32}
    with pytest.raises(RunError, match="again: client 0 has a key already"):
        joined([("one", one), ("again", one)])


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.dictionaries(st.text(), c)))
def test_nothing_but_a_directory_passes(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RunError):
        read_directory(path)
