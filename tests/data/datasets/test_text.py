"""Texts in tables and in lines of JSON."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fedkd.data.source import Encoding, SampleSet
from tests.support.data_files import finished, loaded, refusal, write_table

SOURCE = {"name": "text", "path": "mails.csv", "text": "body", "label": "kind"}
TEXTS = ["Buy now, buy!", "see you at 8", "NA", ""] * 5
KINDS = ["spam", "mail", "mail", "mail"] * 5
SENDERS = [1, 2] * 10


def write(folder: Path, name: str, texts: list[Any], kinds: list[Any], senders: list[Any] = SENDERS) -> None:
    columns = {"body": texts, "kind": kinds, "from": senders[: len(texts)]}
    if name.endswith(("jsonl", "ndjson")):
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        (folder / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    elif name.endswith(".tsv"):
        write_table(folder / name, columns, delimiter="\t")
    else:
        write_table(folder / name, columns | {"body": [f'"{text}"' for text in texts]})


def encoding(data: SampleSet, public: list[str]) -> Encoding:
    assert data.encoder is not None
    return data.encoder.fit(public)


def test_texts_run(tmp_path: Path) -> None:
    write(tmp_path, "mails.csv", TEXTS * 2, KINDS * 2, SENDERS * 2)
    assert finished(tmp_path, SOURCE | {"length": 5}, model="gru")["rounds"] == 1


@pytest.mark.parametrize("name", ["mails.csv", "mails.tsv", "mails.jsonl", "mails.ndjson"])
def test_texts_labels_and_clients_are_those_of_the_file(name: str, tmp_path: Path) -> None:
    write(tmp_path, name, TEXTS, KINDS)
    data = loaded(tmp_path, SOURCE | {"path": name, "client": "from"})
    assert data.train_inputs[torch.tensor([0, 1, 2, 3])] == TEXTS[:4]
    assert data.class_names == ("mail", "spam")
    assert data.client_names == ("1", "2")
    assert data.train_clients is not None
    assert data.train_clients[:4].tolist() == [0, 1, 0, 1]
    assert (data.train_labels[:4].tolist(), data.test_labels.tolist()) == ([1, 0, 0, 0], [0, 0, 1, 0])


def test_tokens_are_words_by_how_often_the_public_texts_have_them(tmp_path: Path) -> None:
    write(tmp_path, "mails.csv", TEXTS, KINDS)
    tokens = encoding(loaded(tmp_path, SOURCE | {"length": 4}), ["Buy now, buy!", "a cat now", "buy"])
    # buy, now, then a and cat by the alphabet; 0 fills up, 1 is unknown.
    assert tokens.vocabulary == 6
    assert tokens(["Now buy a dog or two", "cat", "", "?!"]).tolist() == [
        [3, 2, 4, 1],
        [5, 0, 0, 0],
        [1, 0, 0, 0],
        [1, 0, 0, 0],
    ]
    assert tokens(["buy"]).dtype == torch.int64


def test_the_vocabulary_is_bounded_and_tokens_may_be_characters(tmp_path: Path) -> None:
    write(tmp_path, "mails.csv", TEXTS, KINDS)
    bounded = encoding(loaded(tmp_path, SOURCE | {"vocabulary": 3}), ["b b b a a c"])
    assert (bounded.vocabulary, bounded(["a b c"])[0, :3].tolist()) == (3, [1, 2, 1])
    characters = encoding(loaded(tmp_path, SOURCE | {"tokens": "char", "length": 3}), ["abba b"])
    assert characters(["Bax"]).tolist() == [[2, 3, 1]]


def test_a_file_of_test_samples_is_the_test_set(tmp_path: Path) -> None:
    write(tmp_path, "mails.csv", TEXTS, KINDS)
    write(tmp_path, "later.jsonl", ["hello"], ["mail"])
    data = loaded(tmp_path, SOURCE | {"test": "later.jsonl"})
    assert (len(data.train_labels), data.test_inputs[:], data.test_labels.tolist()) == (20, ["hello"], [0])


LINE = '{"body": "hello", "kind": "mail"}\n'

WRONG: dict[str, tuple[str, str, dict[str, Any], list[str]]] = {
    "no such column": ("mails.csv", "body,kind\na,b\n", {"text": "bdy"}, ["dataset.text", "mean 'body'?"]),
    "no such key": ("mails.jsonl", LINE, {"label": "Kind"}, ["dataset.label", "line 1 of", "mean 'kind'?"]),
    "texts that are labels": ("mails.csv", LINE, {"label": "body"}, ["dataset.label", "column of texts"]),
    "clients that are texts": ("mails.csv", LINE, {"client": "body"}, ["dataset.client", "column of texts"]),
    "no JSON": ("mails.jsonl", LINE + "hello\n", {}, ["dataset.path", "line 2 of", "not JSON"]),
    "no object": ("mails.jsonl", LINE + "[1]\n", {}, ["dataset.path", "line 2 of", "JSON object, got [1]"]),
    "a number for a text": ("mails.jsonl", '{"body": 3, "kind": 1}', {}, ["dataset.text", "got 3 in row 1"]),
    "a list for a label": ("mails.jsonl", '{"body": "", "kind": [1]}', {}, ["dataset.label", "got [1] in row 1"]),
    "no label": ("mails.jsonl", '{"body": "", "kind": null}', {}, ["dataset.label", "row 1 of", "has no label"]),
    "a label with a fraction": ("mails.jsonl", '{"body": "", "kind": 1.5}', {}, ["dataset.label", "'1.5' in row 1"]),
    "one class": ("mails.jsonl", LINE * 9, {}, ["dataset.label", "two classes at least", "'mail'"]),
    "an empty file": ("mails.jsonl", "\n", {}, ["dataset.path", "is empty"]),
    "another ending": ("mails.json", LINE, {}, ["dataset.path", ".jsonl, .ndjson", "mails.json"]),
    "no unit": ("mails.csv", LINE, {"tokens": "sentence"}, ["dataset.tokens", "word", "sentence"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_with_its_remedy(case: str, tmp_path: Path) -> None:
    name, content, options, words = WRONG[case]
    (tmp_path / name).write_text(content, encoding="utf-8")
    message = refusal(tmp_path, SOURCE | {"path": name} | options)
    assert [word for word in words if word not in message] == [], message


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mails.jsonl").write_bytes(b'{"body": "K\xf6ln", "kind": 1}')
    assert "mails.jsonl is not UTF-8" in refusal(tmp_path, SOURCE | {"path": "mails.jsonl"})
