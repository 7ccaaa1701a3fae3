"""JSON files that say which run they belong to and whether they are as they were written.

Their last two keys are ``run``, the digest of the run's configuration (``fedkd.config.identity``), and ``sha256``, that
of everything else in the file but wall times, so that equal runs have equal files but for these. It reveals damage and
edits; it is no signature.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fedkd.core.errors import FolderError
from fedkd.core.files import json_text, replace_file

RUN, DIGEST = "run", "sha256"
_WALL_TIMES = frozenset({"seconds", "wall_seconds"})
_LARGEST = 2**63


def write_document(path: Path, content: Mapping[str, Any], run: str) -> None:
    """Write ``content``, which JSON can hold, atomically; raises ``RunError`` when that fails."""
    document = json.loads(json_text(content)) | {RUN: run}
    document[DIGEST] = _digest(document)
    replace_file(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


def read_document(path: Path, run: str, remedy: str) -> dict[str, Any]:
    """What ``write_document`` wrote for this run.

    Raises ``FolderError``, which ends with the ``remedy``, for a file that cannot be read, was changed, or belongs to
    another run.
    """
    document = read_json(path, remedy)
    if not isinstance(document, dict) or document.get(DIGEST) != _digest(document):
        raise FolderError(f"{path} was changed: it does not have the digest it was written with; {remedy}")
    if document[RUN] != run:
        raise FolderError(
            f"{path} was not written for the configuration in {path.with_name('config.yaml')}: one of the two was "
            f"changed or is another run's; {remedy}"
        )
    return {name: value for name, value in document.items() if name not in {RUN, DIGEST}}


def read_json(path: Path, remedy: str) -> Any:
    """What a JSON file says; raises ``FolderError``, which ends with the ``remedy``, where it cannot be read."""
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FolderError(f"{path} cannot be read ({error.strerror}); {remedy}") from error
    except ValueError as error:
        raise FolderError(f"{path} is damaged: it is not valid JSON ({error}); {remedy}") from error


def parse_json(text: str) -> Any:
    """What JSON says; raises ``ValueError`` for anything else, and for whole numbers beyond 64 bits."""
    try:
        return json.loads(text, parse_int=_whole_number)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def first_fault(error: Exception) -> str:
    """The first thing that a validation found, on one line."""
    if not isinstance(error, ValidationError):
        return f"{type(error).__name__}: {error}"
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"


def _whole_number(text: str) -> int:
    if len(text) > len(str(_LARGEST)) + 1 or not -_LARGEST <= (number := int(text)) < _LARGEST:
        raise ValueError(f"{text[:30]} is beyond 64 bits")
    return number


def _digest(document: Mapping[str, Any]) -> str:
    """Of everything but the digest itself and wall times."""
    text = json.dumps(_timeless({name: value for name, value in document.items() if name != DIGEST}), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(item) for name, item in value.items() if name not in _WALL_TIMES}
    return [_timeless(item) for item in value] if isinstance(value, list) else value
