"""What a run has recorded, as pandas frames. Pandas takes half a second to import, and is imported with the first."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedkd.core.documents import read_json
from fedkd.core.errors import FolderError
from fedkd.results.logs import BY_CLASS

if TYPE_CHECKING:
    from pandas import DataFrame

    from fedkd.results.report.run_log import RunLog

_MEASURED = (
    "student_accuracy",
    "validation_accuracy",
    "teacher_accuracy",
    "client_accuracy",
    "mean_lambda",
    "loss_dist",
    "loss_cls",
    "temperature",
)
_ALWAYS = ("round", *_MEASURED, "bytes_up", "bytes_down", "clients", "failures", "seconds")
"""The columns of every frame of rounds, the first ones of it."""


def rounds_frame(log: "RunLog") -> "DataFrame":
    """``rounds.jsonl`` with the wall times; what belongs together has a common prefix, as ``validation.accuracy``."""
    rows = []
    for record in log.rounds:
        counts = {name: len(record[name]) for name in ("clients", "failures")}
        rows.append({**flat(record), **counts, "seconds": log.seconds.get(record["round"])})
    further = dict.fromkeys(name for row in rows for name in row if name not in _ALWAYS)
    found = table(rows, [*_ALWAYS, *further])
    return found.astype(dict.fromkeys((*_MEASURED, "seconds"), "float64"))


def failures_frame(log: "RunLog") -> "DataFrame":
    """Who was dropped from which round, and why."""
    rows = [{"round": record["round"], **failure} for record in log.rounds for failure in record["failures"]]
    return table(rows, ["round", "client", "reason"])


def controls_frame(histories: Mapping[str, Sequence[float]], rounds: int) -> "DataFrame":
    """Each control's test accuracy by round; that of one with a single number is of the last of so many rounds."""
    rows = [
        {"control": name, "round": round, "accuracy": share}
        for name, history in histories.items()
        for round, share in enumerate(history, start=rounds if len(history) == 1 else 1)
    ]
    return table(rows, ["control", "round", "accuracy"])


def steps_frame(folder: Path) -> "DataFrame":
    """``distillation.csv``, with a column for each class where classes were measured."""
    from fedkd.results.report.run_log import read_steps

    steps = read_steps(folder / "distillation.csv")
    columns = {name: values for name, values in steps.columns.items() if name not in BY_CLASS}
    columns |= {f"{name}_{label}": values for name in BY_CLASS for label, values in enumerate(steps.by_class[name].T)}
    return table(columns).astype({"round": "int64", "step": "int64"})


def clients_frame(folder: Path) -> "DataFrame":
    """``clients.csv``, without a last line that an interruption cut short."""
    import pandas

    path = folder / "clients.csv"
    try:
        text = path.read_text(encoding="utf-8")
        return pandas.read_csv(io.StringIO(text[: text.rfind("\n") + 1]))
    except OSError as error:
        raise FolderError(f"{path} cannot be read ({error.strerror}); put it back from a copy") from error
    except ValueError as error:
        raise FolderError(f"{path} is damaged ({error}); put it back from a copy") from error


def compression_frame(folder: Path) -> "DataFrame":
    """The networks of ``compression.json``."""
    return table(networks_of(folder))


def networks_of(folder: Path) -> Sequence[Mapping[str, Any]]:
    """What ``compression.json`` has of each network; raises ``FolderError`` where there is none."""
    rows: Sequence[Mapping[str, Any]] = read_json(
        folder / "compression.json", "fedkd distill writes it, where no tasks are learned in sequence"
    )["networks"]
    return rows


def joined(parts: Iterable[tuple[Mapping[str, object], "DataFrame"]]) -> "DataFrame":
    """The frames one below the other, each with what tells it from the others in its first columns."""
    import pandas

    labelled = [
        pandas.concat([table({name: [value] * len(frame) for name, value in labels.items()}), frame], axis="columns")
        for labels, frame in parts
    ]
    return pandas.concat(labelled, ignore_index=True)


def flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """What nested mappings hold that is known, by dotted path; lists are left out."""
    return dict(_leaves(record, prefix))


def _leaves(record: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        elif value is not None and not isinstance(value, list | tuple):
            yield f"{prefix}{key}", value


def table(content: Any, columns: Sequence[str] | None = None) -> "DataFrame":
    """Rows, or columns by name, as a frame."""
    import pandas

    return pandas.DataFrame(content, columns=columns)
