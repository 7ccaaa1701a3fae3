"""What MkDocs asks of this project while it builds the site: pages that are made, and files that pages link to."""

import os.path
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from site_pages.gallery import gallery

ROOT = Path(__file__).resolve().parents[2]
FILES = "files"
"""Where the site has what pages link to in the rest of the checkout."""

_LINK = re.compile(r"\]\((\.\./[^)#]+)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the gallery."""
    files.append(File.generated(config, "gallery.md", content=gallery()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links out of docs/ lead to copies of the files; the README is the front page here."""
    folder = ROOT / "docs" / Path(page.file.src_uri).parent

    def there(link: re.Match[str]) -> str:
        path = (folder / link[1]).resolve()
        if path == ROOT / "README.md":
            return f"]({_relative(page, 'index.md')})"
        target = f"{FILES}/{path.relative_to(ROOT)}"
        if path.is_dir():
            return f"]({_relative(page, 'gallery.md')})"
        if files.get_file_from_path(target) is None:
            files.append(File.generated(config, target, abs_src_path=str(path)))
        return f"]({_relative(page, target)})"

    return _LINK.sub(there, markdown)


def _relative(page: Page, target: str) -> str:
    return os.path.relpath(target, Path(page.file.src_uri).parent).replace(os.sep, "/")
