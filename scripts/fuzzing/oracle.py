"""What a sound program answers: a whole run with finite numbers, or one clear error and nothing written."""

import csv
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedkd.config.load import load_config
from fuzzing.command import Answer
from fuzzing.outcome import EscapedError, NonsenseError, shortened

BAD_INPUT = 2
LONGEST_ERROR = 20_000
"""Characters of an error message that somebody may still read."""

_REMEDIES = (";", "did you mean", "for example")
_FILE = re.compile(r"experiment\.yaml: ")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u202a-\u202e\ud800-\udfff]")
_NOT_A_NUMBER = re.compile(r"(?<![\w./'\"-])[-+]?(nan|inf)(?![\w'\"])", re.IGNORECASE)
_LOCK = "run.lock"

Snapshot = dict[str, bytes]


def snapshot(folder: Path) -> Snapshot:
    """Every file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def judge_run(answer: Answer, folder: Path, before: Snapshot, out: str, *, names: str | None = None) -> bool:
    """Whether the run that was to be written to ``folder / out`` was accepted.

    ``before`` is what the folder held before; ``names`` is what a refusal must name. Raises ``NonsenseError``.
    """
    untouched = {name: content for name, content in snapshot(folder).items() if not name.startswith(f"{out}/")}
    if untouched != before:
        raise NonsenseError(
            f"files beside the run were written: {sorted(set(untouched.items()) ^ set(before.items()))[:3]}"
        )
    check_meant(answer.text)
    match answer.status:
        case 0:
            check_run(folder / out)
            check_said(answer.text)
        case 1:  # the run could not go on, and keeps what it has
            check_error(answer.text, None)
            if not (folder / out / "config.yaml").is_file():
                raise NonsenseError(f"refused with status 1 instead of 2: {shortened(answer.text, 300)}")
            check_files(folder / out)
            return False
        case 2:
            check_error(answer.text, names)
            if (folder / out).exists():
                raise NonsenseError(f"refused, and {out} was written: {shortened(answer.text, 300)}")
            return False
        case 130:
            check_files(folder / out)
        case status:
            raise NonsenseError(f"ended with status {status}: {shortened(answer.text, 300)}")
    return True


def check_meant(text: str) -> None:
    """Raise ``EscapedError`` where the text tells of an error that nobody raised on purpose: no case has own code."""
    if "Traceback (most recent call last)" in text or "ended with an error" in text:
        raise EscapedError(f"an error that nobody meant: {shortened(text[-600:], 600)}")


def check_error(text: str, names: str | None) -> None:
    """Raise ``NonsenseError`` unless the text is one clear error, with a remedy, that names the key, or the file."""
    said = shortened(text, 400)
    if len(text) > LONGEST_ERROR:
        raise NonsenseError(f"an error of {len(text)} characters: {said}")
    if found := CONTROL.search(text):
        raise NonsenseError(f"an error with the control character {found[0]!a}: {said}")
    if "Usage: " in text:
        return
    if text.count("Error: ") < 1:
        raise NonsenseError(f"no error was printed: {said}")
    message = text[text.index("Error: ") :]
    problems = [line for line in re.split(r"\n  - ", message)[1:] if line] or [message]
    for problem in problems:
        if not any(sign in problem for sign in _REMEDIES):
            raise NonsenseError(f"an error without a remedy: {shortened(problem, 400)}")
    if names is not None and names not in message and not _FILE.search(message):
        raise NonsenseError(f"an error that does not name {names}: {said}")


def check_said(text: str) -> None:
    """Raise ``NonsenseError`` where what was printed holds a number that is none."""
    if found := _NOT_A_NUMBER.search(text):
        line = text[: found.end()].rpartition("\n")[2] + text[found.end() :].partition("\n")[0]
        raise NonsenseError(f"a number that is none was printed: {shortened(line, 200)}")


def check_run(folder: Path) -> None:
    """Raise ``NonsenseError`` unless the folder holds a whole run."""
    check_files(folder)
    try:
        summary = strict_json((folder / "summary.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise NonsenseError(f"finished without a summary: {error}") from error
    config = load_config(folder / "config.yaml")
    rounds = (folder / "rounds.jsonl").read_text(encoding="utf-8").splitlines()
    if len(rounds) != config.rounds or summary["rounds"] != config.rounds:
        raise NonsenseError(f"{len(rounds)} rounds of {config.rounds}, and the summary tells of {summary['rounds']}")
    for name in ("student_accuracy", "teacher_accuracy", "client_accuracy", "client_test_accuracy"):
        if summary[name] is not None and not 0 <= summary[name] <= 1:
            raise NonsenseError(f"summary.json: {name} is {summary[name]}")


def check_files(folder: Path) -> None:
    """Raise ``NonsenseError`` unless the results of a run, finished or not, hold finite numbers."""
    for path in sorted(folder.iterdir()):
        name = path.name
        if name.endswith(".partial"):
            raise NonsenseError(f"{name} was left behind")
        if path.suffix in {".json", ".jsonl", ".csv"} and path.is_file():
            text = path.read_text(encoding="utf-8")
            for problem in _bad_numbers(path.suffix, text):
                raise NonsenseError(f"{name}: {problem}")


def _bad_numbers(suffix: str, text: str) -> Iterator[str]:
    if suffix == ".csv":
        for row in csv.reader(text.splitlines()):
            yield from (
                f"a cell holds {cell}" for cell in row if cell.lower().lstrip("+-") in {"nan", "inf", "infinity"}
            )
        return
    for part in [text] if suffix == ".json" else text.splitlines():
        try:
            strict_json(part)
        except ValueError as error:
            yield f"is no JSON ({error})"


def strict_json(text: str) -> Any:
    """What a JSON text holds; raises ``ValueError`` for NaN and infinities, which are no JSON, and huge numbers."""

    def refuse(name: str) -> Any:
        raise ValueError(f"holds {name}")

    def finite(digits: str) -> float:
        number = float(digits)
        return number if math.isfinite(number) else refuse(digits)

    return json.loads(text, parse_constant=refuse, parse_float=finite)


def digest_of(folder: Path) -> str | None:
    """The digest of a finished run's student; None where its algorithm has none."""
    digest: str | None = strict_json((folder / "summary.json").read_text(encoding="utf-8"))["student_sha256"]
    return digest
