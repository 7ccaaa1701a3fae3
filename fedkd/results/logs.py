"""The logs of a run: files that grow by a few lines a round."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from fedkd.core.errors import RunError
from fedkd.core.files import append, replace_end, replace_file
from fedkd.distillation.balanced_step import StepRow
from fedkd.results.records import ClientRecord, RoundRecord

STEP_COLUMNS = (
    "round",
    "step",
    "lambda",
    "loss_dist",
    "loss_cls",
    "norm_dist",
    "norm_cls",
    "cos",
    "predicted_decrease",
    "measured_decrease",
    "predicted_decrease_dist",
    "predicted_decrease_cls",
    "measured_decrease_dist",
    "measured_decrease_cls",
    "learning_rate",
    "temperature",
)
CLIENT_COLUMNS = (
    "round",
    "client",
    "model",
    *(f"{way}_{what}" for way in ("up", "down") for what in ("logits", "parameters", "other")),
    "validation_accuracy",
    "test_accuracy",
    "behaviour",
)


class RunLogs:
    """``clients.csv``, ``distillation.csv``, ``rounds.jsonl`` and ``timings.jsonl`` of one run directory.

    ``sizes`` are the bytes of each that are known to be whole lines.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.sizes: dict[str, int] = {}

    def begin(self) -> None:
        """Start the files anew, with nothing but their headings."""
        for name, heading in _HEADINGS.items():
            replace_file(self._folder / name, heading.encode())
            self.sizes[name] = len(heading.encode())

    def add(self, lines: Mapping[str, str]) -> None:
        """Append lines, given by file name."""
        for name, text in lines.items():
            content = text.encode()
            append(self._folder / name, content)
            self.sizes[name] += len(content)

    def resume_from(self, sizes: Mapping[str, int], lines: Mapping[str, str]) -> None:
        """Cut the files back to ``sizes``, as if nothing had been added since, and append ``lines``.

        Raises ``RunError`` when a file is shorter than that: what it held is nowhere else.
        """
        for name, size in sizes.items():
            path = self._folder / name
            found = path.stat().st_size if path.is_file() else 0
            if found < size:
                raise RunError(
                    f"{path} has {found} bytes, and {size} belong to finished rounds; put it back as it was, or start "
                    "a new run"
                )
        for name, size in sizes.items():
            content = lines.get(name, "").encode()
            replace_end(self._folder / name, size, content)
            self.sizes[name] = size + len(content)


def round_lines(
    record: RoundRecord, clients: Iterable[ClientRecord], steps: Iterable[StepRow], seconds: float
) -> dict[str, str]:
    """What a finished round adds to each log; ``seconds`` is its wall time."""
    rows = ((_blank_for_none(value) for value in asdict(row).values()) for row in steps)
    return {
        "clients.csv": _csv(_client_row(client) for client in clients),
        "distillation.csv": _csv(rows),
        "rounds.jsonl": json.dumps(asdict(record)) + "\n",
        "timings.jsonl": json.dumps({"round": record.round, "seconds": round(seconds, 3)}) + "\n",
    }


def _client_row(row: ClientRecord) -> list[object]:
    return [
        row.round,
        row.client,
        row.model,
        *(count for way in (row.sent, row.received) for count in (way.logits, way.parameters, way.other)),
        *(_blank_for_none(value) for value in (row.validation_accuracy, row.test_accuracy)),
        row.behaviour,
    ]


def _blank_for_none(value: object) -> object:
    return "" if value is None else value


def _csv(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()


_HEADINGS = {
    "clients.csv": _csv([CLIENT_COLUMNS]),
    "distillation.csv": _csv([STEP_COLUMNS]),
    "rounds.jsonl": "",
    "timings.jsonl": "",
}
