"""The site's gallery shows every shipped configuration, with the figures that are in docs/results."""

import json

from site_pages.gallery import gallery
from site_pages.results import interval

from tests.support import ROOT


def test_every_configuration_is_shown_with_its_command() -> None:
    page = gallery()
    configs = list((ROOT / "configs").rglob("*.yaml"))
    assert len(configs) > 40
    for path in configs:
        assert path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ") in page, path


def test_figures_are_those_of_the_results() -> None:
    page = gallery()
    rows = json.loads((ROOT / "docs/results/privacy_frontier.json").read_text(encoding="utf-8"))["rows"]
    for row in rows:
        accuracy, half = (100 * row[key] for key in ("student_accuracy", "student_accuracy_ci95"))
        assert f"Student {accuracy:.1f} ± {half:.1f} % over {len(row['seeds'])} seeds" in page, row["row"]
    for row in json.loads((ROOT / "docs/results/algorithms.json").read_text(encoding="utf-8"))["rows"]:
        if (student := row.get("student")) is not None and row["name"] != "stacked_codistillation":
            assert f"Student {interval(student)} % over " in page, row["name"]
