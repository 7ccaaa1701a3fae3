"""The pictures of pages in docs/screenshots/, and the script that takes them."""

from pathlib import Path

import pytest
from pages import screenshots
from pages.browser import program
from PIL import Image

from tests.support import ROOT

NAMES = {
    f"{page}_{width}_{ground}.png"
    for page in ("report", "comparison")
    for width in (1280, 390)
    for ground in ("light", "dark")
}


def test_the_pictures_are_there_and_small() -> None:
    found = list((ROOT / "docs/screenshots").iterdir())
    assert {path.name for path in found} == NAMES
    assert all(path.stat().st_size <= 100_000 for path in found)


def test_the_script_takes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = program()
    if path is None:
        pytest.skip("there is no Chromium to take pictures with; on Debian: apt-get install chromium")
    monkeypatch.setattr(screenshots, "GRID", {"strategy.name": ["median"]})
    monkeypatch.setattr(screenshots, "SEEDS", (0,))
    tiny = ("rounds=1", "clients.count=2", "controls=[]", "distillation.steps=3", "data.private_size=60")
    monkeypatch.setattr(screenshots, "CHANGES", ("engine.kind=inline", *tiny))
    taken = screenshots.take(tmp_path / "runs", tmp_path / "pictures", path)
    assert {picture.name for picture in taken} == NAMES
    for picture in taken:
        with Image.open(picture) as image:
            assert image.width == int(picture.name.split("_")[1])
