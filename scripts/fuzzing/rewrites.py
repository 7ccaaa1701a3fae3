"""Files written in another way that means the same, and files that somebody or something has damaged."""

import json
import random
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from fuzzing.bombs import Text
from fuzzing.values import LOOKS_LIKE_NUMBERS, LOOKS_LIKE_OTHERS

_SIGNS = (*(b"\t", b"\0", b"\xff", b":", b"-", b"#", b"&a ", b"*a", b"{", b"]", b"'", b'"', b"!", b"\r", b"\x80"),)


def _shuffled(value: Any, draw: random.Random) -> Any:
    if not isinstance(value, Mapping):
        return value
    keys = [*value]
    draw.shuffle(keys)
    return {key: _shuffled(value[key], draw) for key in keys}


def _with_comments(text: str, draw: random.Random) -> str:
    lines = []
    for line in text.splitlines():
        lines += [line + draw.choice(["", "  # a remark: {", " # '"]), *draw.choice([[], [""], ["# &a *b"]])]
    return "\n".join(lines)


REWRITES: Mapping[str, Callable[[dict[str, Any], random.Random], Text]] = {
    "other order": lambda raw, draw: yaml.safe_dump(_shuffled(raw, draw), sort_keys=False),
    "flow style": lambda raw, draw: yaml.safe_dump(raw, default_flow_style=True, width=draw.choice([20, 80, 10**6])),
    "JSON": lambda raw, draw: json.dumps(raw, indent=draw.choice([None, 1, 4])),
    "comments": lambda raw, draw: _with_comments(yaml.safe_dump(raw), draw),
    "wide indent": lambda raw, draw: yaml.safe_dump(raw, indent=9),
    "document marks": lambda raw, draw: f"---\n{yaml.safe_dump(raw)}...\n",
    "Windows lines": lambda raw, draw: yaml.safe_dump(raw).replace("\n", "\r\n"),
    "byte order mark": lambda raw, draw: b"\xef\xbb\xbf" + yaml.safe_dump(raw).encode(),
    "blank lines": lambda raw, draw: "\n\n" + yaml.safe_dump(raw).replace("\n", "\n\n   \n"),
}
"""Ways to write an experiment, all of which mean the same."""


def with_a_key_twice(text: str, draw: random.Random) -> str:
    """The text with one of its keys a second time, with another value."""
    lines = text.splitlines()
    at = draw.choice([number for number, line in enumerate(lines) if ":" in line and not line.strip().startswith("#")])
    key, _, value = lines[at].partition("#")[0].partition(":")
    indent = len(key) - len(key.lstrip())
    end = at + 1
    if not value.strip():  # a section: behind all that is in it
        while end < len(lines) and (not lines[end].strip() or len(lines[end]) - len(lines[end].lstrip()) > indent):
            end += 1
    return "\n".join([*lines[:end], f"{key}: {draw.choice(['1', '~', 'x', value.strip() or '{}'])}", *lines[end:]])


def damaged(text: str, draw: random.Random) -> bytes:
    """The text as a disk, an editor or a person may leave it."""
    data = bytearray(text.encode())
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        if not data:
            break
        at, other = draw.randrange(len(data)), draw.randrange(len(data))
        match draw.randrange(10):
            case 0:
                del data[at:]
            case 1:
                data[at] ^= 1 << draw.randrange(8)
            case 2:
                del data[at : at + draw.randrange(1, 20)]
            case 3:
                data[at:at] = draw.choice(_SIGNS)
            case 4:
                data[at:at] = data[other : other + draw.randrange(1, 60)]
            case _:
                _change_line(data, draw)
    return bytes(data)


def _change_line(data: bytearray, draw: random.Random) -> None:
    lines = [bytes(line) for line in data.split(b"\n")]
    at = draw.randrange(len(lines))
    match draw.randrange(5):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[at])
        case 2:
            lines.insert(draw.randrange(len(lines)), lines.pop(at))
        case 3:
            lines[at] = draw.choice([b" ", b"  ", b"\t", b"- "]) + lines[at]
        case _:
            key, colon, _ = lines[at].partition(b":")
            lines[at] = key + colon + b" " + draw.choice([*LOOKS_LIKE_NUMBERS[:40], *LOOKS_LIKE_OTHERS]).encode()
    data[:] = b"\n".join(lines)
