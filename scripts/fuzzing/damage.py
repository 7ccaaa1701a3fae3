"""What may happen to one file of a run directory: accidents, mix-ups, and edits that cover their tracks."""

import hashlib
import io
import json
import random
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

_SEAL = re.compile(rb"\nfedkd [ -~]{1,200} sha256 (?=[0-9a-f]{64}\n\Z)")
_DIGITS = re.compile(rb"\d")

Damage = Callable[[Path, Path, random.Random], str]
"""Harms a file, given the same file of another run; says what it did."""


def emptied(path: Path, other: Path, draw: random.Random) -> str:
    path.write_bytes(b"")
    return "emptied"


def deleted(path: Path, other: Path, draw: random.Random) -> str:
    path.unlink()
    return "deleted"


def truncated(path: Path, other: Path, draw: random.Random) -> str:
    data = path.read_bytes()
    keep = draw.choice([len(data) - 1, len(data) // 2, draw.randrange(len(data) + 1)])
    path.write_bytes(data[: max(0, keep)])
    return f"cut to {keep} of {len(data)} bytes"


def lengthened(path: Path, other: Path, draw: random.Random) -> str:
    more = draw.choice([b"\n", b"{}\n", b"\0" * 100, b"\xff\xfe", b'{"round": NaN}\n', path.read_bytes()])
    path.write_bytes(path.read_bytes() + more)
    return f"lengthened by {more[:20]!r}"


def flipped(path: Path, other: Path, draw: random.Random) -> str:
    data = bytearray(path.read_bytes())
    places = [draw.randrange(len(data)) for _ in range(draw.choice([1, 1, 3, 20]))] if data else []
    for place in places:
        data[place] ^= 1 << draw.randrange(8)
    path.write_bytes(bytes(data))
    return f"bits flipped at {places[:3]}"


def edited(path: Path, other: Path, draw: random.Random) -> str:
    """One digit changed, as by hand."""
    data = bytearray(path.read_bytes())
    places = [found.start() for found in _DIGITS.finditer(bytes(data))]
    if not places:
        return "left alone"
    place = draw.choice(places)
    before = data[place]
    data[place] = draw.choice([digit for digit in b"0123456789" if digit != before])
    path.write_bytes(bytes(data))
    return f"{chr(before)} at {place} changed to {chr(data[place])}"


def swapped(path: Path, other: Path, draw: random.Random) -> str:
    if not other.is_file():
        return "left alone"
    shutil.copyfile(other, path)
    return "exchanged for that of another run"


def mixed_up(path: Path, other: Path, draw: random.Random) -> str:
    neighbours = [each for each in path.parent.parent.rglob(f"*{path.suffix}") if each != path and each.is_file()]
    if not neighbours:
        return "left alone"
    neighbour = draw.choice(sorted(neighbours))
    mine, theirs = path.read_bytes(), neighbour.read_bytes()
    path.write_bytes(theirs)
    if draw.random() < 0.5:
        neighbour.write_bytes(mine)
    return f"exchanged for {neighbour.name}"


def renamed(path: Path, other: Path, draw: random.Random) -> str:
    name = draw.choice(["round_x.pt", "round_99999.pt", "round_-1.pt", "round_.pt", f"{path.name}.partial", "x", "ü\n"])
    path.rename(path.with_name(name))
    return f"renamed to {name!r}"


def displaced(path: Path, other: Path, draw: random.Random) -> str:
    path.unlink()
    match draw.randrange(3):
        case 0:
            path.mkdir()
            return "a folder in its place"
        case 1:
            path.symlink_to(path)
            return "a link to itself in its place"
        case _:
            path.write_bytes(
                draw.choice([b"null", b"[]", b"{}", b"\xff\xfe\x00", b"[" * 10**5, b"NaN", b"1e999", b"\0" * 9])
            )
            return "something else in its place"


def resealed(path: Path, other: Path, draw: random.Random) -> str:
    """Its content changed, and its digest made anew, as nobody can notice who has nothing but the file."""
    if path.suffix == ".pt":
        return _resealed_tensors(path, draw)
    if path.suffix == ".json":
        return _resealed_json(path, draw)
    return edited(path, other, draw)


KINDS: tuple[Damage, ...] = (
    *(emptied, deleted, truncated, lengthened, flipped, edited, edited, swapped, mixed_up, renamed, displaced),
    *(resealed, resealed),
)

_NASTY: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        10**6,
        2**62,
        1e300,
        float("nan"),
        float("inf"),
        "",
        "../../outside",
        "/tmp/outside",
        "\0",
        [],
    ),
    *({}, [1, 2], {"a": 1}, "x" * 10_000, b"\xff", torch.ones(2), torch.full((3, 3), float("nan")), torch.zeros(0)),
)


def _changed(value: Any, draw: random.Random, path: str = "") -> tuple[Any, str]:
    """A value with one part exchanged, and what that was."""
    if isinstance(value, str) and value.startswith("{") and draw.random() < 0.8:
        inner, what = _changed(json.loads(value), draw, f"{path}:")
        return json.dumps(inner, default=str), what
    if isinstance(value, Mapping) and value and (not path or draw.random() < 0.9):
        key = draw.choice([*value])
        if draw.random() < 0.1:
            rest = {name: item for name, item in value.items() if name != key}
            if draw.random() < 0.5:
                rest |= {draw.choice(["../../outside", "/tmp/outside", "", 7]): value[key]}
            return rest, f"{path}.{key} renamed or gone"
        inner, what = _changed(value[key], draw, f"{path}.{key}")
        return {**value, key: inner}, what
    if isinstance(value, list | tuple) and value and draw.random() < 0.7:
        place = draw.randrange(len(value))
        inner, what = _changed(value[place], draw, f"{path}.{place}")
        return type(value)([*value[:place], inner, *value[place + 1 :]]), what
    if isinstance(value, torch.Tensor) and value.numel() > 0 and draw.random() < 0.5:
        harmed = (value.flatten()[:-1], value.double() * float("nan"), value.bool(), -value.double(), value[None])
        return draw.choice(harmed).clone(), f"{path} other numbers"
    if isinstance(value, int | float) and not isinstance(value, bool) and draw.random() < 0.4:
        return value + draw.choice([1, -1]), f"{path} one more or less"
    nasty = draw.choice(_NASTY)
    return nasty, f"{path} = {str(nasty)[:40]!a}"


def _resealed_tensors(path: Path, draw: random.Random) -> str:
    data = path.read_bytes()
    seal = _SEAL.search(data)
    payload = data if seal is None else data[: seal.start()]
    content, what = _changed(torch.load(io.BytesIO(payload), weights_only=True), draw)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    if seal is not None:
        buffer.write(seal[0])
        buffer.write(hashlib.sha256(buffer.getvalue()).hexdigest().encode() + b"\n")
    path.write_bytes(buffer.getvalue())
    return f"resealed with {what}"


def _resealed_json(path: Path, draw: random.Random) -> str:
    document, what = _changed(json.loads(path.read_text(encoding="utf-8")), draw)
    if isinstance(document, dict) and "sha256" in document:
        plain = json.loads(json.dumps({name: item for name, item in document.items() if name != "sha256"}, default=str))
        document = plain | {"sha256": hashlib.sha256(json.dumps(_timeless(plain), sort_keys=True).encode()).hexdigest()}
    path.write_text(json.dumps(document, default=str), encoding="utf-8")
    return f"resealed with {what}"


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(item) for name, item in value.items() if name not in {"seconds", "wall_seconds"}}
    return [_timeless(item) for item in value] if isinstance(value, list) else value
