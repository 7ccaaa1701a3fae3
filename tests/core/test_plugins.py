"""Plug-ins are found by file name or by module:Class, and take their class's fields as options."""

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedkd.core import plugin_files, plugins
from fedkd.core.errors import PluginError
from tests.support import ROOT

OUTSIDE = """
from dataclasses import dataclass, field
from fedkd.aggregation import LogitAggregator, Teacher

@dataclass
class First(LogitAggregator):
    power: float = 1.0
    notes: dict[str, int] = field(default_factory=dict)
    def __post_init__(self):
        if self.power > 9:
            raise ValueError(f"power must be at most 9, got {self.power}; lower it")
    def aggregate(self, stack):
        return Teacher.from_probabilities(stack.probabilities.mean(0) ** self.power)
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "outside_plugin.py").write_text(OUTSIDE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.delitem(sys.modules, "outside_plugin", raising=False)
    return "outside_plugin:First"


@pytest.mark.parametrize("kind", plugins.KINDS, ids=lambda kind: kind.plural)
def test_every_kind_offers_names_that_resolve_and_say_what_they_are(kind: plugins.PluginKind) -> None:
    names = plugins.names(kind)
    assert names
    for name in names:
        cls = plugins.resolve(kind, name)
        assert issubclass(cls, kind.base_class())
        assert cls.__doc__
        assert not cls.__doc__.startswith(f"{cls.__name__}(")


def test_a_class_in_the_working_directory_is_found(outside: str) -> None:
    built = plugins.build(plugins.STRATEGY, outside, {"power": 2})
    assert built.power == 2.0


def test_a_default_that_is_made_anew_is_not_shared(outside: str) -> None:
    first, second = plugins.build(plugins.STRATEGY, outside), plugins.build(plugins.STRATEGY, outside)
    first.notes["seen"] = 1
    assert second.notes == {}
    assert plugins.build(plugins.STRATEGY, outside, {"notes": {"seen": 2}}).notes == {"seen": 2}


def test_a_rule_of_the_class_is_reported_with_the_other_faults(outside: str) -> None:
    assert plugins.check(plugins.STRATEGY, outside, {"power": 10}) == ["power must be at most 9, got 10.0; lower it"]
    assert len(plugins.check(plugins.STRATEGY, outside, {"power": "x", "pwer": 1})) == 2


@pytest.mark.parametrize("name", ["", "_base", "no such", "../x", "stacked.py", "a\0b", "x" * 5000, "\x1b[31m"])
def test_names_that_stand_for_nothing_are_refused(outside: str, name: str) -> None:
    for kind in (plugins.STRATEGY, plugins.MODEL):
        with pytest.raises(PluginError) as refusal:
            plugins.resolve(kind, name)
        assert str(refusal.value).isprintable()
        assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (":", "is written module:Class"),
        (":First", "is written module:Class"),
        ("outside_plugin:", "is written module:Class"),
        ("../../x:Y", "is written module:Class"),
        ("..x:Y", "is written module:Class"),
        ("a\0b:Y", "is written module:Class"),
        ("a:b:c", "is written module:Class"),
        ("outside_plugin:Nothing", "Nothing must be a subclass of LogitAggregator in outside_plugin"),
        ("outside_plugin:Frist", "did you mean 'First'?"),
        ("outside_plugin:made", "made must be a subclass of LogitAggregator"),
        ("outside_plugin:Base", "Base lacks aggregate(self, stack: ReportStack) -> Teacher; write what is missing"),
        ("os:path", "path must be a subclass of LogitAggregator in os; name one, or derive it from that class"),
        ("outside_plugin.below:Y", "cannot import 'outside_plugin.below'"),
        ("absent:Y", "run from its folder, install it"),
    ],
)
def test_a_name_that_leads_to_no_class_is_refused_with_a_remedy(outside: str, name: str, words: str) -> None:
    Path("outside_plugin.py").write_text(OUTSIDE + "\ndef made(): ...\nclass Base(LogitAggregator): ...\n")
    with pytest.raises(PluginError, match=re.escape(words)):
        plugins.resolve(plugins.STRATEGY, name)


@pytest.mark.parametrize(
    ("power", "body", "line"),
    [
        ("power: float = 1.0", "import sys; sys.exit(0)", 10),
        ("power: float = 1.0", "os.getcwd()", 10),
        ("power: float = field(default_factory=lambda: 1 / 0)", "pass", 7),
        ("power: float = field(default_factory=lambda: exit(0))", "pass", 7),
    ],
)
def test_a_class_that_cannot_be_made_is_told_with_its_line(outside: str, power: str, body: str, line: int) -> None:
    source = OUTSIDE.replace("power: float = 1.0", power).replace("if self.power > 9:", f"{body}\n        if False:")
    Path("outside_plugin.py").write_text(source)
    (problem,) = plugins.check(plugins.STRATEGY, outside, {})
    assert f"{Path.cwd() / 'outside_plugin.py'}, line {line}: " in problem
    with pytest.raises(PluginError, match=f"line {line}"):
        plugins.build(plugins.STRATEGY, outside)


MINE = OUTSIDE.replace("First", "Mine")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a ``strategies/`` of the user's."""
    (tmp_path / "strategies").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    return tmp_path / "strategies"


def test_a_file_in_a_folder_of_ones_own_is_a_strategy_among_the_shipped_ones(folder: Path) -> None:
    (folder / "mine.py").write_text(MINE)
    assert plugins.build(plugins.STRATEGY, "mine", {"power": 3}).power == 3.0
    assert {"mine", "stacked"} < set(plugins.names(plugins.STRATEGY))
    with pytest.raises(PluginError, match="did you mean 'mine'"):
        plugins.resolve(plugins.STRATEGY, "mime")


def test_another_working_directory_has_other_strategies(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "mine.py").write_text(MINE)
    first = plugins.resolve(plugins.STRATEGY, "mine")
    (tmp_path / "elsewhere/strategies").mkdir(parents=True)
    (tmp_path / "elsewhere/strategies/mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert plugins.resolve(plugins.STRATEGY, "mine") is not first
    monkeypatch.chdir("/")
    with pytest.raises(PluginError, match="unknown strategy 'mine'"):
        plugins.resolve(plugins.STRATEGY, "mine")


def test_a_file_hides_the_shipped_one_of_its_name_and_no_other(folder: Path) -> None:
    shipped = plugins.resolve(plugins.STRATEGY, "median")
    assert plugins.hidden(plugins.STRATEGY, "median") is None
    (folder / "median.py").write_text(MINE)
    assert plugins.resolve(plugins.STRATEGY, "median").__name__ == "Mine"
    assert plugins.resolve(plugins.STRATEGY, "trimmed_mean").__name__ == "TrimmedMean"
    assert plugins.hidden(plugins.STRATEGY, "median") == (
        folder / "median.py",
        plugin_files.SHIPPED / "strategies/median.py",
    )
    (folder / "median.py").unlink()
    assert plugins.resolve(plugins.STRATEGY, "median") is shipped


def test_a_file_may_have_a_helper_beside_it_and_modules_of_the_working_directory(folder: Path) -> None:
    (folder / "_powers.py").write_text("POWER = 2.0")
    (folder.parent / "my_numbers.py").write_text("NUMBER = 4.0")
    imports = "from ._powers import POWER\nfrom my_numbers import NUMBER\n"
    (folder / "mine.py").write_text(imports + MINE.replace("power: float = 1.0", "power: float = POWER * NUMBER"))
    assert plugins.build(plugins.STRATEGY, "mine").power == 8.0


def test_a_loaded_plug_in_is_pickled_by_its_place(folder: Path) -> None:
    (folder / "mine.py").write_text(MINE)
    built = [plugins.build(plugins.STRATEGY, "mine", {"power": 5}), plugins.build(plugins.STRATEGY, "krum")]
    (folder.parent / "pickled").write_bytes(pickle.dumps(built))
    # A process that has loaded nothing yet, in another folder.
    code = f"import pickle; print(pickle.load(open({str(folder.parent / 'pickled')!r}, 'rb')))"
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd="/", env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[Mine(power=5.0, notes={}), Krum(malicious=1)]"


BROKEN: dict[str, tuple[str | bytes, str]] = {
    "unparsed": ("import fedkd\n\nclass Mine(fedkd.X)\n    pass\n", "line 3: SyntaxError"),
    "unimportable": (
        "from fedkd import LogitAggregator\nimport absent_module\nclass Mine(LogitAggregator): ...",
        "line 2",
    ),
    "quitting": ("import fedkd, sys\n\nsys.exit(3)\nclass Mine(fedkd.X): ...", "line 3: SystemExit: 3"),
    "raising": (
        "from fedkd import LogitAggregator\nclass Mine(LogitAggregator):\n    x = 1 / 0",
        "line 3: ZeroDivisionError",
    ),
    "abstract": ("from fedkd import LogitAggregator\nclass Mine(LogitAggregator): ...", "Mine without aggregate"),
    "double": (MINE + MINE.replace("Mine", "Yours"), "got Mine and Yours"),
    "undecodable": (b"import fedkd\n\nx = '\xff'\n", "SyntaxError"),
}
"""What is wrong with a file, and words of the message."""


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_breaks_no_other_name_and_is_named_with_its_line(folder: Path, case: str) -> None:
    source, word = BROKEN[case]
    path = folder / "mine.py"
    path.write_bytes(source if isinstance(source, bytes) else source.encode())
    with pytest.raises(PluginError) as refusal:
        plugins.resolve(plugins.STRATEGY, "mine")
    for expected in ("'mine'", str(path), word):
        assert expected in str(refusal.value)
    found = plugins.classes(plugins.STRATEGY)
    assert str(found["mine"]) == str(refusal.value)
    assert [name for name, each in found.items() if isinstance(each, PluginError)] == ["mine"]
    assert plugins.check(plugins.STRATEGY, "mine", {}) == [f"name: {refusal.value}"]
    # Once it is mended, it works.
    path.write_text(MINE.replace("1.0", "7.0"))
    assert case in {"abstract", "double"} or plugins.build(plugins.STRATEGY, "mine").power == 7.0


@pytest.mark.parametrize(
    "source",
    [
        "raise RuntimeError('this file is not about federated distillation')",
        "import fedkd\nraise RuntimeError('a script of mine')",
        "this is no Python",
        "import fedkd\nclass Plain: ...\nraise RuntimeError('derives from nothing')",
    ],
)
def test_a_file_that_cannot_hold_a_plug_in_is_neither_run_nor_listed(folder: Path, source: str) -> None:
    for name in ("mine", "median", "__init__"):
        (folder / f"{name}.py").write_text(source)
    assert "mine" not in plugins.names(plugins.STRATEGY)
    assert plugins.resolve(plugins.STRATEGY, "median").__name__ == "Median"
    with pytest.raises(PluginError, match=r"unknown strategy 'mine'; .*strategies/mine\.py defines no subclass of"):
        plugins.resolve(plugins.STRATEGY, "mine")


def test_a_class_of_another_kind_is_none_of_this_one(folder: Path) -> None:
    source = "from fedkd import GradientGeometry\nclass Mine(dict): ...\n"
    (folder / "mine.py").write_text(source)
    (folder / "median.py").write_text(source)
    found = plugins.classes(plugins.STRATEGY)
    assert "mine" not in found
    assert found["median"] is plugins.resolve(plugins.STRATEGY, "median")
    assert plugins.hidden(plugins.STRATEGY, "median") is None


def test_what_a_class_does_wrong_with_its_options_is_reported_with_its_line(folder: Path) -> None:
    (folder / "mine.py").write_text(MINE.replace("if self.power > 9", "if self.power.real.nothing > 9"))
    (problem,) = plugins.check(plugins.STRATEGY, "mine", {})
    assert "Mine cannot be made" in problem
    assert f"{folder / 'mine.py'}, line 10: AttributeError" in problem
    (folder / "other.py").write_text(MINE.replace("power: float", "power: 'Absent'"))
    (problem,) = plugins.check(plugins.STRATEGY, "other", {})
    assert "NameError" in problem
    assert str(folder / "other.py") in problem


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise SystemExit(2)", ["line 1: SystemExit: 2", "mend the file"]),
        ("import absent_module", ["line 1: ModuleNotFoundError", "absent_module"]),
        ("from fedkd import LogitAggregator\nclass First(LogitAggregator): ...", ["First lacks aggregate"]),
    ],
)
def test_a_module_of_ones_own_that_fails_is_named_with_its_line(
    tmp_path: Path, outside: str, source: str, words: list[str]
) -> None:
    (tmp_path / "outside_plugin.py").write_text(source)
    with pytest.raises(PluginError) as refusal:
        plugins.resolve(plugins.STRATEGY, outside)
    for word in words:
        assert word in str(refusal.value)
    assert "lacks" in words[0] or str(tmp_path / "outside_plugin.py") in str(refusal.value)


def test_a_worker_looks_where_its_user_works(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "mine.py").write_text(MINE)
    monkeypatch.chdir("/")
    monkeypatch.setenv(plugin_files.WORKING_FOLDER, str(tmp_path))
    assert plugins.resolve(plugins.STRATEGY, "mine").__name__ == "Mine"
    monkeypatch.setenv(plugin_files.WORKING_FOLDER, str(tmp_path / "removed"))
    with pytest.raises(PluginError, match="unknown strategy"):
        plugins.resolve(plugins.STRATEGY, "mine")
