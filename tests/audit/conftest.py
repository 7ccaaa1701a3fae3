"""Finished runs to attack."""

from pathlib import Path

import pytest

from tests.support.attack_runs import finished


@pytest.fixture(scope="session")
def overfitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose clients know their data by heart; do not change it, but for its audit."""
    return finished(tmp_path_factory.mktemp("overfitted") / "run")


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose clients learn nothing at all, for want of a learning rate."""
    # Of a dozen intervals of 95 % one may miss by chance; in this run none does, whatever the default of λ is.
    return finished(
        tmp_path_factory.mktemp("untrained") / "run",
        *("clients.learning_rate=1e-12", "clients.epochs=1", "distillation.balancer=cosine"),
    )
