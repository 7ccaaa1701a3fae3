"""YAML as people and damaged disks write it: the shipped files, rewritten and mutated, and overrides."""

import random
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from fedkd.config.load import load_config, to_mapping
from fedkd.config.shipped import config_path
from fuzzing import command, tiny
from fuzzing.bombs import BOMBS, Text
from fuzzing.configurations import AGAIN, OUT, check_reproduced, targets
from fuzzing.meaning import UnreadableError, means, read
from fuzzing.oracle import judge_run, snapshot
from fuzzing.outcome import Case, NonsenseError, shortened
from fuzzing.rewrites import REWRITES, damaged, with_a_key_twice
from fuzzing.values import LOOKS_LIKE_NUMBERS, LOOKS_LIKE_OTHERS, TEXTS

_FILE = "experiment.yaml"
_TOP = ("seed", "rounds", "data", "clients", "student", "strategy", "distillation", "communication", "privacy")


@cache
def _shipped(name: str) -> str:
    """A shipped file as it stands; what it extends is named so that it is found from anywhere."""
    text = config_path(name).read_text(encoding="utf-8")
    folder = name.rpartition("/")[0]
    for other in tiny.names():
        stem = other.removeprefix(f"{folder}/") if folder and other.startswith(f"{folder}/") else f"../{other}"
        text = text.replace(f"extends: {stem}.yaml", f"extends: {other}")
    return text


def case(seed: int, number: int) -> Case:
    """A text, as a file or as overrides."""
    draw = random.Random(f"texts {seed} {number}")
    name = draw.choice(tiny.names())
    match draw.randrange(10):
        case 0 | 1:
            how = draw.choice([*REWRITES])
            return Case(f"{name}: {how}", partial(_rewritten, name, how, draw))
        case 2:
            text: Text = with_a_key_twice(_shipped(name), draw)
            return Case(f"{name}: a key twice", partial(_attempt, text, name))
        case 3:
            what = draw.choice([*BOMBS])
            text = draw.choice(BOMBS[what])
            return Case(f"{what}: {shortened(text)}", partial(_attempt, text, name))
        case 4 | 5 | 6:
            return Case(
                f"{name}: damaged",
                partial(_attempt, damaged(_shipped(name), draw), name, again=draw.randrange(AGAIN) == 0),
            )
        case _:
            overrides = _overrides(draw)
            return Case(f"{name}: {shortened(overrides, 120)}", partial(_overridden, name, overrides))


def _rewritten(name: str, how: str, draw: random.Random, folder: Path) -> bool:
    text = REWRITES[how](tiny.shrunk(name), draw)
    (folder / _FILE).write_bytes(text if isinstance(text, bytes) else text.encode())
    before = snapshot(folder)
    answer = command.call(["run", str(folder / _FILE), "--out", str(folder / OUT)])
    if not judge_run(answer, folder, before, OUT):
        raise NonsenseError(f"refused, though it means what the shipped file does: {shortened(answer.text, 300)}")
    if load_config(folder / OUT / "config.yaml") != load_config(tiny.shrunk(name)):
        raise NonsenseError("taken for something else than the shipped file")
    if draw.randrange(AGAIN) == 0:
        check_reproduced(folder)
    return True


def _attempt(text: Text, name: str, folder: Path, *, again: bool = False) -> bool:
    data = text if isinstance(text, bytes) else text.encode("utf-8", errors="surrogatepass")
    (folder / _FILE).write_bytes(data)
    before, overrides = snapshot(folder), tiny.overrides(name)
    answer = command.call(
        ["run", str(folder / _FILE), *overrides, "--out", str(folder / OUT)], started=folder / OUT / "config.yaml"
    )
    if not judge_run(answer, folder, before, OUT):
        return False
    try:
        meant = read(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, UnreadableError) as error:
        raise NonsenseError(f"accepted, though it means nothing ({shortened(str(error), 200)})") from error
    _check_meaning({} if meant is None else meant, [override.partition("=")[0] for override in overrides], folder)
    if again and answer.status == 0:
        check_reproduced(folder)
    return True


def _check_meaning(meant: Any, overridden: list[str], folder: Path) -> None:
    """Raise ``NonsenseError`` unless every value of the text that no override replaces is that of the run."""
    if not isinstance(meant, Mapping):
        raise NonsenseError(f"accepted, though it holds no keys: {shortened(meant)}")
    resolved = to_mapping(load_config(folder / OUT / "config.yaml"))
    for path, value in tiny.leaves({key: item for key, item in meant.items() if key not in {"extends", "reference"}}):
        if any(path == other or path.startswith(f"{other}.") or other.startswith(f"{path}.") for other in overridden):
            continue
        found = tiny.at(resolved, path)
        if not means(value, found):
            raise NonsenseError(f"{path}: {shortened(value)} was taken for {shortened(found)}")


def _overrides(draw: random.Random) -> list[str]:
    """One or two overrides, some of them none."""
    path = draw.choice([target for target in targets() if target.config == "quickstart" and not target.changes]).path
    values = [*LOOKS_LIKE_NUMBERS, *LOOKS_LIKE_OTHERS, *TEXTS]
    value = draw.choice(values)
    odd = (
        *(f"{path}={value}", path, f"={value}", f"{path}={value}={value}", f"{path} = {value}", f"{path}:{value}", ""),
        *(f".{path}={value}", f"{path}.={value}", f"{path.replace('.', '..')}={value}", f"{path}.x={value}", "a=b=c"),
        *(
            f"{path[:-1]}={value}",
            f"{path.upper()}={value}",
            f"--{path}={value}",
            f"{path}=[{value}]",
            f"{path}={{a: {value}}}",
        ),
        *(
            f"{draw.choice(_TOP)}={value}",
            f"{draw.choice(_TOP)}.{value}={value}",
            f"{path}={value} # remark",
            "é=1",
            "\x1b=1",
        ),
    )
    first = draw.choice([odd[0], odd[0], odd[0], draw.choice(odd)])
    return [first] if draw.random() < 0.8 else [f"{path}={draw.choice(values)}", first]


def _overridden(name: str, overrides: list[str], folder: Path) -> bool:
    before, out = snapshot(folder), folder / OUT
    small = tiny.overrides(name)
    answer = command.call(["run", name, *small, *overrides, "--out", str(out)], started=out / "config.yaml")
    if not judge_run(answer, folder, before, OUT):
        return False
    path, _, text = overrides[-1].partition("=")
    try:
        meant = read(text)
    except UnreadableError as error:
        raise NonsenseError(f"accepted, though it means nothing ({shortened(str(error), 200)})") from error
    found = tiny.at(to_mapping(load_config(out / "config.yaml")), path)
    if not means(meant, found):
        raise NonsenseError(f"{path}: {shortened(text)} was taken for {shortened(found)}")
    return True
