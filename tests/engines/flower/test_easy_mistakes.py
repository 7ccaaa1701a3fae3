"""What is easily done wrong with Flower, and is not done here."""

import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from flwr.app import Context, Error, Message, RecordDict

from fedkd.config.load import to_json
from fedkd.core.errors import RunError
from fedkd.core.messages import Job
from fedkd.engines.flower import client_app
from fedkd.engines.flower.client_app import app
from fedkd.engines.flower.grid import EXPIRY_SECONDS, GridEngine, Nodes
from fedkd.engines.flower.wire import COHORT_MESSAGE, Cohort, encode_cohort
from fedkd.engines.resources import Workload
from tests.support.federations import experiment_of, federation
from tests.support.local_grid import LocalGrid

pytestmark = pytest.mark.usefixtures("task_identity")


def nonsense() -> Job:
    """Work that fails at once."""
    return Job("no such kind", 1, to_json(experiment_of().config))


class LateGrid(LocalGrid):
    """Its nodes appear one by one."""

    def get_node_ids(self) -> list[int]:
        self.nodes.append(self.nodes[-1] + 1)
        return self.nodes[:-1]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        assert len(self.nodes) > 4, "a message was sent before all nodes were there"
        return super().push_messages(messages)


def test_nothing_is_sent_before_all_nodes_are_there() -> None:
    grid = LateGrid(1)
    with GridEngine(grid, Nodes(4, 4), Workload(), timeout=30.0, clients_per_node=1) as engine:
        assert len(list(engine.run(nonsense(), range(8)))) == 8
    assert len({message.metadata.dst_node_id for message in grid.sent}) == 4


class TwiceGrid(LocalGrid):
    """Goes through messages twice, as the grid that talks to a server does: to check them, and to send them."""

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        count = sum(1 for _ in messages)
        sent = list(messages)
        assert len(sent) == count, "the messages were gone the second time"
        return super().push_messages(sent)


def test_messages_may_be_gone_through_twice() -> None:
    with GridEngine(TwiceGrid(2), Nodes(2, 1), Workload(), timeout=30.0) as engine:
        assert len(list(engine.run(nonsense(), range(4)))) == 4


def test_a_round_in_which_every_reply_is_an_error_is_an_error() -> None:
    """Flower's own strategies log the errors, and go on with what they had."""

    def crash(index: int, message: Message) -> Message:
        return Message(Error(0, "ClientApp raised an exception"), reply_to=message)

    run = federation(None)
    with GridEngine(LocalGrid(2, crash), Nodes(2, 1), Workload(), timeout=30.0) as engine:
        job = run.server.job(1)
        with pytest.raises(RunError, match=r"0 valid reports.*client 0: ClientApp raised an exception; client 1"):
            run.server.finish_round(job, engine.run(job, run.server.sampled(1)))


def test_every_message_ends_soon_after_nobody_waits_for_it() -> None:
    grid, begun = LocalGrid(2), time.time()
    with GridEngine(grid, Nodes(2, 1), Workload(), timeout=7.0, clients_per_node=1) as engine:
        list(engine.run(nonsense(), range(5)))
    assert len(grid.sent) == 5
    for message in grid.sent:
        assert 0 < message.metadata.ttl <= time.time() - begun + 7.0 + EXPIRY_SECONDS


def test_the_app_travels_as_the_name_of_its_module() -> None:
    """It is pickled with every message, and read where nobody has run the program that sends it."""
    pickled = pytest.importorskip("ray.cloudpickle").dumps(app)
    assert len(pickled) < 1000
    code = f"import pickle; from flwr.clientapp import ClientApp; print(type(pickle.loads({pickled!r})) is ClientApp)"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(entry for entry in sys.path if entry)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert loaded.stdout.strip() == "True"


def test_what_clients_remember_does_not_travel_in_flowers_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flower sends the context both ways with every message, at the cost of its size."""
    run = federation(tmp_path, "clients.rule=own_model")
    job, context = run.server.job(1), Context(1, 2**63 + 1, {}, RecordDict(), {})
    cohort = Cohort(job, run.server.sampled(1), "fedkd.client:perform", 60.0)
    # What the nodes of a deployment keep lies in folders of their own.
    monkeypatch.setattr(client_app, "simulated", lambda: True)
    app(Message(encode_cohort(cohort), 2**63 + 1, COHORT_MESSAGE, ttl=60.0), context)
    assert len(list(tmp_path.iterdir())) == 4, "the clients must have something to remember"
    assert len(context.state) == 0
