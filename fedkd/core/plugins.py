"""Plug-ins: the file is the registration.

``stacked`` means the one public subclass of the kind's base class in the file ``stacked.py`` of the kind's package;
``my_pkg.my_mod:MyClass`` means that class, from anywhere importable. Options are the class's own dataclass fields.
"""

import dataclasses
import difflib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from fedkd.core.errors import PluginError


@dataclasses.dataclass(frozen=True)
class PluginKind:
    """One family of plug-ins.

    ``package`` is where files are looked up, ``base`` (``module:Class``) is what they must subclass, ``plural`` is the
    word of ``fedkd list``.
    """

    noun: str
    plural: str
    package: str
    base: str

    def base_class(self) -> type:
        module, _, name = self.base.partition(":")
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


STRATEGY = PluginKind("strategy", "strategies", "strategies", "fedkd.aggregation.strategy:LogitAggregator")
BEHAVIOUR = PluginKind("client behaviour", "behaviours", "clients", "fedkd.client.behaviour:ClientBehaviour")
CLIENT_RULE = PluginKind("client rule", "client-rules", "clients.rules", "fedkd.client.rule:ClientRule")
STUDENT_RULE = PluginKind("student rule", "student-rules", "strategies.rules", "fedkd.server.student_rule:StudentRule")
BALANCER = PluginKind(
    "balancer", "balancers", "fedkd.distillation.balancers", "fedkd.distillation.balancer:LambdaBalancer"
)
MECHANISM = PluginKind("mechanism", "mechanisms", "fedkd.privacy.mechanisms", "fedkd.privacy.mechanism:LogitMechanism")
DATASET = PluginKind("data set", "datasets", "fedkd.data.datasets", "fedkd.data.source:DataSource")
MODEL = PluginKind("model", "models", "fedkd.models", "fedkd.models:Architecture")
TEMPERATURE = PluginKind(
    "temperature schedule",
    "temperatures",
    "fedkd.distillation.temperatures",
    "fedkd.distillation.temperature:TemperatureSchedule",
)
CODEC = PluginKind("codec", "codecs", "fedkd.core.codecs", "fedkd.core.coding:LogitCodec")
ATTACK = PluginKind("attack", "attacks", "fedkd.audit.attacks", "fedkd.audit.attack:Attack")
KINDS = (
    STRATEGY,
    BEHAVIOUR,
    CLIENT_RULE,
    STUDENT_RULE,
    BALANCER,
    MECHANISM,
    DATASET,
    MODEL,
    TEMPERATURE,
    CODEC,
    ATTACK,
)


def names(kind: PluginKind) -> list[str]:
    """The names that the kind's package offers, sorted: its public modules that define one subclass of the base."""
    package = importlib.import_module(kind.package)
    found = (module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))
    return sorted(name for name in found if _classes_in(kind, importlib.import_module(f"{kind.package}.{name}")))


def resolve(kind: PluginKind, name: str) -> type:
    """The class that ``name`` stands for.

    Raises ``PluginError`` when the name is unknown (with the nearest right one), when the file does not define exactly
    one subclass, or when ``module:Class`` cannot be imported or is no subclass.
    """
    if ":" in name:
        return _resolve_import(kind, name)
    if not name.isidentifier() or name.startswith("_") or not _has_module(kind, name):
        raise PluginError(f"unknown {kind.noun} {name!r}{_did_you_mean(name, names(kind))}")
    module = importlib.import_module(f"{kind.package}.{name}")
    classes = _classes_in(kind, module)
    if len(classes) != 1:
        raise PluginError(
            f"{kind.noun} {name!r}: {module.__file__} must define exactly one subclass of "
            f"{kind.base_class().__name__}, found {len(classes)}; name one as '{kind.package}.{name}:Class'"
        )
    return classes[0]


def options_of(cls: type) -> list[dataclasses.Field[Any]]:
    """The options a plug-in class takes: its dataclass's constructor fields (none when it is no dataclass)."""
    return [field for field in dataclasses.fields(cls) if field.init] if dataclasses.is_dataclass(cls) else []


def check(kind: PluginKind, name: str, options: Mapping[str, Any]) -> list[str]:
    """Everything wrong with a name and its options, as ``key: message`` lines relative to the plug-in's section."""
    try:
        cls = resolve(kind, name)
    except PluginError as error:
        return [f"name: {error}"]
    problems, _ = _validate(cls, options)
    return problems


def build(kind: PluginKind, name: str, options: Mapping[str, Any] | None = None) -> Any:
    """The plug-in called ``name`` with ``options``; raises ``PluginError`` listing every option that does not fit."""
    cls = resolve(kind, name)
    problems, values = _validate(cls, options or {})
    if problems:
        raise PluginError(f"{kind.noun} {name!r}: " + "; ".join(problems))
    try:
        return cls(**values)
    except ValueError as error:
        raise PluginError(f"{kind.noun} {name!r}: {error}") from error


def _validate(cls: type, options: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    fields = {field.name: field for field in options_of(cls)}
    problems = [
        f"{key}: unknown option of {cls.__name__}{_did_you_mean(key, list(fields))}"
        for key in options
        if key not in fields
    ]
    try:
        parsed = _model_of(cls)(**{key: value for key, value in options.items() if key in fields})
    except ValidationError as error:
        for fault in error.errors():
            path = ".".join(str(part) for part in fault["loc"])
            given = "" if fault["type"] == "missing" else f", got {fault['input']!r}"
            problems.append(f"{path}: {fault['msg']}{given}")
        return problems, {}
    values = {name: getattr(parsed, name) for name in fields}
    if not problems:
        try:
            cls(**values)
        except ValueError as error:
            problems.append(str(error))
    return problems, values


@cache
def _model_of(cls: type) -> type[BaseModel]:
    """What parses a class's options. Kept, for every client builds half a dozen plug-ins in every round."""
    hints = get_type_hints(cls, include_extras=True)
    schema: dict[str, Any] = {}
    for field in options_of(cls):
        if field.default is not dataclasses.MISSING:
            default: Any = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = Field(default_factory=field.default_factory)
        else:
            default = ...
        schema[field.name] = (hints[field.name], default)
    return create_model(cls.__name__, __config__=ConfigDict(arbitrary_types_allowed=True), **schema)


def _has_module(kind: PluginKind, name: str) -> bool:
    return importlib.util.find_spec(f"{kind.package}.{name}") is not None


def _classes_in(kind: PluginKind, module: Any) -> list[type]:
    base = kind.base_class()
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and not value.__name__.startswith("_")
        and not inspect.isabstract(value)
    ]


def _resolve_import(kind: PluginKind, name: str) -> type:
    module_name, _, class_name = name.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        # A console command does not look in the working directory, where people keep the file they are trying out.
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise PluginError(
            f"{kind.noun} {name!r}: cannot import {module_name!r} ({error}); "
            "run from its folder, install it, or put its folder on PYTHONPATH"
        ) from error
    cls = getattr(module, class_name, None)
    base = kind.base_class()
    if not (inspect.isclass(cls) and issubclass(cls, base)):
        raise PluginError(f"{kind.noun} {name!r}: {class_name} must be a subclass of {base.__name__} in {module_name}")
    return cls


def _did_you_mean(name: str, choices: list[str]) -> str:
    close = difflib.get_close_matches(name, choices, n=1)
    listing = ", ".join(choices) if choices else "none"
    return f"; did you mean {close[0]!r}?" + f" (choices: {listing})" if close else f"; choices: {listing}"
