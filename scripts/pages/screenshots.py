"""Pictures of a report and of a comparison, on a wide screen and on a phone, light and dark.

Needs Chromium (on Debian: apt-get install chromium). The runs are nine small ones of the quickstart; in a folder that
holds them already they are taken as they are.
"""

import argparse
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from fedkd.app.sweep import run_sweep
from fedkd.results.report.comparison import write_comparison
from fedkd.results.report.run_page import write_report
from pages.browser import browser, program

CHANGES = (
    "engine.kind=inline",
    "rounds=4",
    "clients.epochs=2",
    "distillation.steps=60",
    "distillation.measure_every=5",
)
GRID = {"strategy.name": ["stacked", "mean_probabilities", "median"]}
SEEDS = (0, 1, 2)
WIDTHS = {1280: 1700, 390: 1700}
"""Pixels: the widths of the windows, and how much of the page is shown."""
_COLOURS = 48


def take(runs: Path, out: Path, path: str) -> list[Path]:
    """Run what is not there, write both pages, and take the pictures with the Chromium at ``path``."""
    result = run_sweep("quickstart", GRID, SEEDS, runs, CHANGES)
    pages = {
        "report": write_report(result.cells[0].folder),
        "comparison": write_comparison([runs], runs / "comparison.html"),
    }
    out.mkdir(parents=True, exist_ok=True)
    pictures = []
    with browser(path) as chromium:
        for name, page in pages.items():
            for width, height in WIDTHS.items():
                for dark in (False, True):
                    chromium.show(page, width=width, dark=dark)
                    picture = Image.open(io.BytesIO(chromium.screenshot(height))).convert("RGB")
                    target = out / f"{name}_{width}_{'dark' if dark else 'light'}.png"
                    picture.quantize(_COLOURS, method=Image.Quantize.MAXCOVERAGE).save(target, optimize=True)
                    pictures.append(target)
    return pictures


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/screenshots"), help="the folder of the pictures")
    parser.add_argument("--runs", type=Path, help="the folder of the runs; one that is removed where not given")
    arguments = parser.parse_args(argv)
    path = program()
    if path is None:
        print("There is no Chromium here; install it, on Debian with: apt-get install chromium")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        for picture in take(arguments.runs or Path(folder) / "runs", arguments.out, path):
            print(picture)
    return 0
