"""Pages in a browser: on a wide screen and on a phone, light, dark and printed."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pages.browser import Browser, browser, program

from fedkd.results.report.comparison import write_comparison
from fedkd.results.report.run_page import write_report
from tests.support.changed_runs import make_agree
from tests.support.drawn_figures import figures_drawn

SCREENS = [(width, dark) for width in (1280, 390) for dark in (False, True)]
OUTSIDE = """
[...document.querySelectorAll("body *")].filter(
  (each) => !each.closest(".wide, pre") && each.getBoundingClientRect().right > innerWidth + 0.5
).map((each) => each.outerHTML.slice(0, 80))
"""
PICTURES = """
(async () => {
  const whole = async (image, tries = 20) => {
    try {
      await image.decode()
    } catch (error) {
      // Another of its pictures is being put in its place.
      if (tries == 0) throw error
      await new Promise((go) => setTimeout(go, 100))
      await whole(image, tries - 1)
    }
  }
  await Promise.all([...document.images].map((each) => whole(each)))
  return [...document.images].map((each) => ({ width: each.naturalWidth, shown: each.currentSrc.slice(-400) }))
})()
"""
MARK = """
[...document.querySelectorAll("table")].find((each) => each.rows[0].cells[1].textContent == "student").id = "marked"
"""
COLUMN = "[...document.querySelectorAll('#marked tbody tr')].map((row) => row.cells[1].textContent)"


@pytest.fixture(scope="module")
def pages(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report, and a comparison of three groups with two seeds each, without the same results."""
    folder = tmp_path_factory.mktemp("pages")
    for number, (strategy, seed) in enumerate((name, seed) for name in ("a", "b", "c") for seed in (0, 1)):
        run = Path(shutil.copytree(finished, folder / "runs" / f"{strategy}{seed}"))
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")) | {"seed": seed}
        config["strategy"] = {"name": strategy}
        (run / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        rounds = [json.loads(line) for line in (run / "rounds.jsonl").read_text(encoding="utf-8").splitlines()]
        rounds[-1]["student_accuracy"] = (0.81, 0.82, 0.69, 0.7, 0.9, 0.88)[number]
        (run / "rounds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rounds), encoding="utf-8")
        make_agree(run, student_accuracy=rounds[-1]["student_accuracy"], bytes_up=1_000_000 * (number + 1))
    report = Path(shutil.copytree(finished, folder / "run"))
    with figures_drawn():
        return {
            "report": write_report(report),
            "comparison": write_comparison([folder / "runs"], folder / "comparison.html"),
        }


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = program()
    if path is None:
        pytest.skip("there is no Chromium to look at pages with; on Debian: apt-get install chromium")
    with browser(path) as found:
        yield found


@pytest.mark.parametrize("name", ["report", "comparison"])
def test_every_figure_is_there_and_nothing_leaves_the_screen(
    name: str, pages: dict[str, Path], chromium: Browser
) -> None:
    shown = {}
    for width, dark in SCREENS:
        chromium.show(pages[name], width=width, dark=dark)
        assert chromium.faults == []
        assert chromium.evaluate("document.documentElement.scrollWidth") == width
        assert chromium.evaluate(OUTSIDE) == []
        pictures = chromium.evaluate(PICTURES)
        assert len(pictures) >= 3
        assert all(picture["width"] > 300 for picture in pictures)
        shown[width, dark] = [picture["shown"] for picture in pictures]
        ground = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(22, 24, 28)" if dark else "rgb(255, 255, 255)")
    for same in zip(*shown.values(), strict=True):
        assert len(set(same)) == len(SCREENS), "every figure is made for every screen"


def test_a_click_on_a_heading_sorts(pages: dict[str, Path], chromium: Browser) -> None:
    chromium.show(pages["comparison"], width=1280, dark=False)
    chromium.evaluate(MARK)
    click = "document.querySelectorAll('#marked th button')[1].click()"
    heading = "document.querySelectorAll('#marked th')[1].ariaSort"
    assert [float(text[:4]) for text in chromium.evaluate(COLUMN)] == [81.5, 69.5, 89.0]
    for expected, order in (([69.5, 81.5, 89.0], "ascending"), ([89.0, 81.5, 69.5], "descending")):
        chromium.evaluate(click)
        assert [float(text[:4]) for text in chromium.evaluate(COLUMN)] == expected
        assert chromium.evaluate(heading) == order
    assert chromium.faults == []


def test_on_paper_a_page_is_light_and_wide(pages: dict[str, Path], chromium: Browser) -> None:
    chromium.show(pages["report"], width=1280, dark=False)
    usual = chromium.evaluate(PICTURES)
    chromium.show(pages["report"], width=390, dark=True)
    scheme = {"name": "prefers-color-scheme", "value": "dark"}
    chromium.ask("Emulation.setEmulatedMedia", media="print", features=[scheme])
    assert chromium.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert chromium.evaluate(PICTURES) == usual
    assert chromium.pdf().startswith(b"%PDF")
