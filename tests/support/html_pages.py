"""What an HTML page says, what it refers to, and what it lets a browser do."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """The text of a page, its tags, and whatever it refers to."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.policy = ""
        self.feed(source)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in {"meta", "img", "link", "source"}:
            self.open.append(tag)
        if ("http-equiv", "Content-Security-Policy") in attrs:
            self.policy = dict(attrs)["content"] or ""
        self.references += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "data", "action"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in {"script", "style"}:
            self.words.append(data)


def page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def assert_contained(path: Path) -> None:
    """Nothing lies outside the page, and a browser is told to obey its own style and script alone."""
    source, found = path.read_text(encoding="utf-8"), page(path)
    assert all(reference.startswith("data:image/png;base64,") for reference in found.references)
    assert not {"link", "iframe", "object"} & set(found.tags)
    assert "://" not in source
    assert "url(" not in source
    assert not found.open
    digests = {}
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
        digests[tag] = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert found.policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digests['style']}'; "
        f"script-src 'sha256-{digests['script']}'"
    )
