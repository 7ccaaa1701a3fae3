"""The directory that a run writes."""

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from fedkd.config import ExperimentConfig, to_mapping
from fedkd.distillation import StepRow
from fedkd.errors import RunError
from fedkd.records._types import RoundRecord, Summary

CSV_COLUMNS = (
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
CHECKPOINTS_KEPT = 2


class RunDirectory:
    """Files of one run; every finished round is on disk before the next begins."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, config: ExperimentConfig) -> "RunDirectory":
        """A new run directory holding the resolved config.

        Raises ``RunError`` when ``path`` already holds a run, or cannot be written.
        """
        if (path / "rounds.jsonl").exists() or (path / "config.yaml").exists():
            raise RunError(f"{path} already holds a run; choose another directory with --out, or remove it")
        try:
            (path / "checkpoints").mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(to_mapping(config), sort_keys=False, allow_unicode=True)
            (path / "config.yaml").write_text(text, encoding="utf-8")
            with (path / "distillation.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow(CSV_COLUMNS)
            (path / "rounds.jsonl").touch()
        except OSError as error:
            raise RunError(f"{path} cannot be written ({error}); choose another directory with --out") from error
        return cls(path)

    def end_round(self, record: RoundRecord, rows: Iterable[StepRow], seconds: float) -> None:
        """Append a finished round to the logs."""
        with (self.path / "distillation.csv").open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            for row in rows:
                values = asdict(row)
                writer.writerow("" if value is None else value for value in values.values())
        _append_line(self.path / "rounds.jsonl", asdict(record))
        _append_line(self.path / "timings.jsonl", {"round": record.round, "seconds": round(seconds, 3)})

    def save_checkpoint(self, round: int, state: Mapping[str, Any]) -> None:
        """Write a checkpoint atomically and keep the newest two."""
        folder = self.path / "checkpoints"
        target = folder / f"round_{round:05d}.pt"
        partial = target.with_suffix(".partial")
        torch.save(dict(state), partial)
        os.replace(partial, target)
        for old in sorted(folder.glob("round_*.pt"))[:-CHECKPOINTS_KEPT]:
            old.unlink()

    def finish(self, summary: Summary) -> None:
        """Write ``summary.json`` atomically."""
        partial = self.path / "summary.json.partial"
        partial.write_text(json.dumps(asdict(summary), indent=2) + "\n", encoding="utf-8")
        os.replace(partial, self.path / "summary.json")


def parameter_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, types, shapes and bytes of a model's state, sorted by name."""
    digest = hashlib.sha256()
    for name in sorted(state):
        array = state[name].detach().cpu().contiguous().numpy()
        digest.update(f"{name}:{array.dtype}:{array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _append_line(path: Path, row: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())
