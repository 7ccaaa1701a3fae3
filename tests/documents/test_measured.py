"""What the pages show as measured is what is in docs/results."""

import pytest
from site_pages.measured import PAGES, written

from tests.support import ROOT


@pytest.mark.parametrize("name", PAGES)
def test_the_tables_are_those_of_the_results(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "<!-- measured: " in text
    assert written(text) == text, "python scripts/write_measured.py writes them"


def test_a_figure_that_was_changed_by_hand_is_put_right() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "| student | 85.3 ± 0.6 |" in text
    assert written(text.replace("| student | 85.3 ± 0.6 |", "| student | 95.3 ± 0.6 |")) == text
