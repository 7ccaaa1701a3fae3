"""The README and the docs, as blocks that are executed where they stand.

Directly above a block a comment that readers do not see may say how a test runs it, one direction a line:

    <!-- test: tiny -->                        with the overrides of ``TINY``, but for keys that the command itself sets
    <!-- test: rounds=1 --seeds 0 -->          with these words after the command (may follow ``tiny``)
    <!-- test: replace A by B -->              with B instead of A
    <!-- test: first fedkd run quickstart -->  after this command, which is not shown
    <!-- test: copy A to B -->                 after copying a file of the page's folder or of the checkout
    <!-- test: as a process -->                fedkd in a process of its own
    <!-- test: output -->                      text that the commands above print, but for its numbers
    <!-- test: only checked, because ... -->   not run: programs, options and keys are looked up

A page's blocks run in their order, in one folder that is empty at first. Python blocks share their names, and have
``tiny``, which makes overrides small but for those it is given. A block whose first line is a comment with a file's
name is written there.
"""

import contextlib
import importlib
import io
import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest import mock

from typer.main import get_command

from fedkd.app.cli import main as cli
from fedkd.config.describe import describe_keys
from fedkd.config.load import load_config
from fedkd.config.plugin_sections import PLUGIN_SECTIONS
from fedkd.config.shipped import config_path
from fedkd.config.strict_yaml import parse_yaml
from fedkd.core import plugins
from fedkd.results.report.figures import SWITCH
from tests.support import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

TINY = (
    "engine.kind=inline",
    "engine.workers=1",
    "rounds=1",
    "clients.count=3",
    "clients.epochs=1",
    "data.private_size=60",
    "data.public.size=60",
    "data.public.labelled=30",
    "distillation.steps=3",
    "controls=[]",
)

LANGUAGES = {"console", "bash", "python", "yaml", "toml", "text"}

_NOTE = re.compile(r"<!-- test: (.+) -->")
_FILE = re.compile(r"# ([\w/]+\.(?:py|toml|yaml))")
_NUMBER = re.compile(r"[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?|[-+]?\binf\b")
_BIN = Path(sys.executable).parent


class DocumentError(AssertionError):
    """A page is not written so that it can be tested, or does not do what it shows."""


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its text, and the directions above it."""

    where: str
    language: str
    text: str
    notes: tuple[str, ...]

    @property
    def only_checked(self) -> bool:
        return any(note.startswith("only checked, because ") for note in self.notes)

    @property
    def shown_text(self) -> str:
        """The text after the replacements."""
        text = self.text
        for note in self._all("replace "):
            old, by, new = note.partition(" by ")
            if not by or old not in text:
                raise DocumentError(f"{self.where}: there is no {old!r} to replace")
            text = text.replace(old, new)
        return text

    @property
    def first(self) -> list[str]:
        return self._all("first ")

    @property
    def copies(self) -> list[tuple[str, str]]:
        return [(old, new) for old, _, new in (note.partition(" to ") for note in self._all("copy "))]

    @property
    def more(self) -> list[str]:
        """What is said after the command, with ``tiny`` in short."""
        known = ("replace ", "first ", "copy ", "only checked, because ")
        words = [note for note in self.notes if not note.startswith(known) and note not in {"as a process", "output"}]
        return [word for note in words for word in shlex.split(note)]

    @property
    def commands(self) -> list[str]:
        joined = self.shown_text.replace("\\\n", " ")
        return [line for line in joined.splitlines() if shlex.split(line, comments=True)]

    def _all(self, start: str) -> list[str]:
        return [note.removeprefix(start) for note in self.notes if note.startswith(start)]


def blocks_of(name: str, text: str) -> list[Block]:
    """The blocks of a page; raises ``DocumentError`` for code that is not in a block, and for what a block lacks."""
    found: list[Block] = []
    notes: list[str] = []
    begun: tuple[int, str] | None = None
    inside: list[str] = []
    before, in_list = "", False
    for number, line in enumerate(text.splitlines(), start=1):
        where = f"{name}:{number}"
        if begun is not None:
            if line == "```":
                found.append(_block(f"{name}:{begun[0]}", begun[1], "\n".join(inside) + "\n", tuple(notes)))
                notes, begun, inside = [], None, []
            else:
                inside.append(line)
            before = ""
            continue
        if line.startswith("```"):
            begun = (number, line[3:].strip())
        elif (note := _NOTE.fullmatch(line)) is not None:
            notes.append(note[1])
        else:
            if notes:
                raise DocumentError(f"{where}: the direction above belongs to no block")
            in_list = bool(re.match(r"([-*]|\d+\.) ", line)) or (in_list and (not line or line.startswith(" ")))
            if "```" in line or (line.startswith("    ") and not before and not in_list):
                raise DocumentError(f"{where}: code stands in fences of its own, got {line!r}")
        before = line
    if begun is not None or notes:
        raise DocumentError(f"{name}: ends within a block")
    return found


def _block(where: str, language: str, text: str, notes: tuple[str, ...]) -> Block:
    if language not in LANGUAGES:
        raise DocumentError(f"{where}: the language must be one of {', '.join(sorted(LANGUAGES))}, got {language!r}")
    if any(note.startswith("only checked") and not note.startswith("only checked, because ") for note in notes):
        raise DocumentError(f"{where}: what is only checked says why")
    if language == "text" and re.match(r"(fedkd|python|make|pip|flwr) ", text):
        raise DocumentError(f"{where}: commands stand in console or bash blocks")
    return Block(where, language, text, notes)


@dataclass
class Page:
    """A page that is being executed in ``folder``; ``ran`` and ``checked`` count commands and blocks."""

    folder: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "page", "tiny": tiny})
    printed: str = ""
    ran: int = 0
    checked: int = 0

    def take(self, block: Block) -> None:
        """Do what the block says; raises ``DocumentError`` when that does not work."""
        for old, new in block.copies:
            source = self.folder / old if (self.folder / old).is_file() else ROOT / old
            target = self.folder / new
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        for command in block.first:
            words = shlex.split(command)
            self._run(block, [word for word in words if word != "tiny"], ["tiny"] if "tiny" in words else [])
        if (name := _FILE.match(block.text)) is not None:
            path = self.folder / name[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
            importlib.invalidate_caches()
        match block.language:
            case "console" | "bash":
                self._commands(block)
            case "python":
                self._python(block)
            case "yaml":
                self._yaml(block, name is not None)
            case "toml" if name is None:
                self._toml(block)
            case "toml":
                tomllib.loads(block.text)
                self.checked += 1
            case "text" if "output" in block.notes:
                self._output(block)

    def _commands(self, block: Block) -> None:
        self.printed = "" if not block.only_checked else self.printed
        for line in block.commands:
            words = shlex.split(line, comments=True)
            if block.only_checked:
                check_command(words, block.where)
                self.checked += 1
            elif words[0] in {"fedkd", "python"}:
                self.printed += self._run(block, words, block.more)
                self.ran += 1
            else:
                self.printed += self._process(block, ["bash", "-c", line])
                self.ran += 1

    def _run(self, block: Block, words: list[str], more: Sequence[str]) -> str:
        if words[0] == "python":
            script = ROOT / words[1]
            overrides = script.name in {"flower_run.py", "simulate.py", "repeat.py"}
            return self._process(
                block, [sys.executable, str(script), *words[2:], *after(words, more, overrides=overrides)]
            )
        extra = after(words, more, overrides=words[1] in {"run", "sweep", "distill"}) if words[1] in _CHANGEABLE else []
        arguments = [*words[1:], *extra]
        with contextlib.chdir(self.folder):
            before = set(Path("runs").glob("*"))
            if "as a process" in block.notes:
                # As a user has it, with all figures.
                printed = self._process(block, [str(_BIN / "fedkd"), *arguments], {SWITCH: "1"})
            else:
                printed = in_process(arguments, block.where)
            if words[1] == "run":
                self._finished(block, arguments, before)
        return printed

    def _finished(self, block: Block, arguments: Sequence[str], before: set[Path]) -> None:
        new = set(Path("runs").glob("*")) - before
        folder = Path(arguments[arguments.index("--out") + 1]) if "--out" in arguments else new.pop()
        if not (folder / "summary.json").is_file():
            raise DocumentError(f"{block.where}: {folder} holds no finished run")

    def _process(self, block: Block, command: Sequence[str], changes: Mapping[str, str] = MappingProxyType({})) -> str:
        path = f"{_BIN}{os.pathsep}{os.environ['PATH']}"
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, **changes}
        done = subprocess.run(
            command, cwd=self.folder, env=environ, capture_output=True, text=True, check=False, timeout=400
        )
        if done.returncode != 0:
            raise DocumentError(f"{block.where}: {shlex.join(command)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def _python(self, block: Block) -> None:
        for module in re.findall(r"^(?:from|import) (fedkd[\w.]*)", block.text, re.MULTILINE):
            if module.count(".") > 1:
                raise DocumentError(f"{block.where}: {module} is deeper than the front of a package")
        before = set(self.names)
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(io.StringIO()):
            sys.path.insert(0, str(self.folder))
            exec(compile(block.shown_text, block.where, "exec"), self.names)
            for name in set(self.names) - before:
                if name.startswith("test_"):
                    self.names[name]()
        self.ran += 1

    def _yaml(self, block: Block, named: bool) -> None:
        if named:
            with contextlib.chdir(self.folder):
                load_config(block.text.splitlines()[0].removeprefix("# "))
        else:
            (self.folder / "page.yaml").write_text(block.shown_text, encoding="utf-8")
            # What the file itself says holds, so that only what it leaves out is made small.
            said = [f"{path}=" for path in _paths(load_raw(block.shown_text))]
            self._run(block, ["fedkd", "run", "page.yaml"], after(said, block.more, overrides=True))
        self.ran += 1

    def _toml(self, block: Block) -> None:
        (connection,) = tomllib.loads(block.text)["superlink"].values()
        if not {"address", "insecure"} >= set(connection):
            raise DocumentError(f"{block.where}: a connection has an address, got {connection}")
        self.checked += 1

    def _output(self, block: Block) -> None:
        shown, printed = _skeleton(block.text), _skeleton(self.printed)
        if shown not in printed:
            raise DocumentError(f"{block.where}: the commands above print\n{self.printed}")
        self.ran += 1


_CHANGEABLE = {"run", "sweep", "audit", "distill"}


def after(words: Sequence[str], more: Sequence[str], *, overrides: bool) -> list[str]:
    """What is put behind a command: ``more``, with ``tiny`` spelt out but for the keys that the command sets."""
    if "tiny" not in more:
        return list(more) if overrides or more else []
    keys = [word.partition("=")[0] for word in [*words, *more] if "=" in word]
    related = [key for key in keys if not key.startswith("--")]
    small = [each for each in TINY if not any(_related(each.partition("=")[0], key) for key in related)]
    return [*small, *(word for word in more if word != "tiny")]


def tiny(*said: str) -> list[str]:
    """Overrides for a small run that does what is said."""
    return [*said, *after(said, ["tiny"], overrides=True)]


def _related(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def load_raw(text: str) -> dict[str, Any]:
    raw: dict[str, Any] = parse_yaml(text)
    return raw


def _paths(raw: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in raw.items():
        if isinstance(value, dict) and "name" not in value:
            yield from _paths(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _skeleton(text: str) -> str:
    return " ".join(_NUMBER.sub("#", text).split())


def in_process(arguments: Sequence[str], where: str) -> str:
    """What the command ``fedkd`` prints; raises ``DocumentError`` unless it ends with status 0."""
    screen = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["fedkd", *arguments]),
        contextlib.redirect_stdout(screen),
        contextlib.redirect_stderr(screen),
    ):
        try:
            cli.main()
        except SystemExit as end:
            if end.code not in (0, None):
                raise DocumentError(f"{where}: fedkd {shlex.join(arguments)}\n{screen.getvalue()}") from None
    return screen.getvalue()


def check_command(words: Sequence[str], where: str) -> None:
    """Look a command up without running it; raises ``DocumentError`` for a program, option or key that is not there."""
    check = _CHECKS.get(words[0])
    if problem := "nobody knows this program" if check is None else check(list(words[1:])):
        raise DocumentError(f"{where}: {shlex.join(words)}: {problem}")


def _check_fedkd(words: list[str]) -> str | None:
    commands = get_command(cli.app).commands  # type: ignore[attr-defined]
    if words[0] not in commands:
        return f"fedkd has no {words[0]}"
    known = {option for each in commands[words[0]].params for option in each.opts} | {"--help"}
    return _missing(_options_in(words), known) or _bad_arguments(words[0], words[1:])


def _check_make(targets: list[str]) -> str | None:
    return _missing(targets, set(re.findall(r"^([a-z]+):", _makefile(), re.MULTILINE)))


def _check_pip(words: list[str]) -> str | None:
    return None if words == ["install", "."] and (ROOT / "pyproject.toml").is_file() else "that is on no index"


def _check_python(words: list[str]) -> str | None:
    if not (ROOT / words[0]).is_file():
        return "there is no such script"
    text, status = _script_help(*words)
    return _missing(_options_in(words), set(re.findall(r"--[\w-]+", text))) if status == 0 else text


def _check_source(words: list[str]) -> str | None:
    folder = words[0].removesuffix("/bin/activate")
    return None if f"VENV := {folder}\n" in _makefile() else f"make makes no {folder}"


def _check_export(words: list[str]) -> str | None:
    return None if all("=" in word for word in words) else "an assignment has no value"


def _options_in(words: Sequence[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if word.startswith("--")}


def _makefile() -> str:
    return (ROOT / "Makefile").read_text(encoding="utf-8")


def _missing(wanted: Sequence[str] | set[str], known: set[str]) -> str | None:
    left = sorted(set(wanted) - known)
    return f"there is no {', '.join(left)}" if left else None


def _bad_arguments(command: str, rest: Sequence[str]) -> str | None:
    plain = [word for word in rest if word != "…" and not word.startswith(("-", "["))]
    if command == "list":
        return _missing(plain[:1], {kind.plural for kind in plugins.KINDS})
    if command in {"run", "sweep"}:
        if plain and "=" not in plain[0] and not plain[0].isupper() and not config_path(plain[0]).is_file():
            return f"there is no configuration {plain[0]}"
        keys = [word.partition("=")[0] for word in plain if "=" in word and not word.startswith("KEY")]
        return _missing([key for key in keys if not is_key(key)], set())
    return None


@cache
def _script_help(script: str, *rest: str) -> tuple[str, int]:
    """What the script says to these words and ``--help``, and its status, 1 where it refuses one of the words."""
    screen, before = io.StringIO(), signal.getsignal(signal.SIGTERM)
    try:
        with (
            mock.patch.object(sys, "argv", [script, *rest, "--help"]),
            contextlib.redirect_stdout(screen),
            contextlib.redirect_stderr(screen),
        ):
            runpy.run_path(str(ROOT / script), run_name="__main__")
    except SystemExit as end:
        return screen.getvalue(), 0 if end.code in (0, None) else 1
    finally:
        signal.signal(signal.SIGTERM, before)
    return "it knows no --help", 1


@cache
def _help(program: str, *command: str) -> set[str]:
    """The options in the help of an installed program, called in this process, for starting one takes seconds."""
    (entry,) = entry_points(group="console_scripts", name=program)
    screen, status = io.StringIO(), None
    quiet = {"COLUMNS": "200", "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    with (
        warnings.catch_warnings(action="ignore"),
        mock.patch.dict(os.environ, quiet),
        mock.patch.object(sys, "argv", [program, *command, "--help"]),
        contextlib.redirect_stdout(screen),
        contextlib.redirect_stderr(screen),
    ):
        try:
            entry.load()()
        except SystemExit as end:
            status = end.code
    if status != 0:
        raise DocumentError(f"{program} {' '.join(command)} has no help: {screen.getvalue()}")
    return set(re.findall(r"--[\w-]+", screen.getvalue()))


_CHECKS: dict[str, Callable[[list[str]], str | None]] = {
    "fedkd": _check_fedkd,
    "make": _check_make,
    "pip": _check_pip,
    "python": _check_python,
    "source": _check_source,
    "export": _check_export,
    "flwr": lambda words: _missing(_options_in(words), _help("flwr", words[0])),
    "ray": lambda words: _missing(_options_in(words), _help("ray", words[0])),
    "flower-superlink": lambda words: _missing(_options_in(words), _help("flower-superlink")),
    "flower-supernode": lambda words: _missing(_options_in(words), _help("flower-supernode")),
}


@cache
def _keys() -> set[str]:
    paths = {doc.path for doc in describe_keys()}
    sections = {path.rpartition(".")[0] for path in paths}
    return paths | sections | {section.rpartition(".")[0] for section in sections}


@cache
def _options(kind: plugins.PluginKind) -> set[str]:
    classes = [plugins.resolve(kind, name) for name in plugins.names(kind)]
    return {"name", *(each.name for cls in classes for each in plugins.options_of(cls))}


def is_key(path: str) -> bool:
    """Whether a configuration has the key, or some plug-in the option."""
    section, _, last = path.rpartition(".")
    kind = dict(PLUGIN_SECTIONS).get(section)
    return path in _keys() or (kind is not None and last in _options(kind))
