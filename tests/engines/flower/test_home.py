"""Private data that never leave their nodes: the same student as with all in one place, and nothing told of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.common.serde import message_to_proto

from fedkd.analysis.last_round import LastRound
from fedkd.app.checks import check
from fedkd.app.run import run_experiment
from fedkd.client.setup import experiment_at_home
from fedkd.config.digest import configuration_digest
from fedkd.core.errors import ConfigError, RunError
from fedkd.engines.building import over_grid
from fedkd.engines.flower import discovery
from fedkd.experiment import Experiment
from fedkd.privacy.secure_sum.identities import Directory
from fedkd.privacy.secure_sum.key_files import joined, make_keys, write_directory
from fedkd.results.observer import Silent
from fedkd.results.records import Overview
from fedkd.server.server import Server
from tests.support.homes import NODES, Homes, told
from tests.support.local_grid import LocalGrid

pytestmark = pytest.mark.usefixtures("task_identity")

ALGORITHMS = {
    "differences of what they remember": (
        "clients.rule=own_model",
        "communication.uplink={name: quantise, delta: true, compress: zlib}",
        "data.public.round_size=10",
    ),
    "counts of labels": (
        "strategy=class_count_weighted",
        "data.client_validation=0.3",
        "seed=5",
        "controls=[public_only]",
    ),
    "counts of samples": ("clients.rule=parameters", "student.rule=average"),
    "means of labels": ("clients.rule=prototypes", "student.rule=label_means"),
    "who abstains by its own samples": ("clients.rule=selective", "strategy=selective"),
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Homes.divided(tmp_path_factory.mktemp("divided")).folder / "parts"


@pytest.fixture
def homes(tmp_path: Path, parts: Path) -> Homes:
    (tmp_path / "parts").symlink_to(parts)
    return Homes(tmp_path)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_student_is_that_of_a_simulation_of_the_same_split(algorithm: str, homes: Homes) -> None:
    simulated = homes.simulated(*ALGORITHMS[algorithm])
    deployed = homes.deployed(*ALGORITHMS[algorithm])
    assert deployed.student_sha256 == simulated.student_sha256
    assert (deployed.failures, deployed.controls) == (0, simulated.controls)
    assert result(homes.folder / "deployed") == result(homes.folder / "simulated")


def result(run: Path) -> list[Any]:
    """What came of each round, and of each step where a student was distilled."""
    lines = (run / "rounds.jsonl").read_text(encoding="utf-8").splitlines()
    rounds = [{key: json.loads(line)[key] for key in ("student_accuracy", "validation", "bytes_up")} for line in lines]
    steps = run / "distillation.csv"
    return [*rounds, steps.read_text(encoding="utf-8") if steps.exists() else ""]


def test_the_server_has_nothing_of_private_data_on_its_disk(homes: Homes) -> None:
    homes.deployed(*ALGORITHMS["differences of what they remember"])
    run, secrets = homes.folder / "deployed", homes.secrets()
    assert not (run / "partition.json").exists()
    assert not (run / "plots/label_distribution.png").exists()
    for file in (path for path in run.rglob("*") if path.is_file()):
        assert not told(secrets, file.read_bytes()), file


def test_nodes_send_no_private_sample_no_label_and_no_count(homes: Homes) -> None:
    grid = homes.grid()
    homes.deployed(grid=grid)
    assert len(grid.answers) == NODES * (1 + 1 + 1 + 2), "asked, sent the public set, asked again, and two rounds"
    sent = b"".join(message_to_proto(message).SerializeToString() for message in grid.answers)
    assert not told(homes.secrets(), sent)


def test_how_many_samples_a_node_has_changes_nothing_but_what_it_learned(homes: Homes) -> None:
    first, second = homes.grid(), None
    homes.deployed(grid=first, out="first")
    inputs, labels = homes.samples(1)
    homes.give(1, "fewer", inputs[:-7], labels[:-7])
    second = homes.grid()
    homes.deployed(grid=second, out="second")
    assert [layout(message) for message in first.answers[-6:]] == [layout(message) for message in second.answers[-6:]]


@pytest.mark.parametrize("change", ["strategy=weighted", "strategy=mean_probabilities"])
def test_nodes_say_how_many_samples_they_have_where_the_strategy_needs_it(change: str, homes: Homes) -> None:
    grid, lines = homes.grid(), Header()
    homes.deployed(change, grid=grid, observer=lines)
    said = [layout(message)[0]["examples"] for message in grid.replied]
    if change == "strategy=weighted":
        held = [len(homes.samples(node)[1]) for node in range(NODES)]
        assert said[:NODES] == [[count - round(0.1 * count)] for count in held]
        assert "each node says how many it has" in lines.privacy
    else:
        assert said == [[-1]] * (2 * NODES)
        assert "no node says how many" in lines.privacy


class Header(Silent):
    """What a run says of privacy before it starts."""

    privacy = ""

    def started(self, overview: Overview) -> None:
        self.privacy = " ".join(overview.privacy)


def layout(message: Any) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """What a reply says beside its arrays, and what these are like."""
    header = next(iter(message.content.config_records.values()))
    arrays = [
        (key, array.dtype, array.shape)
        for each in message.content.array_records.values()
        for key, array in each.items()
    ]
    return dict(header), arrays


def empty(homes: Homes) -> None:
    (homes.folder / "empty").mkdir()
    homes.given[1] = {"private-data": str(homes.folder / "empty")}


def one_class(homes: Homes) -> None:
    inputs, _ = homes.samples(1)
    homes.give(1, "alike", inputs, np.zeros(len(inputs), np.int64))


def other_classes(homes: Homes) -> None:
    inputs, labels = homes.samples(1)
    homes.give(1, "others", inputs, labels + 4711)


def other_shape(homes: Homes) -> None:
    inputs, labels = homes.samples(1)
    homes.give(1, "wide", np.concatenate([inputs, inputs], axis=-1), labels)


def too_many(homes: Homes) -> None:
    inputs, labels = (np.concatenate([each] * 20) for each in homes.samples(1))
    homes.give(1, "many", inputs, labels)


def too_few(homes: Homes) -> None:
    inputs, labels = homes.samples(1)
    chosen = [0, int(np.flatnonzero(labels != labels[0])[0])]
    homes.give(1, "few", inputs[chosen], labels[chosen])


def nowhere(homes: Homes) -> None:
    homes.given[1] = {"private-data": str(homes.folder / "secret-place")}


def unreadable(homes: Homes) -> None:
    (homes.folder / "secret.npz").write_bytes(b"no archive")
    homes.given[1] = {"private-data": str(homes.folder / "secret.npz")}


def other_public_set(homes: Homes) -> None:
    where = homes.folder / "other"
    where.mkdir()
    for path in (homes.folder / "parts/server").iterdir():
        (where / path.name).write_bytes(path.read_bytes())
    inputs = np.load(where / "x.npy")
    np.save(where / "x.npy", 255 - inputs)
    homes.given[1] = {"public-data": str(where)}


FAULTS = {
    empty: "its data are an empty folder",
    one_class: "its private data have samples of fewer than two classes",
    other_classes: "its private data have classes that the server's do not have; its log names them",
    other_shape: "its private samples have another shape",
    too_many: "it has more private samples than clients.max_examples = 80",
    too_few: "it has fewer private samples than data.partition.min_samples = 3",
    nowhere: "its data are not where its operator says",
    unreadable: r"its private data cannot be read \(DataError\); its log says why",
    other_public_set: "it has another public set than the server",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_node_whose_data_do_not_fit_is_named_at_once_without_a_word_of_them(fault: Any, homes: Homes) -> None:
    fault(homes)
    grid = homes.grid()
    with pytest.raises(RunError, match=rf"the SuperNode with partition-id 1 cannot work: {FAULTS[fault]}") as raised:
        homes.deployed("data.partition.min_samples=3", grid=grid)
    assert grid.sent == [], "before a round is begun"
    for secret in ("47", "secret", "alike", str(homes.folder)):
        assert secret not in str(raised.value).replace(str(homes.folder / "deployed"), "")
    log = (homes.folder / "state1/errors.log").read_text(encoding="utf-8")
    assert "HomeError" in log
    if fault is other_classes:
        assert "the node has 47" in log


def test_a_node_may_have_the_public_set_and_is_then_sent_none(homes: Homes) -> None:
    homes.given = {node: {"public-data": str(homes.folder / "parts/server")} for node in range(NODES)}
    grid = homes.grid()
    deployed = homes.deployed(grid=grid)
    assert len(grid.answers) == NODES * 3
    assert deployed.student_sha256 == homes.simulated().student_sha256


def test_the_public_set_comes_in_parts_and_only_once(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "PART_BYTES", 1_000)
    first = homes.deployed(out="first")
    grid = homes.grid()
    assert homes.deployed(grid=grid, out="second").student_sha256 == first.student_sha256
    assert len(grid.answers) == NODES * 3
    for node in range(NODES):
        (kept,) = (homes.folder / f"state{node}/common").iterdir()
        assert kept.suffix == ".npz"
    kept.write_bytes(kept.read_bytes()[:-9])
    experiment_at_home.cache_clear()  # as in a process of its own
    with pytest.raises(RunError, match=r"cannot work: FolderError: .*remove it, and it is sent again"):
        homes.deployed(out="third")


def test_an_error_of_a_client_keeps_its_words_at_home(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    (homes.folder / "clients").mkdir()
    (homes.folder / "clients/babbling.py").write_text(
        "from fedkd import ClientBehaviour\n\n\n"
        "class Babbling(ClientBehaviour):\n"
        "    def respond(self, context, rule):\n"
        "        raise ValueError(f'labels {context.labels.tolist()}')\n"
    )
    monkeypatch.chdir(homes.folder)
    grid = homes.grid()
    with pytest.raises(RunError, match=r"client 0: ValueError in babbling\.py, line 6; the log of its node says more"):
        homes.deployed("clients.behaviour=babbling", grid=grid)
    assert "labels" not in str([layout(message)[0]["errors"] for message in grid.replied])
    assert "ValueError: labels [" in (homes.folder / "state0/errors.log").read_text(encoding="utf-8")


def test_a_node_keeps_to_its_own_private_data(homes: Homes) -> None:
    with pytest.raises(RunError, match=r"private data of its own.*data\.partition\.scheme=iid"):
        run_experiment(
            homes.config("data.partition.scheme=iid", "data.public.size=20"),
            homes.folder / "run",
            engine=over_grid(homes.grid(), join=1.0),
        )
    homes.given[2] = {"private-data": None}
    with pytest.raises(RunError, match=r"--node-config has no private-data; start it with private-data=.FOLDER."):
        homes.deployed()


def test_sums_are_signed_by_nodes_that_are_there_for_one_configuration(homes: Homes) -> None:
    changes = ("strategy=mean_probabilities", "privacy.secure_aggregation={entropy: system}")
    keys = [make_keys(homes.folder / f"keys{node}", [node]) for node in range(NODES)]
    everybody = joined((str(node), each) for node, each in enumerate(keys))
    write_directory(homes.folder / "directory.json", everybody)
    config = check(homes.config(*changes), own_engine=False).config
    pinned = {"key-directory": str(homes.folder / "directory.json"), "configuration": configuration_digest(config)}
    homes.given = {node: pinned | {"keys": str(homes.folder / f"keys{node}")} for node in range(NODES)}
    directory = Directory.of(everybody)
    engine = over_grid(homes.grid(), join=1.0, directory=directory)
    deployed = run_experiment(config, homes.folder / "deployed", engine=engine, directory=directory)
    assert deployed.summary.student_sha256 == homes.simulated(*changes).student_sha256
    with pytest.raises(RunError, match="this node is there for the configuration"):
        run_experiment(
            homes.config(*changes, "clients.max_examples=79"),
            homes.folder / "other",
            engine=engine,
            directory=directory,
        )


def test_every_node_has_one_client(homes: Homes) -> None:
    with pytest.raises(
        RunError, match=r"num-partitions must be clients\.count = 5, got 3; set clients\.count, or start"
    ):
        homes.deployed("clients.count=5")


def test_what_needs_private_data_elsewhere_is_refused_all_at_once(homes: Homes) -> None:
    with pytest.raises(ConfigError) as raised:
        homes.config(
            "clients.max_examples=null",
            "data.private_size=90",
            "controls=[fedavg, public_only, centralised]",
            "privacy.audit.attacks=[lira_online]",
        )
    keys = sorted({problem.split(":")[0] for problem in raised.value.problems})
    assert keys == ["clients.max_examples", "controls", "data.private_size", "privacy.audit.attacks"]
    with pytest.raises(ConfigError, match=r"data\.partition\.scheme: at_home leaves.*scheme=given"):
        run_experiment(homes.config(), homes.folder / "run")


def test_the_last_round_is_not_done_again_without_private_data(homes: Homes) -> None:
    experiment = Experiment.of(homes.config())
    with pytest.raises(ValueError, match="the clients' private data are at home"):
        LastRound(experiment, Server.build(experiment), lambda name, done, total: None)


def test_simulated_nodes_have_no_private_data(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedkd.engines.flower.engine.InMemoryGrid", LocalGrid)
    with pytest.raises(RunError, match=r"Flower's simulated nodes have none; deploy it, or simulate"):
        homes.deployed(grid=LocalGrid(NODES))
