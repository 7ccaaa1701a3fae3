"""Run directories of which one file is not what the run wrote, resumed, reported on and compared."""

import random
import shutil
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.results.observer import Silent
from fedkd.results.records import RoundRecord
from fuzzing import command, tiny
from fuzzing.damage import KINDS, Damage, resealed
from fuzzing.oracle import BAD_INPUT, Snapshot, check_error, check_meant, check_run, digest_of, snapshot, strict_json
from fuzzing.outcome import Case, NonsenseError, shortened
from fuzzing.trial import once

ROUNDS = 3
_RUN, _PAGE = "run", "page.html"

_SETTINGS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "plain": ("quickstart", {"controls": ["public_only", "local_only"]}),
    "remembering": ("algorithms/cfd", {}),
    "averaging": ("algorithms/fedavg", {}),
    "private": ("quickstart", {"privacy.mechanism": {"name": "gaussian_logits", "noise_multiplier": 1.0}}),
    "secure": ("privacy/secure_aggregation", {}),
    "cached": ("fashion_mnist", {"communication.cache_rounds": 2, "controls": []}),
}
_NO_RESULT = {".png", ".html"}
_WHOLE = ("rounds.jsonl", "distillation.csv", "clients.csv")
"""What a run that was resumed has as one that was not."""


class _Interrupting(Silent):
    """Stops the run after its last round but one."""

    def round_ended(self, record: RoundRecord, seconds: float) -> None:
        if record.round == ROUNDS - 1:
            raise KeyboardInterrupt


def _make(setting: str, seed: int, finished: bool, folder: Path) -> None:
    name, changes = _SETTINGS[setting]
    mapping = tiny.shrunk(name)
    for path, value in {"rounds": ROUNDS, "seed": seed, **changes}.items():
        tiny.put(mapping, path, value)
    with command.without_figures(), suppress(KeyboardInterrupt):
        run_experiment(load_config(mapping), folder, Silent() if finished else _Interrupting())


def _run_of(setting: str, seed: int = 0, *, finished: bool) -> Path:
    """A run directory to copy, made once."""
    name = f"{setting} {seed} {'finished' if finished else 'interrupted'}"
    return once(name, partial(_make, setting, seed, finished))


def case(seed: int, number: int) -> Case:
    """A run, one of its files, and what becomes of it."""
    draw = random.Random(f"directories {seed} {number}")
    setting, finished, damage = draw.choice([*_SETTINGS]), draw.random() < 0.4, draw.choice(KINDS)
    title = f"{setting}, {'finished' if finished else 'interrupted'}: a file {damage.__name__}"
    return Case(title, partial(_attempt, setting, finished, damage, draw))


def _attempt(setting: str, finished: bool, damage: Damage, draw: random.Random, folder: Path) -> bool:
    source, stranger = _run_of(setting, finished=finished), _run_of(setting, 1, finished=finished)
    run = folder / _RUN
    shutil.copytree(source, run)
    files = sorted(path for path in run.rglob("*") if path.is_file() and path.suffix not in _NO_RESULT)
    if finished:  # nobody reads how long rounds took, once all are done
        files.remove(run / "timings.jsonl")
    path = draw.choice(files)
    what = f"{path.relative_to(run)} {damage(path, stranger / path.relative_to(run), draw)}"
    try:
        action = draw.choice([_resume, _resume, _resume, _report, _compare])
        return action(folder, run, setting, draw, covered=damage is resealed)
    except NonsenseError as error:
        raise type(error)(f"{what}: {error}") from error
    except Exception as error:
        error.add_note(what)
        raise


def _resume(folder: Path, run: Path, setting: str, draw: random.Random, *, covered: bool) -> bool:
    before = snapshot(folder)
    answer = command.call(["run", "--resume", "--out", str(run)])
    _check_beside(folder, before)
    if answer.status != 0:
        _check_refused(answer, run, before, folder)
        return False
    if covered:
        # What covers its tracks may have been believed; all else must be sound.
        return True
    check_run(run)
    whole = _run_of(setting, finished=True)
    if _failures(run) != _failures(whole):  # a client without its memory, dropped by name
        return False
    if digest_of(run) != digest_of(whole):
        raise NonsenseError("resumed, and the student is another")
    for name in _WHOLE:
        if (run / name).read_bytes() != (whole / name).read_bytes():
            raise NonsenseError(f"resumed, and {name} is another")
    return True


def _failures(run: Path) -> int:
    failures: int = strict_json((run / "summary.json").read_text(encoding="utf-8"))["failures"]
    return failures


def _report(folder: Path, run: Path, setting: str, draw: random.Random, *, covered: bool) -> bool:
    before = snapshot(folder)
    answer = command.call(["report", str(run)])
    _check_beside(folder, before)
    if answer.status != 0:
        _check_refused(answer, run, before, folder)
        return False
    page = run / "report.html"
    if not page.is_file() or page.stat().st_size < 1000:
        raise NonsenseError("reported, and there is no page")
    return True


def _compare(folder: Path, run: Path, setting: str, draw: random.Random, *, covered: bool) -> bool:
    shutil.copytree(_run_of(setting, finished=True), folder / "other")
    before = snapshot(folder)
    answer = command.call(["compare", str(run), str(folder / "other"), "--out", str(folder / _PAGE)])
    if answer.status != 0:
        _check_refused(answer, run, before, folder)
        return False
    if not (folder / _PAGE).is_file():
        raise NonsenseError("compared, and there is no page")
    after = snapshot(folder)
    after.pop(_PAGE)
    if after != before:
        raise NonsenseError("compared, and other files were written")
    return True


def _check_beside(folder: Path, before: Snapshot) -> None:
    outside = {name for name in snapshot(folder).keys() ^ before.keys() if not name.startswith(f"{_RUN}/")}
    if outside:
        raise NonsenseError(f"files beside the run were written: {sorted(outside)[:3]}")


def _check_refused(answer: command.Answer, run: Path, before: Snapshot, folder: Path) -> None:
    """Raise ``NonsenseError`` unless it was one clear error, and the directory is as it was."""
    if answer.status not in {1, BAD_INPUT}:
        raise NonsenseError(f"ended with status {answer.status}: {shortened(answer.text, 300)}")
    check_meant(answer.text)
    check_error(answer.text, None)
    after = snapshot(folder)
    changed = sorted(name for name in after.keys() | before.keys() if after.get(name) != before.get(name))
    changed = [name for name in changed if not name.endswith(".lock")]
    if changed:
        raise NonsenseError(f"refused, and {changed[:3]} changed: {shortened(answer.text, 300)}")
