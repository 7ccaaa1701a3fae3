"""What a round of very many clients would cost on a Ray cluster, from what one client costs.

    python scripts/benchmark.py projection [docs/results/scaling.json] [--clients 1000000] [--shares 0.001,0.01,0.1,1]
    python scripts/benchmark.py projection --write docs/scaling.md

Prints the costs that the benchmark ``scaling`` measured and the projection as Markdown tables; ``--write`` puts them
between the marks in a document. The formula and what it assumes stand in docs/scaling.md.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

BEGIN, END = (
    "<!-- measured: python scripts/benchmark.py projection --write docs/scaling.md -->",
    "<!-- end of what is measured -->",
)
FLOAT32 = 4


@dataclass(frozen=True)
class Costs:
    """Seconds, bytes and 10⁹ bytes: of a start, of a round, and of each client in them.

    ``setup`` is a process's start, by the number of clients there are; ``driver`` the driver's part of a round, and
    ``memory`` what it takes beyond its libraries, by the number of participating clients: each a constant and a slope.
    """

    setup: tuple[float, float]
    driver: tuple[float, float]
    memory: tuple[float, float]
    client: float
    bytes_up: float
    bytes_down: float
    record: float
    logits: float

    @classmethod
    def of(cls, measured: dict[str, Any]) -> Self:
        """From the content of ``scaling.json``; the straight lines are least squares on relative errors."""
        client, driver = measured["client"], measured["driver"]
        growth = {count: found["peak_gb"] - found["before_gb"] for count, found in driver.items()}
        return cls(
            setup=line(measured["setup_seconds"]),
            driver=line({count: found["driver_cpu_seconds"] for count, found in driver.items()}),
            memory=line(growth),
            client=client["seconds"],
            bytes_up=client["bytes_up"],
            bytes_down=client["bytes_down"],
            record=client["record_bytes"],
            logits=FLOAT32 * measured["queries"] * measured["classes"],
        )

    def seconds(self, participating: float, cores: int) -> float:
        """A round's time: the driver's part, one client after another, and the clients' work on all cores."""
        return self.driver[0] + self.driver[1] * participating + self.client * participating / cores

    @property
    def useful_cores(self) -> float:
        """With so many cores the clients' work takes as long as the driver's part; more can at most halve a round."""
        return self.client / self.driver[1]


def line(points: dict[str, float]) -> tuple[float, float]:
    """Constant and slope, neither below 0, by least squares on relative errors."""
    counts = np.array([float(count) for count in points])
    values = np.array([points[count] for count in points])
    weights = 1 / np.maximum(values, 1e-9)
    columns = np.stack([np.ones_like(counts), counts], axis=1) * weights[:, None]
    constant, slope = np.linalg.lstsq(columns, values * weights)[0]
    if constant < 0:
        return 0.0, float((weights**2 * counts * values).sum() / (weights**2 * counts**2).sum())
    return float(constant), max(float(slope), 0.0)


def tables(measured: dict[str, Any], clients: int, shares: list[float], cores: list[int]) -> str:
    """The measured costs and the projection, in Markdown."""
    costs = Costs.of(measured)
    rows = [
        ("start of a process", "s", costs.setup[0], costs.setup[1], "client in the experiment"),
        ("driver, per round", "s", costs.driver[0], costs.driver[1], "participating client"),
        ("driver's memory", "GB", costs.memory[0], costs.memory[1], "participating client"),
        ("a client's work", "s", 0.0, costs.client, "participating client"),
    ]
    parts = [f"Measured with {measured['versions']['torch']} of torch on {measured['cores']} cores"]
    parts[0] += f" ({measured['machine']})." if measured["machine"] else "."
    parts += ["", "| | unit | constant | slope | for each |", "|---|---|---|---|---|"]
    parts += [f"| {what} | {unit} | {fixed:.3g} | {slope:.3g} | {each} |" for what, unit, fixed, slope, each in rows]
    parts += [
        "",
        f"A client sends {costs.bytes_up:,.0f} bytes and is sent {costs.bytes_down:,.0f}; its row of `clients.csv` has "
        f"{costs.record:.0f}. The driver's part equals the clients' work on {costs.useful_cores:,.0f} cores.",
        "",
        f"Projection for {clients:,} clients, a start of {costs.setup[0] + costs.setup[1] * clients:,.0f} s in every "
        "process apart:",
        "",
        "| participating in a round | " + " | ".join(f"{count:,} cores" for count in cores) + " | logits on disk |",
        "|---|" + "---|" * (len(cores) + 1),
    ]
    for share in shares:
        participating = max(1, round(share * clients))
        times = " | ".join(span(costs.seconds(participating, count)) for count in cores)
        parts.append(f"| {participating:,} | {times} | {participating * costs.logits / 1e9:,.1f} GB |")
    return "\n".join(parts)


def span(seconds: float) -> str:
    """A time in the largest unit of which there are two."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def written(document: str, tables: str) -> str:
    """The document with the tables between its marks; raises ``ValueError`` where there are none."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document must hold the lines {BEGIN!r} and {END!r}, between which the tables are put")
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", type=Path, nargs="?", default=Path("docs/results/scaling.json"))
    parser.add_argument("--clients", type=int, default=1_000_000)
    parser.add_argument("--shares", default="0.001,0.01,0.1,1", help="shares of the clients in a round")
    parser.add_argument("--cores", default="2,8,32")
    parser.add_argument("--write", type=Path, help="a document to put the tables into")
    arguments = parser.parse_args(argv)
    measured = json.loads(arguments.measured.read_text(encoding="utf-8"))
    shares = [float(share) for share in arguments.shares.split(",")]
    cores = [int(count) for count in arguments.cores.split(",")]
    text = tables(measured, arguments.clients, shares, cores)
    if arguments.write is None:
        print(text)
    else:
        content = written(arguments.write.read_text(encoding="utf-8"), text)
        arguments.write.write_text(content, encoding="utf-8")
    return 0
