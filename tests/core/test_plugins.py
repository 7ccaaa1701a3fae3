"""Plug-ins are found by file name or by module:Class, and take their class's fields as options."""

import sys
from pathlib import Path

import pytest

from fedkd.core import plugins
from fedkd.core.errors import PluginError

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
    built = plugins.build(plugins.STRATEGY, outside, {"power": "2"})
    assert built.power == 2.0


def test_a_default_that_is_made_anew_is_not_shared(outside: str) -> None:
    first, second = plugins.build(plugins.STRATEGY, outside), plugins.build(plugins.STRATEGY, outside)
    first.notes["seen"] = 1
    assert second.notes == {}
    assert plugins.build(plugins.STRATEGY, outside, {"notes": {"seen": "2"}}).notes == {"seen": 2}


def test_a_rule_of_the_class_is_reported_with_the_other_faults(outside: str) -> None:
    assert plugins.check(plugins.STRATEGY, outside, {"power": 10}) == ["power must be at most 9, got 10.0; lower it"]
    assert len(plugins.check(plugins.STRATEGY, outside, {"power": "x", "pwer": 1})) == 2


@pytest.mark.parametrize("name", ["", "_base", "no such", "../x", "stacked.py", "outside_plugin:Nothing"])
def test_names_that_stand_for_nothing_are_refused(outside: str, name: str) -> None:
    with pytest.raises(PluginError):
        plugins.resolve(plugins.STRATEGY, name)
