"""Files: what is written of a result."""

import json
from pathlib import Path

import pytest

from fedkd.core.files import json_text, write_json


def strictly(text: str) -> object:
    """The content of a text that is JSON as every reader takes it."""

    def refuse(word: str) -> object:
        raise ValueError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_null_in_valid_json(number: float, tmp_path: Path) -> None:
    content = {"a": number, "b": [1.5, (number, "NaN")], "c": {"d": number, "e": True, "f": None, "g": 2**70}}
    expected = {"a": None, "b": [1.5, [None, "NaN"]], "c": {"d": None, "e": True, "f": None, "g": 2**70}}
    assert strictly(json_text(content)) == expected
    write_json(tmp_path / "folder" / "result.json", content)
    assert strictly((tmp_path / "folder" / "result.json").read_text()) == expected
