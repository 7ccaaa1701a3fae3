"""Pages as data, and as one HTML file each: nothing refers outside it, and no text becomes markup."""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fedkd.results.report.tables import Table

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATES = Path(__file__).with_name("templates")
_PIXELS_PER_INCH, _CSS_PIXELS_PER_INCH = 150, 96


@dataclass(frozen=True)
class Paragraph:
    """A sentence or more."""

    text: str
    kind: ClassVar[str] = "paragraph"


@dataclass(frozen=True)
class Notice:
    """A paragraph that cannot be overlooked."""

    text: str
    kind: ClassVar[str] = "notice"


@dataclass(frozen=True)
class Preformatted:
    """A text whose lines stay as they are."""

    text: str
    kind: ClassVar[str] = "preformatted"


@dataclass(frozen=True)
class Picture:
    """A PNG for a wide screen and paper, its caption, and others that stand in for it where a media query holds."""

    png: bytes
    caption: str
    others: tuple[tuple[str, bytes], ...] = ()
    kind: ClassVar[str] = "picture"

    @property
    def source(self) -> str:
        """The PNG as an address."""
        return _embedded(self.png)

    @property
    def sources(self) -> list[tuple[str, str]]:
        """The others as addresses."""
        return [(media, _embedded(png)) for media, png in self.others]

    @property
    def width(self) -> int:
        """In pixels of CSS, so that texts are of one size in all pictures."""
        return int.from_bytes(self.png[16:20]) * _CSS_PIXELS_PER_INCH // _PIXELS_PER_INCH


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it, which may be sections."""

    title: str
    parts: tuple["Block", ...]
    kind: ClassVar[str] = "section"


Block = Paragraph | Notice | Preformatted | Picture | Section | Table


def section(title: str, *parts: Block | None) -> Section | None:
    """A section of the parts that there are; None where there are none."""
    found = tuple(part for part in parts if part is not None)
    return Section(title, found) if found else None


def document(title: str, parts: Iterable[Block | None]) -> bytes:
    """The file of a page. What is no text, as in the name of a folder, is spelt out."""
    text = _template().render(title=title, parts=[part for part in parts if part is not None])
    return text.encode("utf-8", "backslashreplace")


@cache
def _template() -> "Template":
    # Of all that makes a run, only its report needs the library.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("page.css", "page.js"):
        text = (_TEMPLATES / name).read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        environment.globals[name.removeprefix("page.")] = {"text": text, "digest": digest}
    return environment.get_template("page.html")


def _embedded(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
