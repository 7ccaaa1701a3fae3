"""Makes the scripts and the engines' helpers importable by name, and this process one that may make messages."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Before the test modules are imported, because they import from there.
for folder in ("scripts", "tests/engines"):
    if (path := str(ROOT / folder)) not in sys.path:
        sys.path.insert(0, path)


@pytest.fixture(scope="session", autouse=True)
def _task_identity() -> None:
    """Messages can only be made by a process that Flower knows as a task."""
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
