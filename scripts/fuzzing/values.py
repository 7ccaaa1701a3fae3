"""Values that nobody should write into a configuration, and some that one may."""

import math
from collections.abc import Iterator
from typing import Any

NUMBERS: tuple[Any, ...] = (
    *(0, 1, 2, 3, 7, -1, -7, 10**6, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30, 10**400),
    *(0.0, -0.0, 0.5, 1.0, 1.5, 2.0, 0.1, 0.999, -0.5, 5e-324, 1e-300, 1e-9, 1e16, 1e300, 1.7976931348623157e308),
    *(math.nan, math.inf, -math.inf),
)

LOOKS_LIKE_NUMBERS = (
    *("0", "1", "-1", "+1", "1.0", "1.", ".5", "1e1", "1e0", "1E3", "1e-3", "1e400", "-1e400", "1_000", "1,000", "1 0"),
    *("010", "0o17", "0x1F", "0b11", "1:30", "190:20:30", "nan", ".nan", ".NaN", "NAN", "inf", ".inf", "-.INF"),
    *("Infinity", "1/2", "١٢", "１", "½", "²", "1j", "1e", "--1", "9" * 5000, "0." + "0" * 5000 + "1"),
)

LOOKS_LIKE_OTHERS = (
    *(
        "null",
        "~",
        "Null",
        "yes",
        "no",
        "on",
        "off",
        "y",
        "n",
        "true",
        "True",
        "FALSE",
        "2026-01-01",
        "2026-01-01 10:00",
    ),
    *(
        "[]",
        "{}",
        "[1, 2]",
        "{a: 1}",
        "a,b",
        "a: b",
        "- a",
        "!!str 1",
        "!!python/object/apply:os.getpid []",
        "&a b",
        "*a",
    ),
    *("<<", "=", "%YAML 1.1", "---", "...", "|", ">", "#", "'", '"', "@", "`", "?", ":", "::", "x:", ":x", ","),
)

TEXTS = (
    *(
        "",
        " ",
        "\t",
        "\n",
        "a\nb",
        "a" * 300,
        "a" * 100_000,
        "x\0y",
        "\0",
        "\x1b[31mred\x1b[0m",
        "\x07",
        "\x7f",
        "\x85",
    ),
    *("\ud800", "\U0001f4a5", "naïve", "‮abc", "\ufeff", "é", "é", "λ" * 200, "%s%n", "{0}", "$(id)", "`id`", "name"),
    *(
        "/etc/passwd",
        "../../etc/passwd",
        "/dev/zero",
        "/dev/null",
        "/",
        ".",
        "..",
        "~",
        "~root",
        "C:\\con",
        "/a" * 3000,
    ),
    *("os:system", "fedkd:load_config", "../../x:Y", "__main__:X", "a.b.c:D", "json:JSONDecoder", "__init__", "_base"),
    *("--help", "-", "none", "None", "cnn", "mlp", "honest", "mean_logits", "digits", "cosine", "auto", "kl", "sgd"),
)


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


CONTAINERS: tuple[Any, ...] = (
    *(
        [],
        [1],
        [0],
        [[]],
        [None],
        ["a"],
        ["mlp"],
        [1, "a", None],
        [True],
        [-1],
        [1e400],
        _nested(40),
        list(range(2000)),
    ),
    *({}, {"name": None}, {"name": ""}, {"name": "x"}, {"name": 1}, {"name": []}, {"name": "mlp", "hidden": [1]}),
    *({"a": 1}, {"": ""}, {1: 2}, {None: 1}, {"name": "mean_logits"}, {"name": "cnn", "no": 1}, {"a": {"b": {"c": 1}}}),
    *(
        [{"name": "mlp"}, {"name": "cnn"}],
        {"name": "fixed", "value": 0.5},
        {f"k{index}": index for index in range(300)},
    ),
)

EVERYTHING: tuple[Any, ...] = (
    *(None, True, False),
    *NUMBERS,
    *LOOKS_LIKE_NUMBERS,
    *LOOKS_LIKE_OTHERS,
    *TEXTS,
    *CONTAINERS,
)


def near(value: Any) -> Iterator[Any]:
    """Values like one that is right: itself, its spellings as text, and its neighbours."""
    yield value
    if isinstance(value, bool):
        yield from (not value, str(value), int(value))
    elif isinstance(value, int | float):
        yield from (str(value), float(value), value * 2, value / 2, value + 1, -value, [value], {"value": value})
    elif isinstance(value, str):
        yield from (value.upper(), value.capitalize(), value + " ", " " + value, value + "x", value[:-1], [value])
        yield from ({"name": value}, value.replace("_", "-"), value + "\n")
    elif isinstance(value, list):
        yield from ([*value, *value], value[:1], value[::-1], tuple(map(str, value)), {"name": value})
