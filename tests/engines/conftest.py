"""Lets this process make Flower messages."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _task_identity() -> None:
    """Messages can only be made by a process that Flower knows as a task."""
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
