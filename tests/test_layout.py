"""The layout of docs/architecture.md; import-linter holds the directions of imports, this holds the rest."""

import ast
import re
from pathlib import Path

import pytest

from fedkd.core import plugins
from tests.support import ROOT

PACKAGE = ROOT / "fedkd"
PLUGIN_FOLDERS = {
    "strategies": ROOT / "strategies",
    "behaviours": ROOT / "clients",
    "client-rules": ROOT / "clients/rules",
    "student-rules": ROOT / "strategies/rules",
    "balancers": PACKAGE / "distillation/balancers",
    "temperatures": PACKAGE / "distillation/temperatures",
    "losses": PACKAGE / "distillation/losses",
    "mechanisms": PACKAGE / "privacy/mechanisms",
    "codecs": PACKAGE / "core/codecs",
    "attacks": PACKAGE / "audit/attacks",
    "analyses": PACKAGE / "analysis/analyses",
    "datasets": PACKAGE / "data/datasets",
    "trackers": PACKAGE / "results/trackers",
    "transforms": PACKAGE / "data/transforms",
    "models": PACKAGE / "models",
}
NAMED_OTHERWISE = {"behaviours", "client-rules", "student-rules"}
"""Kinds whose folder has not the name of ``fedkd list``: what clients do lies in clients/, rules lie in rules/."""

ABOUT_SEVERAL = {
    "app": {"lazy_imports"},
    "audit": {"command"},
    "clients": {"behaviours", "rules"},
    "config": {"extends"},
    "core": {"memory"},
    "core/codecs": {"bytes_by_hand", "differences", "errors_and_sizes", "refusals"},
    "distillation/balancers": {"policies"},
    "distillation/losses": {"layers", "logits"},
    "engines/flower": {"easy_mistakes", "secure_grid"},
    "engines/ray": {"own_plugins", "start"},
    "models": {"architectures"},
    "privacy/secure_sum": {"protocol", "refusals", "secrecy"},
    "server": {"dishonest_client"},
    "strategies": {"noisy_strategies", "rules", "secure_sums", "strategies", "withstand"},
}
"""Tests, by folder, that are about several modules of the package they lie beside."""

WHOLE_RUNS = ("runs", "studies", "benchmarks", "fuzzing", "documents", "support")
"""Folders of tests that mirror no package: whole runs, scripts, documents."""


def test_the_architecture_page_names_every_entry_of_the_package() -> None:
    found = {
        path.name + ("/" if path.is_dir() else "")
        for path in PACKAGE.iterdir()
        if path.name not in {"__pycache__", "shipped"}
    }
    tree = re.search(r"```text\n(.*?)```", (ROOT / "docs/architecture.md").read_text(encoding="utf-8"), re.DOTALL)
    assert tree is not None, "docs/architecture.md must show the tree in a text block"
    named = {line.split()[0] for line in tree[1].splitlines() if line.startswith("  ") and not line.startswith("   ")}
    assert found - named == set(), (
        "give these a line in the tree of docs/architecture.md, and a layer in pyproject.toml"
    )
    assert named - found == set(), "docs/architecture.md names what is not there"
    assert len(found) <= 17, "fedkd/ must stay so short that its list tells the flow; put new parts into a package"


def test_folders_and_files_are_no_larger_than_one_can_overlook() -> None:
    plugin_folders = set(PLUGIN_FOLDERS.values())
    for folder in [PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir() and path.name != "__pycache__")]:
        count = len(list(folder.glob("*.py")))
        assert folder in plugin_folders or count <= 20, f"{folder} has {count} files; divide it"
    for root in (PACKAGE, ROOT / "strategies", ROOT / "clients"):
        for path in root.rglob("*.py"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= 400, f"{path} has {lines} lines; one idea a file"


@pytest.mark.parametrize("kind", plugins.KINDS, ids=lambda kind: kind.plural)
def test_a_plug_in_folder_holds_nothing_but_plug_ins(kind: plugins.PluginKind) -> None:
    folder = PLUGIN_FOLDERS[kind.plural]
    assert folder.name == kind.plural or kind.plural in NAMED_OTHERWISE, "the folder's name is the word of fedkd list"
    public = {path.stem for path in folder.glob("*.py") if not path.name.startswith("_")}
    assert public == set(plugins.names(kind)), "a file beside plug-ins that is none begins with an underscore"
    if kind.plural != "models":
        body = ast.parse((folder / "__init__.py").read_text(encoding="utf-8")).body
        assert len(body) == 1, (
            f"{folder}/__init__.py holds its docstring alone; bases and tools stand beside the folder"
        )


def test_scripts_are_thin_and_nobody_depends_on_them() -> None:
    scripts = sorted((ROOT / "scripts").glob("*.py"))
    assert len(scripts) >= 8
    for path in scripts:
        assert not path.name.startswith("_"), f"{path}: what scripts share lies in a package below scripts/"
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 40, f"{path} has {lines} lines; put what it does into a package below scripts/"
    packages = {path.name for path in (ROOT / "scripts").iterdir() if path.is_dir()} | {"scripts"}
    for root in (PACKAGE, ROOT / "strategies", ROOT / "clients"):
        for path in root.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                assert not {name.partition(".")[0] for name in names} & packages, f"{path} imports from scripts/"


def test_every_test_lies_beside_what_it_tests() -> None:
    lost = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        folder = path.parent.relative_to(ROOT / "tests").as_posix()
        if folder == "." or folder.split("/")[0] in WHOLE_RUNS:
            continue
        name = path.stem.removeprefix("test_")
        home = ROOT / folder if folder.split("/")[0] in {"strategies", "clients"} else PACKAGE / folder
        beside = (home / f"{name}.py", home / f"_{name}.py", home / name / "__init__.py")
        if name not in ABOUT_SEVERAL.get(folder, set()) and not any(each.is_file() for each in beside):
            lost.append(f"{folder}/{path.name}")
    assert lost == [], "name them after a module of that package, or list them as being about several"


def test_what_is_listed_is_there() -> None:
    for folder, names in ABOUT_SEVERAL.items():
        for name in names:
            assert Path(ROOT / "tests" / folder / f"test_{name}.py").is_file(), f"tests/{folder}/test_{name}.py is gone"
