"""Plug-ins: the file is the registration.

``stacked`` means the one public subclass of the kind's base class in the file ``stacked.py``: of a folder where the
user works, then of the shipped one (``fedkd.core.plugin_files``); for kinds whose files are in fedkd, of their package.
``my_pkg.my_mod:MyClass`` means that class, from anywhere importable. Options are the class's own dataclass fields. Of
some kinds other things will do, of which a function makes such a class.
"""

import dataclasses
import importlib
import importlib.util
import inspect
import json
import pkgutil
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from fedkd.core import plugin_files
from fedkd.core.errors import PluginError, first_of
from fedkd.core.faults import described
from fedkd.core.files import is_file
from fedkd.core.wording import cut, explain, nearest, shown

_MODULES = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])")
"""What comes before the name of a class: ``pathlib.``."""


@dataclasses.dataclass(frozen=True)
class PluginKind:
    """One family of plug-ins.

    ``source`` is where files are looked up: a package of fedkd, or one of ``plugin_files.FOLDERS``. ``base``
    (``module:Class``) is what they must subclass, ``plural`` is the word of ``fedkd list``. ``adapter``
    (``module:function``) makes a subclass of what else ``module:name`` may stand for, which ``adapted`` says in words:
    it is given module, name and what is found there, and returns None where it makes nothing of it.
    """

    noun: str
    plural: str
    source: str
    base: str
    adapter: str = ""
    adapted: str = ""

    @property
    def by_path(self) -> bool:
        """Whether files are looked up in folders, of which the user may have some."""
        return self.source in plugin_files.FOLDERS

    def base_class(self) -> type:
        found: type = _found_at(self.base)
        return found

    def adapt(self, module: str, name: str, found: object) -> type | None:
        """The plug-in class that ``adapter`` makes of it, if it does."""
        made: type | None = _found_at(self.adapter)(module, name, found) if self.adapter else None
        return made


def _found_at(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


STRATEGY = PluginKind("strategy", "strategies", "strategies", "fedkd.aggregation.strategy:LogitAggregator")
BEHAVIOUR = PluginKind("client behaviour", "behaviours", "clients", "fedkd.client.behaviour:ClientBehaviour")
CLIENT_RULE = PluginKind("client rule", "client-rules", "clients/rules", "fedkd.client.rule:ClientRule")
STUDENT_RULE = PluginKind("student rule", "student-rules", "strategies/rules", "fedkd.server.student_rule:StudentRule")
BALANCER = PluginKind(
    "balancer", "balancers", "fedkd.distillation.balancers", "fedkd.distillation.balancer:LambdaBalancer"
)
MECHANISM = PluginKind("mechanism", "mechanisms", "fedkd.privacy.mechanisms", "fedkd.privacy.mechanism:LogitMechanism")
DATASET = PluginKind("data set", "datasets", "fedkd.data.datasets", "fedkd.data.source:DataSource")
TRANSFORM = PluginKind("transform", "transforms", "fedkd.data.transforms", "fedkd.data.transform:Transform")
MODEL = PluginKind(
    "model",
    "models",
    "fedkd.models",
    "fedkd.models:Architecture",
    "fedkd.models:architecture_of",
    "a subclass of torch.nn.Module or a function that returns a module",
)
TEMPERATURE = PluginKind(
    "temperature schedule",
    "temperatures",
    "fedkd.distillation.temperatures",
    "fedkd.distillation.temperature:TemperatureSchedule",
)
LOSS = PluginKind("loss", "losses", "fedkd.distillation.losses", "fedkd.distillation.loss:DistillationLoss")
CODEC = PluginKind("codec", "codecs", "fedkd.core.codecs", "fedkd.core.coding:LogitCodec")
ATTACK = PluginKind("attack", "attacks", "fedkd.audit.attacks", "fedkd.audit.attack:Attack")
ANALYSIS = PluginKind("analysis", "analyses", "fedkd.analysis.analyses", "fedkd.analysis.analysis:Analysis")
TRACKER = PluginKind("tracker", "trackers", "fedkd.results.trackers", "fedkd.results.tracker:Tracker")
KINDS = (
    STRATEGY,
    BEHAVIOUR,
    CLIENT_RULE,
    STUDENT_RULE,
    BALANCER,
    MECHANISM,
    DATASET,
    TRANSFORM,
    MODEL,
    TEMPERATURE,
    LOSS,
    CODEC,
    ATTACK,
    ANALYSIS,
    TRACKER,
)


def names(kind: PluginKind) -> list[str]:
    """The names of the kind's files, sorted, broken ones too; no file is executed.

    A file of the user's counts when it uses fedkd and derives a class.
    """
    if kind.by_path:
        return plugin_files.names_in(kind.source)
    package = importlib.import_module(kind.source)
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


def classes(kind: PluginKind) -> dict[str, type | PluginError]:
    """The class that each of the kind's names stands for, or what is wrong with its file.

    Files of the user's that have nothing to do with the kind are left out.
    """
    found: dict[str, type | PluginError] = {}
    for name in names(kind):
        try:
            found[name] = resolve(kind, name)
        except _NoPluginError:
            continue
        except PluginError as error:
            found[name] = error
    return found


def resolve(kind: PluginKind, name: str) -> type:
    """The class that ``name`` stands for.

    Raises ``PluginError`` when the name is unknown (with the nearest right one), when its file cannot be parsed or
    imported (with the line) or does not define exactly one subclass, or when ``module:Class`` cannot be imported or is
    no subclass.
    """
    if ":" in name:
        return _resolve_import(kind, name)
    if not name.isidentifier() or name.startswith("_"):
        raise _unknown(kind, name)
    for module in _modules(kind, name):
        if _subclasses(kind, module):
            return _only_class(kind, name, module)
    raise _unknown(kind, name)


def hidden(kind: PluginKind, name: str) -> tuple[Path, Path] | None:
    """The user's file that ``name`` stands for and the shipped one of that name, where there are both."""
    if not kind.by_path or ":" in name or (shipped := plugin_files.shipped_file(kind.source, name)) is None:
        return None
    try:
        own = plugin_files.users_file(kind.source, name)
        return None if own is None or not _subclasses(kind, own.load()) else (own.path, shipped.path)
    except PluginError:
        return None


def options_of(cls: type) -> list[dataclasses.Field[Any]]:
    """The options a plug-in class takes: its dataclass's constructor fields (none when it is no dataclass)."""
    return [field for field in dataclasses.fields(cls) if field.init] if dataclasses.is_dataclass(cls) else []


def check(kind: PluginKind, name: str, options: Mapping[str, Any]) -> list[str]:
    """Everything wrong with a name and its options, as ``key: message`` lines relative to the plug-in's section."""
    return read_options(kind, name, options)[0]


def read_options(kind: PluginKind, name: str, options: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """What ``check`` says, and the options as their types have them: 1 is 1.0 where a float is wanted."""
    try:
        cls = resolve(kind, name)
    except PluginError as error:
        return [f"name: {error}"], dict(options)
    problems, parsed = _parse(kind, cls, options)
    if parsed is None or problems:
        return problems, dict(options)
    try:
        return [], parsed.model_dump(mode="json", exclude_unset=True)
    except Exception:
        # A type of the user's own that can be read and not written.
        return [], dict(options)


def build(kind: PluginKind, name: str, options: Mapping[str, Any] | None = None) -> Any:
    """The plug-in called ``name`` with ``options``; raises ``PluginError`` listing every option that does not fit."""
    cls = resolve(kind, name)
    problems, parsed = _parse(kind, cls, options or {})
    if problems or parsed is None:
        raise PluginError(f"{kind.noun} {name!r}: " + "; ".join(first_of(problems)))
    return cls(**_values(cls, parsed))


def _parse(kind: PluginKind, cls: type, options: Mapping[str, Any]) -> tuple[list[str], BaseModel | None]:
    """What is wrong with the options, and the same parsed by their types, if that can be."""
    fields = {field.name: field for field in options_of(cls)}
    problems = [
        f"{cut(key)}: unknown option of {cls.__name__}{_did_you_mean(key, list(fields), 'name')}"
        for key in options
        if key not in fields
    ]
    see = f"see `fedkd list {kind.plural}` for what it takes"
    try:
        model = _model_of(cls)
    except (Exception, SystemExit) as error:
        # A name that the file does not define, or a type that pydantic does not know.
        file = inspect.getsourcefile(cls)
        return [f"name: the options of {cls.__name__} in {file} cannot be read: {described(error)}"], None
    try:
        # As JSON, for which types are strict, and lists and texts do for what JSON does not have.
        text = json.dumps({key: value for key, value in options.items() if key in fields})
        parsed = model.model_validate_json(text, strict=True)
    except ValidationError as error:
        problems += [explain(".".join(map(str, fault["loc"])), fault, see) for fault in error.errors()]
        return problems, None
    except (Exception, SystemExit) as error:
        # A value that no configuration file could hold, or a default that the class fails to make.
        return [*problems, f"name: the options of {cls.__name__} cannot be read: {described(error)}"], None
    if not problems:
        try:
            cls(**_values(cls, parsed))
        except ValueError as error:
            problems.append(str(error) if ";" in str(error) else f"{error}; {see}")
        except (Exception, SystemExit) as error:
            problems.append(f"name: {cls.__name__} cannot be made: {described(error)}")
    return problems, parsed


def _values(cls: type, parsed: BaseModel) -> dict[str, Any]:
    return {field.name: getattr(parsed, field.name) for field in options_of(cls)}


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
    return create_model(
        cls.__name__, __config__=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False), **schema
    )


class _NoPluginError(PluginError):
    """A name that stands for nothing, though a file may have it."""


def _modules(kind: PluginKind, name: str) -> Iterator[ModuleType]:
    """The modules that may define the plug-in, the user's first."""
    if not kind.by_path:
        if importlib.util.find_spec(f"{kind.source}.{name}") is not None:
            yield importlib.import_module(f"{kind.source}.{name}")
        return
    try:
        for find in (plugin_files.users_file, plugin_files.shipped_file):
            if (file := find(kind.source, name)) is not None:
                yield file.load()
    except PluginError as error:
        raise PluginError(f"{kind.noun} {name!r} is broken: {error}") from error


def _unknown(kind: PluginKind, name: str) -> PluginError:
    root = plugin_files.working_folder()
    own = None if root is None or not kind.by_path else root / kind.source / f"{name}.py"
    there = ""
    if name.isidentifier() and own is not None and is_file(own):
        there = f"; {own} defines no subclass of fedkd's {kind.base_class().__name__}"
    choices = [choice for choice in names(kind) if choice != name]
    return _NoPluginError(f"unknown {kind.noun} {shown(name)}{there}{_did_you_mean(name, choices)}")


def _only_class(kind: PluginKind, name: str, module: ModuleType) -> type:
    found = _subclasses(kind, module)
    usable = [cls for cls in found if not cls.__name__.startswith("_") and not inspect.isabstract(cls)]
    if len(usable) == 1:
        return usable[0]
    base = kind.base_class().__name__
    rule = f"{kind.noun} {name!r}: {module.__file__} must define exactly one public subclass of {base}"
    if usable:
        some = " and ".join(cls.__name__ for cls in usable)
        raise PluginError(f"{rule}, got {some}; let the names of all but one begin with an underscore")
    missing = [each for cls in found for each in _unwritten(cls)]
    got = " and ".join(cls.__name__ for cls in found) or "none"
    if missing:
        raise PluginError(f"{rule}, got {got} without {', '.join(missing)}; write what is missing")
    raise PluginError(f"{rule}, got {got}; write one, with a name that does not begin with an underscore")


@cache
def _subclasses(kind: PluginKind, module: ModuleType) -> tuple[type, ...]:
    """The classes that the module defines and that derive from the kind's base, usable or not."""
    base = kind.base_class()
    return tuple(
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, base) and value.__module__ == module.__name__
    )


def _resolve_import(kind: PluginKind, name: str) -> type:
    module_name, _, class_name = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), class_name)):
        raise PluginError(
            f"{kind.noun} {shown(name)}: is written module:Class, such as my_mod:MyClass; name a class so"
        )
    folder = plugin_files.working_folder()
    if folder is not None:
        # That is where people keep the file they are trying out.
        plugin_files.import_from(folder)
    try:
        module = importlib.import_module(module_name)
        cls = getattr(module, class_name, None)
    except (Exception, SystemExit) as error:
        absent = isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}.")
        what = str(error) if absent else described(error)
        remedy = "run from its folder, install it, or put its folder on PYTHONPATH" if absent else "mend the file"
        raise PluginError(f"{kind.noun} {name!r}: cannot import {module_name!r} ({what}); {remedy}") from error
    base = kind.base_class()
    if not (inspect.isclass(cls) and issubclass(cls, base)):
        if (made := kind.adapt(module_name, class_name, cls)) is not None:
            return made
        meant = nearest(class_name, _candidates(kind, module))
        known = meant is not None and meant != class_name
        hint = f"did you mean {meant!r}?" if known else "name one, or derive it from that class"
        what = ", ".join(filter(None, (f"a subclass of {base.__name__}", kind.adapted)))
        raise PluginError(f"{kind.noun} {name!r}: {class_name} must be {what} in {module_name}; {hint}")
    if missing := _unwritten(cls):
        raise PluginError(f"{kind.noun} {name!r}: {class_name} lacks {', '.join(missing)}; write what is missing")
    return cls


def _candidates(kind: PluginKind, module: ModuleType) -> list[str]:
    """The names in a module that may have been meant."""
    found = [each.__name__ for each in _subclasses(kind, module)]
    if kind.adapter:
        found += [name for name, each in vars(module).items() if inspect.isfunction(each) or inspect.isclass(each)]
    return found


def _unwritten(cls: type) -> list[str]:
    """The methods that a class has to have and has not, as they are written."""
    names = sorted(getattr(cls, "__abstractmethods__", ()))
    return [f"{name}{_MODULES.sub('', str(_signature(getattr(cls, name))))}" for name in names]


def _signature(method: Any) -> inspect.Signature | str:
    return inspect.signature(method) if callable(method) else ""


def _did_you_mean(name: str, choices: list[str], *others: str) -> str:
    close = nearest(name, [*choices, *others])
    listing = ", ".join(choices) if choices else "none"
    return f"; did you mean {close!r}?" + f" (choices: {listing})" if close else f"; choices: {listing}"
