"""Annotated tensor shapes are checked at run time in every test."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.shape_checks import check_shapes

# How long an example takes depends on what else the machine does.
settings.register_profile("fedkd", deadline=None)
settings.load_profile("fedkd")

_WITH_TENSORS = [
    "fedkd.aggregation",
    "fedkd.analysis",
    "fedkd.audit",
    "fedkd.client",
    "fedkd.core",
    "fedkd.data",
    "fedkd.distillation",
    "fedkd.models",
    "fedkd.privacy",
    "fedkd.server",
    "strategies",
    "clients",
]

# Must run before anything imports the packages. Modules that pass around protocols (Engine, Observer) are left out:
# beartype can only check protocols that are declared checkable at run time.
check_shapes(_WITH_TENSORS)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, for some tests wait for other processes; at most four, for they take memory."""
    return min(4, (os.cpu_count() or 1) + 1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What sweeps find out is kept apart from what the user's own have found out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDKD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _undrawn_figures() -> Iterator[None]:
    from tests.support.drawn_figures import figures_undrawn

    with figures_undrawn():
        yield


@pytest.fixture
def drawn_figures() -> Iterator[None]:
    """All figures are drawn in the test, those of runs too."""
    from tests.support.drawn_figures import figures_drawn

    with figures_drawn():
        yield


@pytest.fixture(scope="session")
def task_identity() -> None:
    """Messages can only be made by a process that Flower knows as a task."""
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
