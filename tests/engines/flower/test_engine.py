"""In a deployment each client lives on one node, and keeps its state there."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from flwr.common.serde import recorddict_to_proto

from fedkd.app.run import run_experiment
from fedkd.client.performer import CLIENT_FN
from fedkd.config.load import load_config, parse_config, to_json, to_mapping
from fedkd.config.schema import ResourceConfig
from fedkd.core.errors import RunError
from fedkd.core.messages import Job, Reply
from fedkd.engines.building import over_grid
from fedkd.engines.flower import engine as federation
from fedkd.engines.flower.engine import FederationEngine
from fedkd.engines.flower.node import at_home, state_folder
from fedkd.engines.flower.wire import Cohort, decode_cohort
from fedkd.engines.inline import InlineEngine
from fedkd.engines.resources import Workload
from fedkd.results.observer import Silent
from fedkd.results.records import RoundRecord
from tests.support.local_grid import FIRST_NODE, LocalGrid
from tests.support.measurements import measured, without_measurements

pytestmark = pytest.mark.usefixtures("task_identity")

REMEMBERING: dict[str, Any] = {
    "seed": 3,
    "rounds": 3,
    "data": {"private_size": 90, "public": {"size": 60, "labelled": 30, "round_size": 20}},
    "clients": {"count": 5, "fraction": 0.6, "rule": "own_model"},
    "student": {"model": {"name": "mlp", "hidden": [16]}},
    "distillation": {"steps": 4, "warmup": 2},
    "communication": {
        "uplink": {"name": "quantise", "bits": 8, "delta": True, "compress": "zlib"},
        "downlink": {"name": "quantise", "bits": 8, "delta": True, "compress": "zlib"},
    },
    "controls": ["local_only"],
    "engine": {"kind": "inline"},
}
"""Clients have models of their own and code logits as differences; three of five take part in a round."""


def deployment(nodes: int, folder: Path | None = None) -> LocalGrid:
    """Nodes with a state folder each."""
    configs: list[Any] = [{"partition-id": index, "num-partitions": nodes} for index in range(nodes)]
    if folder is not None:
        configs = [config | {"state-dir": str(folder / f"node{index}")} for index, config in enumerate(configs)]
    return LocalGrid(nodes, node_configs=configs)


def engine(grid: LocalGrid, clients: int, **options: Any) -> FederationEngine:
    config = load_config({"engine": {"timeout": 30.0}}).engine
    return FederationEngine(grid, config, Workload(clients, "tests.support.engine_performers:choose", **options))


def texts(replies: Iterable[Reply]) -> dict[int, Any]:
    return {reply.client: (reply.error, sorted(reply.arrays), reply.examples, reply.measured) for reply in replies}


def test_a_client_is_asked_on_its_own_node_and_a_node_once() -> None:
    grid = deployment(3)
    job = Job("fail_on_even", 1, "{}")
    expected = texts(InlineEngine(Workload(client_fn="tests.support.engine_performers:choose")).run(job, range(7)))
    with engine(grid, 7) as running:
        assert texts(running.run(job, [6, 0, 3, 5, 1])) == {client: expected[client] for client in (6, 0, 3, 5, 1)}
        assert len(texts(running.run(job, range(7)))) == 7
    asked = [
        (message.metadata.dst_node_id - FIRST_NODE, decode_cohort(message.content).clients) for message in grid.sent
    ]
    assert asked[:3] == [(0, (0, 3, 6)), (2, (5,)), (1, (1,))]
    assert sorted(asked[3:]) == [(0, (0, 3, 6)), (1, (1, 4)), (2, (2, 5))]


def test_classes_of_clients_go_in_messages_of_their_own() -> None:
    grid = deployment(2)
    resources = {client: ResourceConfig(threads=2 if client < 3 else 1) for client in range(6)}
    with engine(grid, 6, resources=resources) as running:
        assert len(list(running.run(Job("fail_on_even", 1, "{}"), range(6)))) == 6
    sent = [decode_cohort(message.content) for message in grid.sent]
    found = sorted((cohort.clients, cohort.threads) for cohort in sent)
    assert found == [((0, 2), 2), ((1,), 2), ((3, 5), 1), ((4,), 1)]


def test_a_node_that_has_left_costs_its_own_clients() -> None:
    class Leaving(LocalGrid):
        def push_messages(self, messages: Iterable[Message]) -> list[str]:
            """As a grid does that knows no such node: one leaves its message out, another has an empty id for it."""
            kept = [message for message in messages if message.metadata.dst_node_id != self.gone]
            return super().push_messages(kept) or list(self.instead)

        gone = 0
        instead: tuple[str, ...] = ()

    for instead in ((), ("",)):
        grid = Leaving(2, node_configs=deployment(2).node_configs)
        with engine(grid, 4) as running:
            grid.gone, grid.instead = FIRST_NODE + 1, instead
            errors = {reply.client: reply.error for reply in running.run(Job("quiet", 1, "{}"), range(4))}
        lost = "its Flower node is not there any more"
        assert {errors[1], errors[3]} == {lost}
        assert lost not in {errors[0], errors[2]}


class StopAfter(Silent):
    """An interruption when a round is on disk."""

    def __init__(self, rounds: int) -> None:
        self.left = rounds

    def round_ended(self, record: RoundRecord, seconds: float) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[Any, ...], str]:
    out = tmp_path_factory.mktemp("reference") / "run"
    summary = run_experiment(load_config(REMEMBERING), out).summary
    assert summary.student_sha256 is not None
    assert len(measured(out)) > 0
    return without_measurements(out), summary.student_sha256


@pytest.fixture
def nodes(tmp_path: Path) -> LocalGrid:
    return deployment(2, tmp_path)


def deploy(grid: LocalGrid, out: Path, **options: Any) -> str | None:
    summary = run_experiment(load_config(REMEMBERING), out, engine=over_grid(grid, join=0.3), **options).summary
    return summary.student_sha256


def test_a_deployment_gives_the_same_bits_and_keeps_state_on_the_nodes(
    nodes: LocalGrid, tmp_path: Path, reference: tuple[tuple[Any, ...], str]
) -> None:
    sha = deploy(nodes, tmp_path / "run")
    assert (without_measurements(tmp_path / "run"), sha) == reference
    assert measured(tmp_path / "run") == []
    assert [path.name for path in (tmp_path / "run/client_state").iterdir()] == ["state_key"]
    key = (tmp_path / "run/client_state/state_key").read_text().split()[0]
    for node, clients in enumerate(
        ({"client_000000", "client_000002", "client_000004"}, {"client_000001", "client_000003"})
    ):
        assert [path.name for path in (tmp_path / f"node{node}").iterdir()] == [key]
        kept = {path.name for path in (tmp_path / f"node{node}" / key).iterdir()}
        assert kept
        assert kept <= clients


def test_two_runs_on_the_same_nodes_do_not_see_each_other(
    nodes: LocalGrid, tmp_path: Path, reference: tuple[tuple[Any, ...], str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        deploy(nodes, tmp_path / "first", observer=StopAfter(2))
    sha = deploy(nodes, tmp_path / "second")
    assert (without_measurements(tmp_path / "second"), sha) == reference


def test_an_interrupted_deployment_goes_on_with_the_state_of_its_nodes(
    nodes: LocalGrid, tmp_path: Path, reference: tuple[tuple[Any, ...], str]
) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        deploy(nodes, out, observer=StopAfter(2))
    with pytest.raises(RunError, match="on the nodes of a Flower deployment; go on there"):
        run_experiment(load_config(REMEMBERING), out, resume=True)
    with pytest.raises(RunError, match=r"live on 2 SuperNodes.*and there are 3"):
        deploy(deployment(3, tmp_path), out, resume=True)
    sha = deploy(nodes, out, resume=True)
    assert (without_measurements(out), sha) == reference


def test_a_run_with_its_state_elsewhere_is_not_deployed(nodes: LocalGrid, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_experiment(load_config(REMEMBERING), tmp_path / "run", StopAfter(1))
    with pytest.raises(RunError, match=r"holds what this run's clients keep between rounds.*by fedkd run"):
        deploy(nodes, tmp_path / "run", resume=True)


def test_clients_that_keep_nothing_may_go_on_anywhere(nodes: LocalGrid, tmp_path: Path) -> None:
    plain = {key: value for key, value in REMEMBERING.items() if key not in {"communication", "controls"}}
    config = load_config(plain | {"clients": {"count": 3}})
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_experiment(config, out, StopAfter(1), engine=over_grid(nodes, join=0.3))
    resumed = run_experiment(config, out, resume=True).summary
    assert resumed.student_sha256 == run_experiment(config, tmp_path / "reference").summary.student_sha256
    assert not (out / "client_state").exists()


class Simulated(LocalGrid):
    """Flower's simulated nodes know how many they are, and become visible one by one."""

    def __init__(self, nodes: int) -> None:
        super().__init__(nodes, node_configs=deployment(nodes).node_configs)
        self.visible, self.simulated = 0, True

    def get_node_ids(self) -> list[int]:
        self.visible += 1
        return self.nodes[: self.visible - 1]


@pytest.fixture
def _simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federation, "InMemoryGrid", Simulated)


@pytest.mark.usefixtures("_simulation")
@pytest.mark.parametrize("nodes", [2, 9])
def test_any_number_of_simulated_nodes_will_do(
    nodes: int, tmp_path: Path, reference: tuple[tuple[Any, ...], str]
) -> None:
    """Flower simulates two unless told otherwise. What clients remember stays with the run."""
    grid = Simulated(nodes)
    sha = deploy(grid, tmp_path / "run")
    assert (without_measurements(tmp_path / "run"), sha) == reference
    assert grid.visible > nodes
    assert {path.name for path in (tmp_path / "run/client_state").iterdir()} <= {f"client_00000{c}" for c in range(5)}


@pytest.mark.usefixtures("_simulation")
def test_simulated_nodes_that_do_not_come_are_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federation, "START_SECONDS", 0.2)
    with pytest.raises(RunError, match=r"Flower simulated no node within 0\.2 s; set num-supernodes to at least 1"):
        engine(Simulated(0), 3).__enter__()


@pytest.mark.usefixtures("_simulation")
def test_a_simulation_does_not_go_on_with_state_that_is_on_nodes(nodes: LocalGrid, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        deploy(nodes, tmp_path / "run", observer=StopAfter(1))
    with pytest.raises(RunError, match=r"on the nodes of a Flower deployment; go on there"):
        deploy(Simulated(2), tmp_path / "run", resume=True)


def cohort(job: Job, key: str | None = None) -> Cohort:
    return Cohort(job, (0,), CLIENT_FN, 60.0, state_key=key, memory="/server/says")


JOB = Job("round", 1, "{}", state_dir="/server/says")


def test_the_servers_folder_is_replaced_by_the_nodes_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "0123456789abcdef" * 2
    assert at_home(cohort(JOB, key), {"state-dir": str(tmp_path)}).state_dir == str(tmp_path / key)
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "flower"))
    assert at_home(cohort(JOB, key), {}).state_dir == str(tmp_path / "flower/fedkd-state" / key)
    named = at_home(cohort(JOB), {}).state_dir
    assert named is not None
    assert Path(named).parent == tmp_path / "flower/fedkd-state", "without a key, too"
    assert at_home(cohort(replace(JOB, state_dir=None)), {}) == replace(JOB, state_dir=None)
    monkeypatch.delenv("FLWR_HOME")
    assert state_folder({}) == Path.home().resolve() / ".flwr/fedkd-state"


@pytest.mark.parametrize("key", ["../../../etc", "", "0" * 31, "0" * 33, "G" * 32, "0" * 32 + "\n"])
def test_a_key_does_not_lead_out_of_the_nodes_folder(key: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="state_key must be 32 hexadecimal digits"):
        at_home(cohort(JOB, key), {"state-dir": str(tmp_path)})


def test_a_node_reads_its_data_where_its_operator_says(tmp_path: Path) -> None:
    config = load_config(REMEMBERING, ["data.root=/on/the/server"])
    moved = at_home(cohort(Job("round", 1, to_json(config))), {"data-root": str(tmp_path)})
    found = to_mapping(parse_config(json.loads(moved.config)))
    assert found["data"].pop("root") == str(tmp_path)
    expected = to_mapping(config)
    assert expected["data"].pop("root") == "/on/the/server"
    assert found == expected


def test_secrets_of_a_secure_sum_stay_on_the_nodes_whatever_their_data_folders(tmp_path: Path) -> None:
    secure = {**REMEMBERING, "rounds": 1, "clients": {"count": 4}, "communication": {}, "controls": []}
    config = load_config(secure | {"strategy": "mean_probabilities", "privacy": {"secure_aggregation": {}}})
    inline = run_experiment(config, tmp_path / "inline").summary
    nodes: list[Any] = [
        {"partition-id": node, "num-partitions": 2, "state-dir": str(tmp_path / f"node{node}"), "trial": True}
        for node in (0, 1)
    ]
    nodes[1]["data-root"] = str(tmp_path / "elsewhere")
    grid = LocalGrid(2, node_configs=nodes)
    deployed = run_experiment(config, tmp_path / "deployed", engine=over_grid(grid, join=1.0)).summary
    assert deployed.student_sha256 == inline.student_sha256
    assert without_measurements(tmp_path / "deployed") == without_measurements(tmp_path / "inline")
    found = [sorted(path.stem for path in tmp_path.glob(f"node{node}/secure_sums/*/*.json")) for node in (0, 1)]
    assert found == [["client_000000", "client_000002"], ["client_000001", "client_000003"]]
    assert not list((tmp_path / "deployed").rglob("client_*.json"))


def test_a_node_measures_nothing_whatever_the_server_asks() -> None:
    grid = deployment(2)
    work = Job("work", 1, "{}", {"weight": np.ones((3, 4), np.float32)}, measure=True, probe=True)
    with engine(grid, 4) as running:
        replies = list(running.run(work, range(4)))
        unasked = list(running.run(Job("measured_alone", 1, "{}", measure=True), range(4)))
    assert [(reply.measured, reply.examples) for reply in replies] == [(None, 0)] * 4, "examples tell of the probe"
    assert [(reply.ok, reply.measured) for reply in unasked] == [(True, None)] * 4
    for message in grid.replied:
        assert set(message.content) == {"arrays", "reply"}
        assert b"acc" not in recorddict_to_proto(message.content).SerializeToString()
