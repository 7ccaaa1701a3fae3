"""What a node's operator has fixed, no message changes: its experiment, its clients, its keys, its memory."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message

from fedkd.app.checks import check
from fedkd.client.performer import CLIENT_FN
from fedkd.config.digest import configuration_digest
from fedkd.config.load import load_config, to_json
from fedkd.config.schema import ExperimentConfig
from fedkd.core.errors import RunError
from fedkd.core.messages import Host, Job, Reply
from fedkd.engines.flower.discovery import discover_nodes
from fedkd.engines.flower.engine import FederationEngine
from fedkd.engines.flower.node import admit, at_home
from fedkd.engines.flower.wire import Cohort, Ready, claim_label
from fedkd.engines.resources import Workload
from fedkd.experiment import Experiment
from fedkd.privacy.secure_sum.identities import Directory
from fedkd.privacy.secure_sum.key_files import joined, make_keys, write_directory
from fedkd.server.secure_round import sum_securely
from fedkd.server.server import Server
from tests.support.federations import SMALL
from tests.support.local_grid import LocalGrid

pytestmark = pytest.mark.usefixtures("task_identity")

SIX = ("clients.count=6", "controls=[]")
SECURE = (*SIX, "privacy.secure_aggregation.entropy=system")
NODES = 2


@dataclass
class Deployment:
    """Two nodes whose operators have fixed the experiment and the keys, and a server that knows the public ones."""

    folder: Path
    config: ExperimentConfig
    node_configs: Sequence[dict[str, Any]]
    directory: Directory

    def engine(self, config: ExperimentConfig | None = None) -> FederationEngine:
        return FederationEngine(
            LocalGrid(len(self.node_configs), node_configs=self.node_configs),
            self.config.engine,
            Workload(6, memory="/tmp/of/the/server"),
            experiment=to_json(config or self.config),
            directory=self.directory,
            join=0.3,
        )

    def server(self, name: str = "server") -> Server:
        return Server.build(Experiment.of(self.config), state_dir=str(self.folder / name), directory=self.directory)


@pytest.fixture
def deployed(tmp_path: Path) -> Deployment:
    config = check(load_config(SMALL, SECURE)).config
    keys = [make_keys(tmp_path / f"keys{node}", range(node, 6, NODES)) for node in range(NODES)]
    everybody = joined((str(node), each) for node, each in enumerate(keys))
    write_directory(tmp_path / "directory.json", everybody)
    node_configs = [
        {
            "partition-id": node,
            "num-partitions": NODES,
            "state-dir": str(tmp_path / f"node{node}"),
            "keys": str(tmp_path / f"keys{node}"),
            "key-directory": str(tmp_path / "directory.json"),
            "configuration": configuration_digest(config),
        }
        for node in range(NODES)
    ]
    return Deployment(tmp_path, config, node_configs, Directory.of(everybody))


def test_clients_with_keys_of_their_own_sum_once_whatever_the_server_calls_the_run(deployed: Deployment) -> None:
    """The server's folders have another name, and with that the key that nodes file the run under: to no avail."""
    server, other = deployed.server(), deployed.server("other")
    assert server.experiment is other.experiment
    with deployed.engine() as engine:
        first = sum_securely(server.experiment, server.job(1), 40, engine.run, deployed.directory)
        assert first.survivors == tuple(range(6))

        def losing(job: Job, clients: Sequence[int]) -> list[Reply]:
            replies = list(engine.run(job, clients))
            return [
                replace(reply, error="lost") if (job.kind, reply.client) == ("secure/mask", 5) else reply
                for reply in replies
            ]

        with pytest.raises(RunError, match="would tell of single ones"):
            sum_securely(other.experiment, other.job(1), 40, losing, deployed.directory)
    keys = {(deployed.folder / name / "state_key").read_text() for name in ("server", "other")}
    assert len(keys) == 2, "the nodes were given two keys"
    assert not (deployed.folder / "client_state").exists()


def test_keys_from_the_seed_do_not_do(deployed: Deployment) -> None:
    """Whoever knows the seed cannot speak in the clients' names."""
    server = deployed.server()
    with deployed.engine() as engine, pytest.raises(RunError, match="the signature is not that of client 0"):
        sum_securely(server.experiment, server.job(1), 40, engine.run)


def cohort(config: ExperimentConfig, **changes: Any) -> Cohort:
    job = Job(changes.pop("kind", "secure/advertise"), 1, to_json(config), host=Host("/tmp/of/the/server"))
    return replace(Cohort(job, (0, 2), CLIENT_FN, 60.0, memory="/tmp/of/the/server"), **changes)


def test_the_memory_is_the_nodes_own(deployed: Deployment) -> None:
    host = at_home(cohort(deployed.config), deployed.node_configs[0]).host
    assert host == Host(
        str(deployed.folder / "node0"), str(deployed.folder / "keys0"), str(deployed.folder / "directory.json")
    )


def other(*overrides: str) -> Callable[[ExperimentConfig], Cohort]:
    return lambda config: cohort(load_config(SMALL, [*SECURE, *overrides]))


REFUSED: dict[str, tuple[Callable[[ExperimentConfig], Cohort], str]] = {
    "another seed": (other("seed=1"), "is there for the configuration"),
    "more rounds": (other("rounds=4"), "is there for the configuration"),
    "more repeats": (other("privacy.secure_aggregation.repeats=9"), "is there for the configuration"),
    "a lower threshold": (other("privacy.secure_aggregation.threshold=0.6"), "is there for the configuration"),
    "in the open": (
        lambda config: cohort(load_config(SMALL, SIX), kind="round"),
        "is there for the configuration",
    ),
    "a report": (lambda config: cohort(config, kind="round"), "gives away what privacy.secure_aggregation hides"),
    "an accuracy": (lambda config: cohort(config, kind="local"), "gives away what privacy.secure_aggregation hides"),
    "clients of another node": (
        lambda config: cohort(config, clients=(0, 1)),
        r"clients \[1\] do not live on the node",
    ),
    "other code": (lambda config: cohort(config, client_fn="os:system"), "asked for 'os:system'"),
}


@pytest.mark.parametrize("asked", REFUSED)
def test_a_node_does_nothing_but_its_own_experiment(deployed: Deployment, asked: str) -> None:
    make, message = REFUSED[asked]
    with pytest.raises(RunError, match=message):
        at_home(make(deployed.config), deployed.node_configs[0])


def test_what_is_a_machines_own_affair_is_not_in_the_digest(deployed: Deployment) -> None:
    moved = load_config(SMALL, [*SECURE, "data.root=/elsewhere", "engine.timeout=7"])
    assert configuration_digest(moved) == configuration_digest(deployed.config)
    assert at_home(cohort(moved), deployed.node_configs[0] | {"data-root": "/here"}).host is not None


@pytest.mark.parametrize("name", ["keys", "key-directory", "configuration"])
def test_secure_sums_take_all_that_an_operator_fixes_but_in_a_trial(deployed: Deployment, name: str) -> None:
    lacking = {key: value for key, value in deployed.node_configs[0].items() if key != name}
    with pytest.raises(RunError, match=rf"--node-config lacks {name}.*trial=true"):
        at_home(cohort(deployed.config), lacking)
    bare = {key: lacking[key] for key in ("partition-id", "num-partitions", "state-dir")}
    assert at_home(cohort(deployed.config), bare | {"trial": True}).host == Host(bare["state-dir"])


def test_secrets_from_the_seed_are_refused_but_in_a_trial(deployed: Deployment) -> None:
    seeded = load_config(SMALL, [*SIX, "privacy.secure_aggregation.entropy=seed"])
    pinned = deployed.node_configs[0] | {"configuration": configuration_digest(seeded)}
    with pytest.raises(RunError, match=r"entropy: must be system in a deployment, got seed.*trial=true"):
        at_home(cohort(seeded), pinned)
    assert at_home(cohort(seeded), pinned | {"trial": True}).host is not None


def test_nodes_say_before_the_first_round_what_they_are_not_there_for(deployed: Deployment) -> None:
    longer = load_config(SMALL, [*SECURE, "rounds=4"])
    with pytest.raises(RunError, match=rf"is there for .*asked for {configuration_digest(longer)}"):
        deployed.engine(longer).__enter__()
    ready = Ready(CLIENT_FN, to_json(deployed.config), "", "nonce")
    with pytest.raises(RunError, match=r"directory of public keys is none and this node's [0-9a-f]{64}"):
        admit(ready, 7, deployed.node_configs[0])


class Silent(LocalGrid):
    """Its first node never answers."""

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        sent = list(messages)
        identifiers = super().push_messages(sent)
        for identifier, message in zip(identifiers, sent, strict=True):
            if message.metadata.dst_node_id == self.nodes[0]:
                del self._replies[identifier]
        return identifiers


def test_strangers_that_claim_a_partition_are_ignored_where_nodes_have_keys(deployed: Deployment) -> None:
    stranger: dict[str, Any] = {"partition-id": 0, "num-partitions": NODES}
    with_keys = stranger | {"keys": str(deployed.folder / "rogue"), "key-directory": str(deployed.folder / "d.json")}
    write_directory(deployed.folder / "d.json", make_keys(deployed.folder / "rogue", [0]))
    known = list(deployed.node_configs)
    deployed.node_configs = [stranger, *known, with_keys]
    server = deployed.server()
    with deployed.engine() as engine:
        result = sum_securely(server.experiment, server.job(1), 40, engine.run, deployed.directory)
    assert result.survivors == tuple(range(6))
    silent = Silent(NODES + 1, node_configs=[stranger, *known])
    assert discover_nodes(silent, 6, CLIENT_FN, directory=deployed.directory, answer=60.0) == tuple(silent.nodes[1:])
    deployed.node_configs = [stranger, known[1]]
    with pytest.raises(RunError, match=r"partition-id 0 missing.*1 others were ignored \(node \d+: RunError: secure"):
        deployed.engine().__enter__()


def test_a_claim_is_good_for_one_question_and_node(deployed: Deployment) -> None:
    ready = Ready(CLIENT_FN, to_json(deployed.config), deployed.directory.digest, "nonce")
    claim = admit(ready, 7, deployed.node_configs[1])
    assert claim.partition.index == 1

    def known(nonce: str, node: int) -> bool:
        return deployed.directory.verifies(1, claim_label(nonce, node, claim.partition), claim.signature)

    assert known("nonce", 7)
    assert not known("another", 7)
    assert not known("nonce", 8)
