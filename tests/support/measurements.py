"""What a run's files say of clients that only a simulator measures."""

import csv
import json
from pathlib import Path
from typing import Any

ACCURACIES = ("validation_accuracy", "test_accuracy")


def without_measurements(folder: Path) -> tuple[Any, ...]:
    """A run's rounds, clients and steps, without what clients measured for the simulator's user."""
    lines = (folder / "rounds.jsonl").read_text(encoding="utf-8").splitlines()
    rounds = [_without(json.loads(line)) for line in lines]
    clients = [row | dict.fromkeys(ACCURACIES) for row in _clients(folder)]
    return rounds, clients, (folder / "distillation.csv").read_text(encoding="utf-8")


def measured(folder: Path) -> list[Any]:
    """All that clients measured in a run."""
    lines = (folder / "rounds.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line)["client_accuracy"] for line in lines]
    found += [row[name] for row in _clients(folder) for name in ACCURACIES]
    return [value for value in found if value not in (None, "")]


def _without(record: dict[str, Any]) -> dict[str, Any]:
    """A round's record; what is diagnosed rests on what clients measured too."""
    known = record["circumstances"] | {"client_accuracy": None, "client_guess": None, "client_samples": 0}
    return record | {"client_accuracy": None, "circumstances": known, "diagnosis": None}


def _clients(folder: Path) -> list[dict[str, Any]]:
    with (folder / "clients.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
