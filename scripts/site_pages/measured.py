"""Tables of measured figures in the pages, made of docs/results, between comments that name them."""

import argparse
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/measured.md", "docs/own_data.md")

_BLOCK = re.compile(r"(<!-- measured: (\w+) -->\n).*?(\n<!-- measured: end -->)", re.DOTALL)

_EXAMPLES = {
    "table": "569 tumours in 30 measurements (scikit-learn), five hospitals, 20 known diagnoses; `mlp`",
    "series": "two seconds of a smartwatch, seven exercises; eight people are the clients, two others the test; "
    "`transformer`",
    "text": "the language of a word, of eight (Debian's word lists), letter by letter, 200 known; `gru`",
}


def main() -> None:
    """Write the tables into the pages."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    for name in PAGES:
        page = ROOT / name
        page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")


def written(text: str) -> str:
    """A page with its tables as docs/results has them."""
    return _BLOCK.sub(lambda block: block[1] + "\n".join(_TABLES[block[2]]()) + block[3], text)


def results(name: str) -> dict[str, Any]:
    """What a study found."""
    found: dict[str, Any] = json.loads((ROOT / f"docs/results/{name}.json").read_text(encoding="utf-8"))
    return found


def interval(found: Any, *, signed: bool = False) -> str:
    """A mean with the half-width of its interval, where it has one; – for nothing."""
    if found is None:
        return "–"
    mean, half = found
    text = f"{mean:+.1f}" if signed else f"{mean:.1f}"
    return (text if half is None else f"{text} ± {half:.1f}").replace("-", "−")


def _reference() -> Iterator[str]:
    found = results("fashion_mnist")
    yield from ("| after 10 rounds | test accuracy (%) | Δ vs. student |", "|---|---|---|")
    for name in ("student", "teacher_only", "λ = 1", "fedavg", "public_only", "local_only", "centralised"):
        shown = {"student": "student", "λ = 1": "the same with λ = 1"}.get(name, f"`{name}`")
        behind = ""
        if name != "student":
            lead, half = found["student_lead"][name]
            behind = interval((0.0 - lead, half), signed=True) + " "
        yield f"| {shown} | {interval(found['accuracy'][name]['mean_ci95'])} | {behind}|"


def _algorithms() -> Iterator[str]:
    yield (
        "| algorithm | seeds | student | vs. `fedavg` | gap closed (%) | clients, test samples | clients, own "
        "validation samples | MB up | MB down |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in results("algorithms")["rows"]:
        over = "" if row["name"] == "fedavg" else interval(row.get("over_fedavg"), signed=True)
        cells = (
            f"`{row['name']}`",
            str(len(row["seeds"])),
            interval(row.get("student")),
            over,
            interval(row.get("gap")),
            interval(row["clients_test"]),
            interval(row["clients_own"]),
            *(f"{row[key]:.2f}" for key in ("megabytes_up", "megabytes_down")),
        )
        yield f"| {' | '.join(cells)} |"


def _examples() -> Iterator[str]:
    yield from ("| `fedkd run` | data | student | `public_only` | `centralised` |", "|---|---|---|---|---|")
    for name, words in _EXAMPLES.items():
        found: Mapping[str, Any] = results(f"example_{name}")["accuracy"]
        cells = (interval(found[each]["mean_ci95"]) for each in ("student", "public_only", "centralised"))
        yield f"| `examples/{name}` | {words} | {' | '.join(cells)} |"


def _public_data() -> Iterator[str]:
    found = results("public_data")
    strategies = list(found["strategies"])
    partition = found["rows"][0]["partition"]
    rows = [row for row in found["rows"] if row["partition"] == partition]
    yield f"| public set | `public_only` | {' | '.join(f'`{name}`' for name in strategies)} |"
    yield f"|---|---{'|---' * len(strategies)}|"
    for cell in dict.fromkeys(row["cell"] for row in rows):
        by = {row["strategy"]: row for row in rows if row["cell"] == cell}
        shown = [_with_gain(by.get(name)) for name in strategies]
        yield f"| {cell} | {interval(next(iter(by.values()))['public_only'])} | {' | '.join(shown)} |"


def _with_gain(row: Mapping[str, Any] | None) -> str:
    """A student's accuracy, and in brackets the points over the labels alone, where there are labels."""
    if row is None or row["gain"] is None:
        return interval(None if row is None else row["test"])
    return f"{row['test'][0]:.1f} ({interval(row['gain'], signed=True)})"


_TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    "reference": _reference,
    "algorithms": _algorithms,
    "examples": _examples,
    "public_data": _public_data,
}
