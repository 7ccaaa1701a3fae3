"""Every key of every configuration, and every option of every plug-in, with values that may not fit it."""

import copy
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from fedkd.config.describe import describe_keys
from fedkd.config.load import load_config, to_mapping
from fedkd.config.plugin_sections import PLUGIN_SECTIONS
from fedkd.config.shipped import config_path
from fedkd.core import plugins
from fedkd.core.errors import ConfigError, PluginError
from fuzzing import command, tiny
from fuzzing.meaning import means, read
from fuzzing.oracle import digest_of, judge_run, snapshot
from fuzzing.outcome import Case, NonsenseError, shortened
from fuzzing.values import EVERYTHING, near

OUT = "out"
APART = 400
"""One of so many cases is tried in a process of its own, and one of ``AGAIN`` is run again from what it resolved to."""
AGAIN = 8
APART_SECONDS = 60.0

_COMPANIONS: Mapping[str, Mapping[str, Any]] = {
    "clients.attackers.behaviour": {"clients.attackers.share": 0.4},
    "data.public.dataset": {"data.public.labelled": 0, "data.public.pseudo_labels": True},
    "clients.rule=parameters": {"student.rule": "average"},
    "clients.rule=prototypes": {"student.rule": "label_means"},
    "clients.rule=label_logits": {"student.rule": "label_means"},
    "clients.rule=features": {"student.rule": {"name": "features", "epochs": 1}},
    "student.rule=average": {"clients.rule": "parameters"},
    "student.rule=average_and_distil": {"clients.rule": "parameters"},
    "student.rule=label_means": {"clients.rule": "prototypes"},
    "student.rule=features": {"clients.rule": "features"},
    "privacy.mechanism=distributed_skellam": {"privacy.secure_aggregation": {}, "strategy": "mean_logits"},
}
"""What else must be set for a plug-in, of a place or of a name there, to be of use."""


@dataclass(frozen=True)
class Target:
    """A key of a small configuration: that of the shipped one of that name, with changes."""

    config: str
    path: str
    changes: Mapping[str, Any] = field(default_factory=dict)

    def base(self) -> dict[str, Any]:
        mapping = tiny.shrunk(self.config)
        for path, value in self.changes.items():
            tiny.put(mapping, path, copy.deepcopy(value))
        return mapping

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """The configuration without a value for the key; nothing where it needs one."""
        try:
            return to_mapping(load_config(self.base()))
        except ConfigError:
            return {}


@cache
def targets() -> tuple[Target, ...]:
    """Every key of every shipped file, of the schema, and of every plug-in's options."""
    return (*_shipped(), *_schema(), *_options())


def _shipped() -> Iterator[Target]:
    for name in tiny.names():
        raw = read(config_path(name).read_text(encoding="utf-8"))
        for path, _ in tiny.leaves({key: value for key, value in raw.items() if key not in {"reference", "extends"}}):
            yield Target(name, path)


def _schema() -> Iterator[Target]:
    for key in describe_keys():
        yield Target("quickstart", key.path)
    sections = {key.path.rpartition(".")[0] for key in describe_keys()}
    yield from (Target("quickstart", section) for section in sorted(sections - {""}))


def _options() -> Iterator[Target]:
    for path, kind in PLUGIN_SECTIONS:
        if path in {"clients.models", "privacy.audit.attacks"}:  # lists, which no dotted path leads into
            continue
        for name, cls in plugins.classes(kind).items():
            if isinstance(cls, PluginError):
                continue
            changes = {**_COMPANIONS.get(path, {}), **_COMPANIONS.get(f"{path}={name}", {}), path: {"name": name}}
            for option in plugins.options_of(cls):
                yield Target("quickstart", f"{path}.{option.name}", changes)


def _choices(target: Target) -> Iterator[Any]:
    """What may be written at a target: what is nasty anywhere, and what is near to what is right there."""
    yield from EVERYTHING
    yield from near(tiny.at(target.base(), target.path))
    kinds = [kind for path, kind in PLUGIN_SECTIONS if path == target.path.removesuffix(".name")]
    for kind in kinds:
        yield from plugins.names(kind)


def case(seed: int, number: int) -> Case:
    """A key and a value, by file or by override."""
    draw = random.Random(f"configurations {seed} {number}")
    target = draw.choice(targets())
    value = draw.choice([*_choices(target)])
    by_file, apart, again = draw.random() < 0.5, draw.randrange(APART) == 0, draw.randrange(AGAIN) == 0
    title = f"{target.config}: {target.path}={shortened(value)} ({'file' if by_file else 'override'})"
    return Case(title, partial(_attempt, target, value, by_file=by_file, apart=apart, again=again))


def _attempt(target: Target, value: Any, folder: Path, *, by_file: bool, apart: bool, again: bool) -> bool:
    base = target.base()
    if target.path == "engine" and isinstance(value, dict):
        value = {"kind": "inline", **value}  # without it, Ray would be started
    changes = []
    if by_file:
        tiny.put(base, target.path, value)
    else:
        text = tiny.flow(value)
        apart = apart and "\0" not in text and len(text) < 10_000
        changes.append(f"{target.path}={text}")
    path = folder / "experiment.yaml"
    path.write_text(tiny.block(base), encoding="utf-8", errors="surrogatepass")
    before, out = snapshot(folder), folder / OUT
    arguments = ["run", str(path), *changes, "--out", str(out)]
    if apart:
        answer = command.call_apart(arguments, APART_SECONDS)
    else:
        answer = command.call(arguments, started=_begun(out) if asks_for_much(value) else None)
    if not judge_run(answer, folder, before, OUT, names=target.path.split(".")[0]):
        return False
    resolved = to_mapping(load_config(out / "config.yaml"))
    _check_meaning(target, value, resolved)
    if again and answer.status == 0:
        check_reproduced(folder)
    return True


def _begun(out: Path) -> Path:
    return out / "config.yaml"


def asks_for_much(value: Any) -> bool:
    """Whether the value may be a right one that takes a very long time."""
    try:
        return not isinstance(value, bool) and float(value) > 20
    except (TypeError, ValueError, OverflowError):
        return isinstance(value, int)


def check_reproduced(folder: Path) -> None:
    """Raise ``NonsenseError`` unless the resolved configuration of a finished run gives the same run again."""
    out, repeated = folder / OUT, folder / "again"
    answer = command.call(["run", str(out / "config.yaml"), "--out", str(repeated)])
    if answer.status != 0:
        raise NonsenseError(f"config.yaml does not run again: {shortened(answer.text, 300)}")
    for name in ("config.yaml", "rounds.jsonl", "clients.csv", "distillation.csv"):
        if (out / name).read_bytes() != (repeated / name).read_bytes():
            raise NonsenseError(f"{name} differs when config.yaml is run again")
    if digest_of(out) != digest_of(repeated):
        raise NonsenseError("another student when config.yaml is run again")


def _check_meaning(target: Target, value: Any, resolved: dict[str, Any]) -> None:
    found = tiny.at(resolved, target.path)
    if not means(value, found):
        raise NonsenseError(f"{target.path}: {shortened(value)} was taken for {shortened(found)}")
    inside = {target.path, target.path.removesuffix(".name")}
    for path, before in tiny.leaves(target.resolved):
        if not any(path == key or path.startswith(f"{key}.") or key.startswith(f"{path}.") for key in inside):
            after = tiny.at(resolved, path)
            if after != before:
                raise NonsenseError(f"{path}: {shortened(before)} became {shortened(after)} by way of {target.path}")
