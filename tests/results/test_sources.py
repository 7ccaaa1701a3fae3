"""Which code a result was made with: whatever is edited makes another digest, or none that counts."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import ROOT

TOLD = """
import json, sys, time
from pathlib import Path
from fedkd.results.sources import sources
if sys.argv[1:]:
    import own_model
before = sources(frozenset(sys.argv[1:]))
told = {"digest": before.digest, "unchanged": before.unchanged}
changed = Path("strategies/median.py")
changed.write_text(changed.read_text() + "# edited\\n")
print(json.dumps(told | {"after an edit": before.unchanged}))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code, written some time ago."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("fedkd", "strategies", "clients"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "own_model.py").write_text("import own_helper\n", encoding="utf-8")
    (folder / "own_helper.py").write_text("WIDTH = 8\n", encoding="utf-8")
    return folder


def told(tree: Path, *packages: str, age: float = 3600.0) -> dict[str, object]:
    for path in tree.rglob("*.py"):
        os.utime(path, (time.time() - age,) * 2)
    done = subprocess.run(
        [sys.executable, "-c", TOLD, *packages],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_every_edit_makes_another_digest(tree: Path) -> None:
    seen = [told(tree)]  # which edits a strategy as it ends
    seen.append(told(tree))
    (tree / "fedkd/core/codecs/new.py").write_text("", encoding="utf-8")
    seen.append(told(tree))
    assert len({str(each["digest"]) for each in seen}) == 3
    assert all(each["unchanged"] for each in seen)
    assert not any(each["after an edit"] for each in seen)


def test_a_process_that_is_older_than_its_files_knows_nothing_of_what_it_has_loaded(tree: Path) -> None:
    assert not told(tree, age=-60.0)["unchanged"]


def test_what_a_model_of_the_users_own_imports_counts(tree: Path) -> None:
    shipped = tree / "strategies/median.py"
    content = shipped.read_bytes()
    seen = []
    for width in (8, 8, 9):
        (tree / "own_helper.py").write_text(f"WIDTH = {width}\n", encoding="utf-8")
        shipped.write_bytes(content)
        seen.append(told(tree, "own_model")["digest"])
    shipped.write_bytes(content)
    assert seen[0] == seen[1]
    assert len({*seen, told(tree)["digest"]}) == 3
