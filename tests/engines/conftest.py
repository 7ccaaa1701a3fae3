"""Makes the helpers beside this file importable by name, here and in the processes that the tests start."""

import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)


# Before the test modules are imported, because they import from here.
sys.path.insert(0, HERE)


@pytest.fixture(scope="session", autouse=True)
def _task_identity() -> None:
    """Messages can only be made by a process that Flower knows as a task."""
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
