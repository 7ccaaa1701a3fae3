"""Clients whose private data are at home keep their own account of what they gave away, and tell ε alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from fedkd.core.errors import RunError
from fedkd.core.messages import LOGITS
from fedkd.engines.flower.wire import decode_replies
from fedkd.privacy.ledger import PrivacyLedger
from tests.support.homes import NODES, Homes

pytestmark = pytest.mark.usefixtures("task_identity")

DP_SGD = (
    "privacy.mechanism={name: dp_sgd, noise_multiplier: 1.1}",
    "clients.batch_size=8",
    "strategy=mean_probabilities",
)
SUMMED = ("privacy.secure_aggregation={entropy: seed}", "strategy=mean_probabilities", "data.public.round_size=4")


@pytest.fixture
def homes(tmp_path: Path) -> Homes:
    found = Homes.divided(tmp_path)
    found.given = {node: {"trial": True} for node in range(NODES)}
    return found


def events(charges: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Who was charged what in which round, whatever the attempt is called."""
    return [(each["client"], each["round"], each["event"]) for each in charges]


def own_charges(homes: Homes) -> list[dict[str, Any]]:
    found = []
    for node in range(NODES):
        (file,) = (homes.folder / f"state{node}/ledgers").glob("*/*.json")
        assert file.name == f"client_00000{node}.json"
        assert file.stat().st_mode & 0o077 == 0
        found += json.loads(file.read_text(encoding="utf-8"))["charges"]
    return found


def charges_of(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((run / "privacy_ledger.json").read_text(encoding="utf-8"))["charges"]
    return found


@pytest.mark.parametrize("changes", [DP_SGD, (*DP_SGD, *SUMMED)], ids=["in the open", "in secure sums"])
def test_nodes_ledgers_are_the_simulations(changes: tuple[str, ...], homes: Homes) -> None:
    simulated, deployed = homes.simulated(*changes), homes.deployed(*changes)
    own = own_charges(homes)
    assert len(own) == 2 * NODES
    assert events(own) == sorted(events(charges_of(homes.folder / "simulated")))
    assert events(own) == sorted(events(charges_of(homes.folder / "deployed")))
    assert deployed.epsilon == simulated.epsilon
    for node in range(NODES):
        ledger = PrivacyLedger()
        ledger.load_state_dict({"charges": [each for each in own if each["client"] == node]})
        assert deployed.node_epsilon[node] == ledger.epsilon(deployed.delta)
    assert simulated.node_epsilon == {}
    assert len({str(event) for _, _, event in events(own)}) == 1, (
        "by the most that a client may have, not by what it has"
    )


def test_the_server_sees_the_sum_alone(homes: Homes) -> None:
    grid = homes.grid()
    deployed = homes.deployed(*SUMMED, grid=grid)
    assert deployed.student_sha256 == homes.simulated(*SUMMED).student_sha256
    clients = [client for _ in range(len(grid.replied) // NODES) for client in range(NODES)]
    for message, client in zip(grid.replied, clients, strict=True):
        (reply,) = decode_replies(message, [client])
        assert LOGITS not in reply.arrays
        assert (reply.examples, reply.epsilon, reply.error) == (None, None, None)


def test_a_client_without_its_ledger_releases_nothing(homes: Homes) -> None:
    homes.deployed(*DP_SGD)
    for node in range(NODES):
        (file,) = (homes.folder / f"state{node}/ledgers").glob("*/*.json")
        file.write_text(file.read_text(encoding="utf-8")[:-5], encoding="utf-8")
    grid = homes.grid()
    with pytest.raises(RunError, match=r"client 0: FolderError in own_ledger\.py, line \d+; the log of its node says"):
        homes.deployed(*DP_SGD, grid=grid, out="again")
    assert "is damaged, and nothing is released without it" in (homes.folder / "state0/errors.log").read_text()
    assert all(not message.content.array_records["arrays"] for message in grid.replied)
