"""What can be named in a configuration: the plug-ins of each kind, with their options."""

import dataclasses
import inspect
import sys
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch
from rich.console import Console as RichConsole
from rich.padding import Padding
from rich.text import Text

from fedkd.config.values import Plugin
from fedkd.core import plugins
from fedkd.core.errors import FedkdError, PluginError
from fedkd.core.samples import SampleSpec
from fedkd.data.source import DataSource, resolve_root
from fedkd.models import build_model, profile

REFERENCES = {"1×28×28": SampleSpec((1, 28, 28)), "64 tokens of 10,000": SampleSpec((64,), 10_000)}
REFERENCE_CLASSES = 10
"""At the first of these samples that a model takes its size and cost are stated."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One plug-in: its name, one line about it, its options as (name, default or kind), and what else is known.

    Of a ``broken`` one, ``text`` says what is wrong with its file.
    """

    name: str
    text: str
    options: tuple[tuple[str, str], ...] = ()
    note: str = ""
    broken: bool = False


def catalogue(plural: str, root: str | None = None) -> list[Entry]:
    """Every plug-in of the kind called ``plural`` (``strategies``, ``models``, ...), sorted by name, broken ones too.

    ``root`` is where data sets are looked for, as ``data.root``. Raises ``ValueError`` for an unknown kind.
    """
    kinds = {kind.plural: kind for kind in plugins.KINDS}
    if plural not in kinds:
        raise ValueError(f"kind must be one of {', '.join(kinds)}; got {plural!r}")
    kind = kinds[plural]
    return [_entry(kind, name, found, root) for name, found in plugins.classes(kind).items()]


def print_catalogue(plural: str, console: RichConsole | None = None) -> None:
    """Print the catalogue of one kind."""
    screen = console or RichConsole(highlight=False)
    for entry in catalogue(plural):
        title, style = (f"{entry.name} (broken)", "bold red") if entry.broken else (entry.name, "bold")
        screen.print(title, style=style, markup=False)
        options = ", ".join(f"{name} = {value}" for name, value in entry.options)
        for line in (entry.text, options and f"options: {options}", entry.note):
            if line:
                screen.print(Padding(Text(line), (0, 0, 0, 2)))


def _entry(kind: plugins.PluginKind, name: str, found: type | PluginError, root: str | None) -> Entry:
    if isinstance(found, PluginError):
        return Entry(name, str(found), broken=True)
    try:
        options = tuple((field.name, _default(found, field)) for field in plugins.options_of(found))
        return Entry(name, _first_line(found), options, _note(kind, name, root))
    except Exception as error:
        # A user's class: a type that cannot be read, a default that cannot be made.
        return Entry(name, f"{inspect.getsourcefile(found)}: {type(error).__name__}: {error}", broken=True)


def _note(kind: plugins.PluginKind, name: str, root: str | None) -> str:
    if (files := plugins.hidden(kind, name)) is not None:
        return f"{files[0]}, in place of the shipped one"
    if kind is plugins.DATASET and _takes_what_is_named(plugins.resolve(kind, name)):
        return "reads what its options name"
    if kind is plugins.DATASET:
        source: DataSource = plugins.build(kind, name)
        folder = resolve_root(root)
        if source.available(folder):
            return "found here"
        return f"not here; {source.installed_by or f'downloaded into {folder} on first use'}"
    if kind is plugins.MODEL:
        return _cost(name)
    return ""


def _takes_what_is_named(cls: type) -> bool:
    """Whether there are options without a default."""
    missing = dataclasses.MISSING
    return any(field.default is missing is field.default_factory for field in plugins.options_of(cls))


def _cost(name: str) -> str:
    told = []
    for words, sample in REFERENCES.items():
        at = f"at {words} and {REFERENCE_CLASSES} classes"
        try:
            model = build_model(Plugin(name), sample, REFERENCE_CLASSES, torch.Generator())
        except FedkdError as error:
            told.append(f"{at}: {error}")
            continue
        cost = profile(model, sample)
        size = f"{cost.parameters:,} parameters, {cost.flops / 1e6:,.1f} MFLOPs per sample, {cost.megabytes:.2f} MB"
        return f"{at}: {size}"
    return told[0]


def _first_line(cls: type) -> str:
    # A dataclass without a docstring gets its signature as one.
    doc = cls.__doc__ or ""
    if not doc.strip() or doc.startswith(f"{cls.__name__}("):
        doc = sys.modules[cls.__module__].__doc__ or ""
    return doc.strip().split("\n\n")[0].replace("\n", " ").strip()


def _default(cls: type, field: "dataclasses.Field[Any]") -> str:
    if field.default is not dataclasses.MISSING:
        return str(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return str(field.default_factory())
    hint = get_type_hints(cls)[field.name]
    kinds = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
    return f"({' | '.join(getattr(kind, '__name__', str(kind)) for kind in kinds)}, required)"
