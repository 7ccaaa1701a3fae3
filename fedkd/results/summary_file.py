"""``summary.json``: the result of a run, bound to its configuration and to the logs that it sums up."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from fedkd.core.documents import first_fault, read_document, write_document
from fedkd.core.errors import FolderError
from fedkd.results.logs import TIMELESS, LogName, LogState
from fedkd.results.records import Summary

SUMMARY = "summary.json"
LOGS = "logs"
"""Where the file has the digests of the logs."""

_SUMMARY = TypeAdapter(Summary)


def write_summary(folder: Path, summary: Summary, logs: Mapping[LogName, LogState], run: str) -> None:
    """Write the result of the run with this digest, whose logs are now as ``logs`` says; raises ``RunError``."""
    digests = {LOGS: {name: logs[name].sha256 for name in TIMELESS}}
    write_document(folder / SUMMARY, asdict(summary) | digests, run)


def read_summary(folder: Path, run: str) -> tuple[Summary, dict[str, Any]] | None:
    """The result, and as JSON has it; None where the run is not finished.

    Raises ``FolderError`` when the file is damaged or belongs to another run, or when the logs are not those that it
    sums up.
    """
    path = folder / SUMMARY
    if not path.exists():
        return None
    remedy = f"fedkd run --resume --out {folder} makes it again"
    content = read_document(path, run, remedy)
    try:
        digests = dict(content.pop(LOGS))
        summary = _SUMMARY.validate_json(json.dumps(content), strict=True)
    except (KeyError, TypeError, ValueError) as error:
        raise FolderError(f"{path} is damaged ({first_fault(error)}); {remedy}") from error
    for name in TIMELESS:
        _check_log(folder, name, digests.get(name))
    return summary, content


def _check_log(folder: Path, name: LogName, digest: str | None) -> None:
    path = folder / name
    try:
        found = LogState.of(path.read_bytes()).sha256
    except OSError as error:
        raise FolderError(f"{path} cannot be read ({error.strerror}); put it back from a copy") from error
    if found != digest:
        raise FolderError(
            f"{path} was changed: it is not the one that {folder / SUMMARY} sums up; put it back from a copy, or try "
            f"fedkd run --resume --out {folder}, which mends the newest rounds"
        )
