"""What texts mean, by the letter of YAML 1.2's core schema."""

import math
from typing import Any

import pytest
from fuzzing.meaning import UnreadableError, means, read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[
            ("a: yes", "yes"),
            ("a: no", "no"),
            ("a: on", "on"),
            ("a: true", True),
            ("a: FALSE", False),
            ("a: tRUE", "tRUE"),
        ],
        *[("a: 010", 10), ("a: 0o10", 8), ("a: 0x1F", 31), ("a: 0b11", "0b11"), ("a: 1_000", "1_000"), ("a: +1", 1)],
        *[("a: 1:30", "1:30"), ("a: 2026-01-01", "2026-01-01"), ("a: 1e-3", 0.001), ("a: .5", 0.5), ("a: 1.", 1.0)],
        *[
            ("a: .inf", math.inf),
            ("a: -.INF", -math.inf),
            ("a: inf", "inf"),
            ("a: ~", None),
            ("a:", None),
            ("a: ''", ""),
        ],
        *[("a: '1'", "1"), ('a: "true"', "true"), ("a: [1, {b: c}]", [1, {"b": "c"}]), ("a: &x [1]", [1])],
    ],
)
def test_texts_are_read_as_the_standard_says(text: str, value: Any) -> None:
    assert read(text) == {"a": value}
    assert type(read(text)["a"]) is type(value)


@pytest.mark.parametrize(
    "text", ["a: 1\na: 2", "a: &x [*x]", "a: *x", "a: [", "? [1]\n: 2", "a: " + "[" * 300 + "]" * 300]
)
def test_texts_that_mean_nothing_are_not_read(text: str) -> None:
    with pytest.raises(UnreadableError):
        read(text)


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        *[(1, 1), (1.0, 1), ("1e1", 10.0), ("cnn", {"name": "cnn"}), (2, {"name": "constant", "value": 2.0})],
        *[
            ([1, "2"], [1, 2]),
            ({"name": "mlp"}, {"name": "mlp", "hidden": [8]}),
            ("true", True),
            (None, None),
            ([], []),
        ],
    ],
)
def test_short_forms_mean_what_they_stand_for(given: Any, resolved: Any) -> None:
    assert means(given, resolved)


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        *[
            (True, 1),
            (1, True),
            (0, None),
            (None, 0),
            (1, 2),
            ("1e1", 1.0),
            ("010", 8),
            (math.inf, math.inf),
            (math.nan, 0.0),
        ],
        *[([1], [1, 2]), ([1, 2], [1]), ({"b": 1}, {"a": 1}), ("mlp", {"name": "cnn"}), ("inf", math.inf), (1.5, 1)],
        *[(2**53 + 1, 2**53), (1, "1"), ("no", True), (10**400, 1.0), ("x" * 5, 5), ("9" * 5000, 1.0)],
    ],
)
def test_other_values_do_not_mean_the_same(given: Any, resolved: Any) -> None:
    assert not means(given, resolved)
