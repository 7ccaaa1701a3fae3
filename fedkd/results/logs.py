"""The logs of a run: files that grow by a few lines a round."""

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from fedkd.core.errors import FolderError
from fedkd.core.files import append, json_text, replace_end, replace_file
from fedkd.distillation.balanced_step import StepRow
from fedkd.results.records import ClientRecord, RoundRecord

LogName = Literal["clients.csv", "distillation.csv", "rounds.jsonl", "timings.jsonl"]
LOGS: tuple[LogName, ...] = get_args(LogName)

TIMINGS: LogName = "timings.jsonl"
TIMELESS: tuple[LogName, ...] = tuple(name for name in LOGS if name != TIMINGS)
"""The logs that equal runs have in common."""

BY_CLASS = ("cos_by_class", "gap_by_class")
"""The columns that hold a number per class, where it was measured."""
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
    *BY_CLASS,
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


@dataclass(frozen=True)
class LogState:
    """The first ``size`` bytes of a log, by their digest in hexadecimal."""

    size: int = 0
    sha256: str = hashlib.sha256().hexdigest()

    @classmethod
    def of(cls, content: bytes) -> "LogState":
        return cls(len(content), hashlib.sha256(content).hexdigest())


class RunLogs:
    """``clients.csv``, ``distillation.csv``, ``rounds.jsonl`` and ``timings.jsonl`` of one run directory.

    ``states`` says what of each is known to be whole lines of finished rounds.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digests = {name: hashlib.sha256() for name in LOGS}
        self._sizes = dict.fromkeys(LOGS, 0)

    @property
    def states(self) -> dict[LogName, LogState]:
        return {name: LogState(self._sizes[name], self._digests[name].hexdigest()) for name in LOGS}

    @property
    def begun(self) -> bool:
        """Whether a file holds more than its heading."""
        paths = {name: self._folder / name for name in LOGS}
        return any(path.is_file() and path.stat().st_size > len(_HEADINGS[name]) for name, path in paths.items())

    def begin(self) -> None:
        """Start the files anew, with nothing but their headings."""
        for name in LOGS:
            replace_file(self._folder / name, _HEADINGS[name].encode())
            self._note(name, _HEADINGS[name].encode(), anew=True)

    def add(self, lines: Mapping[LogName, str]) -> None:
        """Append lines."""
        for name, text in lines.items():
            append(self._folder / name, text.encode())
            self._note(name, text.encode())

    def check(self, states: Mapping[LogName, LogState]) -> None:
        """Raise ``FolderError`` where a file, but for wall times, does not begin as it did when it had this state."""
        for name in TIMELESS:
            self._beginning(name, states)

    def check_lines(self, states: Mapping[LogName, LogState], lines: Mapping[LogName, str]) -> None:
        """The same, also where these lines follow, all of them or only a part as yet, and something else is there."""
        for name in TIMELESS:
            expected = self._beginning(name, states) + lines.get(name, "").encode()
            found = (self._folder / name).read_bytes()
            if found[: len(expected)] != expected[: len(found)]:
                raise FolderError(f"{self._folder / name} was changed: its last lines are not what the round wrote")

    def resume_from(self, states: Mapping[LogName, LogState], lines: Mapping[LogName, str]) -> str | None:
        """Cut the files back to ``states``, as if nothing had been added since, and append ``lines``.

        Raises ``FolderError``, and touches none, where a file does not begin so: what it held is nowhere else. Wall
        times are not worth a run: where they are lost the file begins anew, and what is returned says why.
        """
        kept, lost = {name: self._beginning(name, states) for name in TIMELESS}, None
        try:
            kept[TIMINGS] = self._beginning(TIMINGS, states)
        except FolderError as error:
            lost = f"{error}; the wall times of earlier rounds are lost"
            replace_file(self._folder / TIMINGS, b"")
            kept[TIMINGS] = b""
        for name, beginning in kept.items():
            content = lines.get(name, "").encode()
            replace_end(self._folder / name, len(beginning), content)
            self._note(name, beginning + content, anew=True)
        return lost

    def _beginning(self, name: LogName, states: Mapping[LogName, LogState]) -> bytes:
        path, state = self._folder / name, states.get(name)
        if state is None:
            raise FolderError(f"nothing is known of {path}")
        try:
            with path.open("rb") as file:
                content = file.read(state.size)
        except OSError as error:
            raise FolderError(f"{path} cannot be read ({error.strerror})") from error
        if len(content) < state.size:
            raise FolderError(f"{path} has {len(content)} bytes, and {state.size} belong to finished rounds")
        if LogState.of(content) != state:
            raise FolderError(f"{path} was changed: what it has of finished rounds is not what they wrote")
        return content

    def _note(self, name: LogName, content: bytes, *, anew: bool = False) -> None:
        if anew:
            self._digests[name], self._sizes[name] = hashlib.sha256(), 0
        self._digests[name].update(content)
        self._sizes[name] += len(content)


def round_lines(
    record: RoundRecord, clients: Iterable[ClientRecord], steps: Iterable[StepRow], seconds: float
) -> dict[LogName, str]:
    """What a finished round adds to each log; ``seconds`` is its wall time."""
    return {
        "clients.csv": _csv(_client_row(client) for client in clients),
        "distillation.csv": _csv(_step_rows(steps)),
        "rounds.jsonl": json_text(asdict(record)) + "\n",
        "timings.jsonl": json_text({"round": record.round, "seconds": round(seconds, 3)}) + "\n",
    }


def steps_table(steps: Iterable[StepRow]) -> str:
    """``distillation.csv`` of these steps, with its heading."""
    return _HEADINGS["distillation.csv"] + _csv(_step_rows(steps))


def _step_rows(steps: Iterable[StepRow]) -> Iterable[Iterable[object]]:
    return ((_cell(value) for value in asdict(row).values()) for row in steps)


def _client_row(row: ClientRecord) -> list[object]:
    return [
        row.round,
        row.client,
        row.model,
        *(count for way in (row.sent, row.received) for count in (way.logits, way.parameters, way.other)),
        *(_cell(value) for value in (row.validation_accuracy, row.test_accuracy)),
        row.behaviour,
    ]


def _cell(value: object) -> object:
    """Blank for None; several numbers with semicolons in between."""
    if isinstance(value, tuple):
        return ";".join(map(str, value))
    return "" if value is None else value


def _csv(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()


_HEADINGS: dict[LogName, str] = {
    "clients.csv": _csv([CLIENT_COLUMNS]),
    "distillation.csv": _csv([STEP_COLUMNS]),
    "rounds.jsonl": "",
    "timings.jsonl": "",
}
