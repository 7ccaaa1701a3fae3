"""Building blocks of self-contained HTML pages. All text is escaped here; nothing refers outside the page."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

_STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --ground: #fff; --faint: #555; --line: #eee; --rule: #999;
        --block: #f6f6f6; --warning: #fff4d6; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dcdfe4; --ground: #16181c; --faint: #a2a8b1; --line: #2a2e35; --rule: #6b727d;
          --block: #20242a; --warning: #3a3013; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 62rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; }
th, td { padding: .25rem .9rem .25rem 0; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid var(--rule); font-weight: 600; } td { border-bottom: 1px solid var(--line); }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.notice { background: var(--warning); border-left: 4px solid #e69f00; padding: .5rem 1rem; }
img { max-width: 100%; height: auto; } figure { margin: 1.5rem 0; }
figcaption { color: var(--faint); font-size: .9rem; }
pre { background: var(--block); padding: 1rem; overflow-x: auto; font-size: .85rem; }
"""


def document(title: str, parts: Iterable[str]) -> str:
    """A whole page from its parts, which are HTML; empty ones are left out."""
    head = (
        f'<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n<title>{escape(title)}</title>'
    )
    body = "\n".join(part for part in parts if part)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n<style>{_STYLE}</style>\n</head>\n'
        f"<body>\n<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def encoded(text: str) -> bytes:
    """A page as it is written down: what is no text, as in the name of a folder, is spelt out."""
    return text.encode("utf-8", "backslashreplace")


def section(title: str, *parts: str) -> str:
    """A heading and what stands below it, which is HTML; nothing where all parts are empty."""
    body = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>" if body else ""


def subsection(title: str, *parts: str) -> str:
    """The same, below a section."""
    return "\n".join((f"<h3>{escape(title)}</h3>", *parts))


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def notice(text: str) -> str:
    """A paragraph that cannot be overlooked."""
    return f'<p class="notice">{escape(text)}</p>'


def preformatted(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int] = ()) -> str:
    """A table of texts; ``numbers`` are the columns to align on the right. An empty ``header`` gives none."""
    right = frozenset(numbers)

    def line(tag: str, cells: Sequence[str]) -> str:
        kinds = [' class="number"' if index in right else "" for index in range(len(cells))]
        inner = "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))
        return f"<tr>{inner}</tr>"

    top = f"<thead>{line('th', header)}</thead>" if header else ""
    body = "\n".join(line("td", row) for row in rows)
    return f'<div class="wide"><table>{top}<tbody>\n{body}\n</tbody></table></div>'


def picture(path: Path, caption: str) -> str:
    """A PNG file, held by the page itself."""
    return figure(path.read_bytes(), caption)


def figure(png: bytes, caption: str, *, dark: bytes | None = None) -> str:
    """A PNG, held by the page itself; ``dark`` stands in for it where the reader prefers a dark ground."""
    text = escape(caption)
    image = f'<img alt="{text}" src="{_embedded(png)}">'
    if dark is not None:
        other = f'<source media="(prefers-color-scheme: dark)" srcset="{_embedded(dark)}">'
        image = f"<picture>{other}{image}</picture>"
    return f"<figure>{image}<figcaption>{text}</figcaption></figure>"


def _embedded(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
