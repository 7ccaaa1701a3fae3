"""What is in docs/results, and how pages show it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def results(name: str) -> dict[str, Any]:
    """What a study found."""
    found: dict[str, Any] = json.loads((ROOT / f"docs/results/{name}.json").read_text(encoding="utf-8"))
    return found


def row_of(study: str, **wanted: Any) -> dict[str, Any]:
    """The first row of a study that has these values."""
    rows: list[dict[str, Any]] = results(study)["rows"]
    return next(row for row in rows if all(row[key] == value for key, value in wanted.items()))


def interval(found: Any, *, signed: bool = False, digits: int = 1) -> str:
    """A mean with the half-width of its interval, where it has one; – for nothing."""
    if found is None:
        return "–"
    mean, half = found
    text = f"{mean:+.{digits}f}" if signed else f"{mean:.{digits}f}"
    return (text if half is None else f"{text} ± {half:.{digits}f}").replace("-", "−")


def word(count: int) -> str:
    """A small number in letters."""
    return dict(enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight"), 1)).get(count, str(count))


def bounds(found: Mapping[str, float], *, signed: bool = True) -> str:
    """A mean, and in brackets the ends of its interval."""
    mean, low, high = (f"{found[key]:{'+' if signed else '-'}z.2f}" for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]".replace("-", "−")


def table_row(*cells: str) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def comparable(found: Any, measure: str) -> str:
    """A figure of a reference result, published or ours, with the half-width of its interval where it has one."""
    if "ratio" not in measure:
        return interval(found, signed="lead" in measure)
    mean, half = found
    return f"{mean:.4g}" if half is None else f"{mean:.4g} ± {half:.2g}"


def percent(found: Mapping[str, Any], key: str) -> str:
    """The share ``key`` with the half-width of its interval, ``key_ci95``, in per cent."""
    half = found[f"{key}_ci95"]
    return interval((100 * found[key], None if half is None else 100 * half))
