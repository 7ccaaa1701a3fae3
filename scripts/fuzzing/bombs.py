"""YAML texts that mean nothing for an experiment, or far too much."""

from collections.abc import Iterator, Mapping

Text = str | bytes

_TAGS = (
    "!!binary aGk=",
    "!!set {a}",
    "!!omap [a: 1]",
    "!x 1",
    "!!timestamp 2001-01-01",
    "!!int x",
    "!!float []",
    "! 1",
)
_KEYS = (
    "1: 2",
    "? [a]\n: 1",
    "null: 1",
    "true: 1",
    "1.5: 1",
    "2026-01-01: 1",
    "'': 1",
    "a.b: 1",
    "data.root: x",
    "~: 1",
)
_EXTENDS = (
    *("experiment.yaml", "./experiment.yaml", ".", "..", "/dev/zero", "/dev/null", "/etc/passwd", "[a]", "1", "~"),
    *(
        "{a: b}",
        "x" * 5000,
        "../" * 2000,
        '"a\\0b"',
        "no_such",
        "quickstrat",
        "fashion-mnist",
        "'\\x1b[2J'",
        '"\\ud800"',
    ),
)
_NUMBERS = ("", "-", "+", "0x", "0o", "1e", "1e-", "0.", ".")


def _laughs(count: int) -> Iterator[str]:
    """Lists of lists, each twice as large as the one before."""
    yield "k0: &k0 [1, 1]\n"
    for index in range(1, count):
        yield f"k{index}: &k{index} [*k{index - 1}, *k{index - 1}]\n"


BOMBS: Mapping[str, tuple[Text, ...]] = {
    "laughs": tuple("".join(_laughs(count)) for count in (5, 25, 90)),
    "merged keys": ("<<: {seed: 1}\n", "data: &a {root: x}\nclients: {<<: *a}\n", "x: &a {seed: 1}\n<<: [*a, *a]\n"),
    "recursion": ("seed: &a [*a]\n", "data: &a {partition: *a}\n", "&a x: *a\n", "seed: &a {b: &b [*a, *b]}\n"),
    "deep": (
        *(f"seed: {'[' * depth}" for depth in (200, 5000, 100_000)),
        *("seed: " + "[" * 3000 + "]" * 3000, "{a: " * 2000 + "1" + "}" * 2000, "- " * 3000 + "1", "? " * 2000),
        *("".join(f"{' ' * level}a:\n" for level in range(depth)) for depth in (100, 900)),
    ),
    "unknown alias": ("seed: *nothing\n", "*a : 1\n"),
    "tags": (
        *(f"seed: {tag}\n" for tag in _TAGS),
        "seed: !!python/object/apply:os.system ['true']\n",
        "!!str seed: 1\n",
    ),
    "documents": ("seed: 1\n---\nseed: 2\n", "%YAML 3.0\n---\nseed: 1\n", "---\n---\n", "%TAG ! x\n---\nseed: 1\n"),
    "no mapping": (
        "- seed: 1\n",
        "1",
        "text",
        "true",
        "2026-01-01",
        "~x",
        "[]",
        "'",
        "&a",
        "{",
        ":",
        "? ",
        "|",
        ">2\n x",
    ),
    "tabs": ("data:\n\tdataset: digits\n", "seed:\t1\n", "\tseed: 1\n"),
    "keys": tuple(f"{key}\n" for key in _KEYS),
    "encodings": (
        *("seed: 1\n".encode("utf-16"), "seed: 1\n".encode("utf-16-le"), "seed: 1 # é\n".encode("latin-1")),
        *(b"seed: '\xed\xa0\x80'\n", b"\xff\xfe", b"\xef\xbb\xbf\xef\xbb\xbfseed: 1\n", "seed: 1\n".encode("utf-32")),
    ),
    "control characters": tuple(f"seed: 1 {sign}\n" for sign in "\0\x1b\x07\x7f\x85\u2028\ufffe\ufeff"),
    "very many": (
        *("".join(f"k{index}: 1\n" for index in range(3000)), "seed: [" + "1," * 200_000 + "]\n"),
        *("".join(f"k{index}: &a{index} 1\n" for index in range(2000)), "#" * 2_000_000, "seed: '" + "x" * 2_000_000),
    ),
    "long keys": tuple(f"{'k' * length}: 1\n" for length in (500, 2000, 100_000)),
    "long numbers": tuple(f"seed: {sign}{'7' * digits}\n" for sign in _NUMBERS for digits in (400, 5000, 200_000)),
    "extends": tuple(f"extends: {name}\n" for name in _EXTENDS),
}
