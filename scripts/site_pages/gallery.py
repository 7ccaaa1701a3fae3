"""The shipped configurations as a page, with what was measured of them in docs/results."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from site_pages.results import ROOT, comparable, interval, results

RESULTS = ROOT / "docs/results"

_SECTIONS = {
    ".": "To begin with",
    "examples": "Tables, series and texts",
    "algorithms": "Algorithms",
    "tuned": "Algorithms, each tuned with the same budget",
    "privacy": "Privacy",
    "reproductions": "Published figures",
    "toolkit": "One network taught by another",
    "benchmarks": "Benchmarks",
}


def gallery() -> str:
    """The page, in Markdown."""
    lines = ["# Gallery", "", "Every configuration that comes with fedkd, and what was measured of it.", ""]
    for folder, title in _SECTIONS.items():
        if paths := sorted((ROOT / "configs" / folder).glob("*.yaml")):
            lines += [f"## {title}", "", *(line for path in paths for line in _entry(path))]
    return "\n".join(lines)


def _entry(path: Path) -> Iterator[str]:
    head, _, rest = path.read_text(encoding="utf-8").partition("\n\n")
    command, *text = [line.removeprefix("#").strip() for line in head.splitlines()]
    name = str(path.relative_to(ROOT / "configs").with_suffix(""))
    yield from (f"### {name}", "", " ".join(text).strip(), "", f"`{command}`", "")
    if measured := _measured(name):
        yield from (measured, "")
    yield from (f'??? note "{path.relative_to(ROOT)}"', "", "    ```yaml")
    yield from (f"    {line}" for line in rest.splitlines())
    yield from ("    ```", "")


def _measured(name: str) -> str:
    """What was measured of the configuration, with the file that it is in; nothing where nothing was."""
    folder, _, own = name.rpartition("/")
    match folder:
        case "":
            return _experiment(name)
        case "examples":
            return _experiment(f"example_{own}")
        case "algorithms" | "tuned":
            row = _row("algorithms", "name", own)
            measured = "tuned" if results("algorithms").get("tuning_seeds") else "algorithms"
            if folder != measured or row is None or row.get("student") is None:
                return ""
            return f"Student {interval(row['student'])} % over {_seeds(row)}{_source('algorithms')}"
        case "privacy":
            row = _row("privacy_frontier", "row", own)
            if row is None:
                return ""
            epsilon = "no ε" if row["epsilon"] is None else f"ε = {row['epsilon']:.3g}"
            found = [100 * row[key] for key in ("student_accuracy", "student_accuracy_ci95")]
            return f"Student {interval(found)} % over {_seeds(row)}, {epsilon}{_source('privacy_frontier')}"
        case "reproductions":
            row = _row("reproductions", "name", own, rows="references")
            if row is None or row["mean"] is None:
                return ""
            published, ours = (
                comparable(found, row["measure"]) for found in ((row["published"], None), (row["mean"], row["ci95"]))
            )
            return f"Published: {published}; here {ours} over {_seeds(row)}{_source('reproductions')}"
    return ""


def _experiment(result: str) -> str:
    if not (RESULTS / f"{result}.json").exists():
        return ""
    found = {name: each["mean_ci95"] for name, each in results(result)["accuracy"].items()}
    count = len(next(iter(results(result)["accuracy"].values()))["values"])
    means = ", ".join(f"{name} {interval(each)} %" for name, each in found.items())
    return f"{means[0].upper()}{means[1:]} over {count} seeds{_source(result)}"


def _row(result: str, key: str, name: str, rows: str = "rows") -> dict[str, Any] | None:
    return next((row for row in results(result)[rows] if row[key] == name), None)


def _seeds(row: dict[str, Any]) -> str:
    count = len(row["seeds"])
    return "one seed, so it may be chance" if count == 1 else f"{count} seeds"


def _source(result: str) -> str:
    return f" ([results/{result}.json](results/{result}.json))."
