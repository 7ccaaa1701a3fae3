"""The README and the docs: every command and every block does what it shows, in a folder that is empty at first."""

import importlib
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.documents import (
    DOCUMENTS,
    TINY,
    Block,
    DocumentError,
    Page,
    after,
    blocks_of,
    check_command,
    in_process,
    is_key,
)

NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


def blocks(name: str) -> list[Block]:
    return blocks_of(name, (ROOT / name).read_text(encoding="utf-8"))


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """An empty folder, whose modules are forgotten afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "200")
    before = set(sys.modules)
    yield Page(tmp_path)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def take_all(page: Page, text: str) -> None:
    for block in blocks_of("page.md", text):
        page.take(block)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_does_what_it_shows(name: str, page: Page) -> None:
    for block in blocks(name):
        page.take(block)
    shown = [block for block in blocks(name) if block.language != "text"]
    assert page.ran + page.checked >= len(shown)


def test_pages_have_something_to_execute() -> None:
    commands = [
        command
        for name in NAMES
        for block in blocks(name)
        for command in (block.commands if block.language in {"console", "bash"} else ())
    ]
    assert len(commands) > 40
    assert len([block for name in NAMES for block in blocks(name) if block.language == "python"]) > 10


@pytest.mark.parametrize("name", [*NAMES, "CONTRIBUTING.md"])
def test_commands_and_keys_within_sentences_exist(name: str) -> None:
    full = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```", "", full, flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`([^`\n]+)`", text):
        if re.match(r"(fedkd|make|pip install|python scripts/\S+|flwr run|ray start)( |$)", code) and code != "fedkd":
            check_command(shlex.split(code), name)
        section = r"(?:data|clients|student|strategy|distillation|communication|privacy|engine)\.[a-z_.]+"
        if (key := re.match(rf"({section})(=|$)", code)) is not None and not code.endswith(".csv"):
            own = key[1].rpartition(".")[2]
            assert is_key(key[1]) or re.search(rf"^    {own}: ", full, re.MULTILINE), f"{name}: {code}"


@pytest.mark.parametrize("name", [*NAMES, "CONTRIBUTING.md"])
def test_links_lead_somewhere(name: str) -> None:
    source = ROOT / name
    for link in re.findall(r"\]\(([^)\s]+)\)", source.read_text(encoding="utf-8")):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = source.parent / path if path else source
        assert target.exists(), f"{name}: {link}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, link


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```\nfedkd run quickstart\n```\n", "the language must be one of"),
        ("```sh\nfedkd run quickstart\n```\n", "the language must be one of"),
        ("```text\nfedkd run quickstart\n```\n", "commands stand in console"),
        ("Text:\n\n    fedkd run quickstart\n", "fences of its own"),
        ("<!-- test: tiny -->\n\n```console\nfedkd doctor\n```\n", "belongs to no block"),
        ("<!-- test: only checked -->\n```console\nfedkd doctor\n```\n", "says why"),
        ("```console\nfedkd doctor\n", "ends within a block"),
    ],
)
def test_code_that_no_test_would_run_is_refused(text: str, problem: str) -> None:
    with pytest.raises(DocumentError, match=problem):
        blocks_of("page.md", text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```console\nfedkd run quickstrat\n```\n", "no such file"),
        ("<!-- test: tiny -->\n```console\nfedkd run quickstart strategy.fodls=3\n```\n", "did you mean 'folds'"),
        ("```console\nfedkd list teachers\n```\n", "teachers"),
        ("```bash\nfalse\n```\n", "false"),
        ("```python\nfrom fedkd.config.load import load_config\n```\n", "deeper than the front"),
        ("<!-- test: replace DIR by x -->\n```console\nfedkd doctor\n```\n", "no 'DIR' to replace"),
        ("```console\nfedkd list codecs\n```\n\n<!-- test: output -->\n```text\nanother\n```\n", "the commands above"),
    ],
)
def test_a_page_that_does_not_work_fails(text: str, problem: str, page: Page) -> None:
    with pytest.raises(DocumentError, match=problem):
        take_all(page, text)


def test_python_that_fails_fails(page: Page) -> None:
    text = "```python\ndef test_nothing():\n    assert False\n```\n"
    with pytest.raises(AssertionError):
        page.take(blocks_of("page.md", text)[0])


@pytest.mark.parametrize(
    "command",
    [
        "fedkd rnu quickstart",
        "fedkd run quickstart --ouput x",
        "fedkd run quickstart clients.cuont=3",
        "fedkd run absent",
        "fedkd list teachers",
        "make nothing",
        "python scripts/absent.py",
        "python scripts/figure2.py --trails 3",
        "python scripts/lambda_study.py --preset huge",
        "flower-superlink --secure",
        "frobnicate",
    ],
)
def test_commands_that_are_only_checked_can_fail(command: str) -> None:
    with pytest.raises(DocumentError):
        check_command(shlex.split(command), "page.md")


def test_small_sizes_leave_what_a_command_says() -> None:
    words = shlex.split("fedkd sweep quickstart --grid data.public={size: 9} --seeds 0 rounds=4")
    words[4:6] = ["data.public={size: 9}"]
    changed = after(words, ["tiny", "clients.count=2"], overrides=True)
    assert not {"rounds=1", "data.public.size=60", "clients.count=3"} & set(changed)
    assert {"clients.count=2", "distillation.steps=3"} <= set(changed) <= {*TINY, "clients.count=2"}


def test_the_readmes_strategy_is_short_and_its_option_counts(page: Page) -> None:
    (block,) = [each for each in blocks("README.md") if each.text.startswith("# strategies/my_teacher.py")]
    assert len(block.text.splitlines()) < 30
    (page.folder / "my_mod.py").write_text(block.text, encoding="utf-8")
    digests = set()
    for power in (0, 8):
        words = ["run", "quickstart", "strategy.name=my_mod:MyTeacher", f"strategy.power={power}", *TINY]
        out = page.folder / f"out{power}"
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(page.folder)
            in_process([*words, "--out", str(out)], "README.md")
            with pytest.raises(DocumentError, match="did you mean 'power'"):
                in_process([*words, "strategy.powr=4", "--out", str(page.folder / "other")], "README.md")
        digests.update(re.findall(r'"student_sha256": "(\w+)"', (out / "summary.json").read_text(encoding="utf-8")))
    assert len(digests) == 2


def test_the_journey_of_a_logit_leads_through_what_is_there() -> None:
    steps = re.findall(r"^\| \d+ \| `([\w.]+):([\w.]+)` \|", ARCHITECTURE, re.MULTILINE)
    assert len(steps) == 10
    for module, name in steps:
        found: object = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        assert callable(found)


def test_the_layers_are_those_that_are_checked() -> None:
    """One contract orders fedkd's packages, another puts the plug-in files between two of them."""
    shown = re.findall(r"^```text\n(app\n.*?)\n```", ARCHITECTURE, re.MULTILINE | re.DOTALL)[0].split("\n")
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    packages, plugins = (each["layers"] for each in contracts if each["type"] == "layers")
    plugins = [line.replace("fedkd.", "") for line in plugins]
    assert packages == [line for line in shown if line in packages]
    assert plugins == [line for line in shown if line in plugins]
    assert set(shown) == {*packages, *plugins}
