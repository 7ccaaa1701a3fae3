"""The strategy in Flower's own loop, with plain clients on a grid in this process."""

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedkd.aggregation.strategy import LogitAggregator
from fedkd.aggregation.types import ReportStack, Teacher
from fedkd.config.load import load_config
from fedkd.core import plugins
from fedkd.core.errors import ConfigError, RunError
from fedkd.core.messages import parameter_digest
from fedkd.core.seeding import torch_generator
from fedkd.data import public_set
from fedkd.distillation.distiller import Distiller
from fedkd.distillation.validation import Validation
from tests.support.plain_apps import (
    EACH,
    LABELLED,
    PUBLIC,
    NearestMeans,
    digits,
    plain_apps,
    plain_strategy,
    student,
)
from tests.support.plain_grid import PlainGrid

pytestmark = pytest.mark.usefixtures("task_identity", "flower_home")


def sent(grid: PlainGrid, round: int, nodes: int = 3) -> list[Any]:
    """The contents of the messages of a round, by node."""
    messages = grid.sent[(round - 1) * nodes : round * nodes]
    return [each.content for each in sorted(messages, key=lambda each: each.metadata.dst_node_id)]


def test_the_student_is_that_of_fedkds_own_parts() -> None:
    """A teacher made of the clients' logits, and a student distilled from it, as everywhere in fedkd."""
    inputs, labels = digits()
    truth = torch.full((PUBLIC,), -1)
    truth[:LABELLED] = torch.from_numpy(labels[:LABELLED])
    public = public_set(torch.from_numpy(inputs[:PUBLIC]), truth, truth >= 0, held_out=6)
    config = load_config({"rounds": 2, "distillation": {"steps": 3}})
    aggregator: LogitAggregator = plugins.build(plugins.STRATEGY, "stacked")
    balancer = plugins.build(plugins.BALANCER, config.distillation.balancer.name)
    schedule = config.distillation.temperature
    temperature = plugins.build(plugins.TEMPERATURE, schedule.name, schedule.options)
    trainer = Distiller(student(), balancer, config.distillation, temperature=temperature, seed=0, rounds=2)
    answers = np.stack([NearestMeans.of(client)(inputs[:PUBLIC]) for client in range(3)]).astype(np.float32)
    for round in (1, 2):
        draw = torch_generator(0, round=round, purpose="teacher")
        ones = torch.ones(3, dtype=torch.long)
        stack = ReportStack(torch.from_numpy(answers), ones, public.labels, (0, 1, 2), round, generator=draw)
        held_out = Validation(public.validation, public.truth[public.validation])
        trainer.distil(aggregator(stack), public.inputs, public.labels, round=round, validation=held_out)
    strategy = plain_strategy()
    result = strategy.start(PlainGrid(plain_apps()), num_rounds=2)
    assert parameter_digest(strategy.student.state_dict()) == parameter_digest(trainer.student.state_dict())
    for name, expected in trainer.student.state_dict().items():
        assert torch.equal(torch.from_numpy(result.arrays[name].numpy()), expected)


def test_runs_are_the_same_whatever_flower_calls_the_nodes() -> None:
    """Apps keep their partition-id, and the ids of their nodes are others, so that replies come in another order."""

    class Turned(PlainGrid):
        def _answer(self, message: Message, context: Context) -> Message:
            other = Context(1, self.nodes[0] + self.nodes[-1] - context.node_id, {}, RecordDict(), {})
            other.node_config = self.node_configs[other.node_id - self.nodes[0]]  # type: ignore[index]
            return super()._answer(message, other)

    digests = []
    for grid in (PlainGrid(plain_apps()), Turned(plain_apps())):
        strategy = plain_strategy(strategy="weighted")
        strategy.start(grid, num_rounds=2)
        digests.append(parameter_digest(strategy.student.state_dict()))
    assert digests[0] == digests[1]


def test_nodes_get_the_public_samples_once_and_again_after_a_fault() -> None:
    def change(place: int, reply: Message) -> Message | None:
        if place == 0 and len(grid.sent) == 3:
            return None
        return grid.error(1, "lost") if place == 1 and len(grid.sent) == 3 else reply

    grid = PlainGrid(plain_apps(), change)
    plain_strategy().start(grid, num_rounds=3)
    whole = [[any(name.startswith("part-") for name in each["public"]) for each in sent(grid, n)] for n in (1, 2, 3)]
    assert whole == [[True] * 3, [True, True, False], [False] * 3]


def test_a_node_that_has_the_samples_is_not_sent_them() -> None:
    grid = PlainGrid(plain_apps())
    with pytest.raises(RunError, match=r"0 valid replies.*does not have the public samples"):
        plain_strategy(ship_public=False).start(RaisingGrid(plain_apps()), num_rounds=1)
    plain_strategy().start(grid, num_rounds=1)
    plain_strategy(ship_public=False).start(grid, num_rounds=1)
    assert all(len(each["public"]) == 0 for each in [message.content for message in grid.sent[3:]])


class RaisingGrid(PlainGrid):
    """Turns what a client raises into an error reply, as Flower does."""

    def _answer(self, message: Message, context: Context) -> Message:
        try:
            return super()._answer(message, context)
        except RunError as error:
            return Message(Error(0, f"{type(error)}:<'{error}'>"), reply_to=message)


@pytest.mark.parametrize("broadcast", ["student", "consensus", "nothing"])
def test_clients_get_what_is_asked_for(broadcast: Any) -> None:
    grid, strategy = PlainGrid(plain_apps()), plain_strategy(broadcast=broadcast, strategy="mean_probabilities")
    strategy.start(grid, num_rounds=2)
    first, second = (sent(grid, round)[0]["arrays"] for round in (1, 2))
    if broadcast == "student":
        assert torch.equal(torch.from_numpy(first["0.weight"].numpy()), student().state_dict()["0.weight"])
        assert not torch.equal(torch.from_numpy(second["0.weight"].numpy()), student().state_dict()["0.weight"])
        return
    assert len(first) == 0
    if broadcast == "nothing":
        assert len(second) == 0
        return
    inputs, _ = digits()
    answers = [torch.from_numpy(NearestMeans.of(client)(inputs[:PUBLIC])) for client in range(3)]
    mean = torch.stack(answers).double().softmax(dim=-1).mean(dim=0)
    assert torch.allclose(torch.from_numpy(second["consensus"].numpy()).double().exp(), mean, atol=1e-5)
    assert second["positions"].numpy().tolist() == list(range(PUBLIC))


def test_targets_of_single_clients_go_to_these() -> None:
    grid = PlainGrid(plain_apps())
    plain_strategy(broadcast="consensus", strategy="personalised").start(grid, num_rounds=2)
    found = [each["arrays"]["consensus"].numpy() for each in sent(grid, 2)]
    assert not np.array_equal(found[0], found[1])


def test_a_round_may_be_about_some_samples() -> None:
    grid = PlainGrid(plain_apps())
    plain_strategy(round_size=10).start(grid, num_rounds=2)
    asked = [sent(grid, round)[0]["public"]["positions"].numpy().tolist() for round in (1, 2)]
    assert all(len(each) == LABELLED + 10 and set(range(LABELLED)) < set(each) for each in asked)
    assert asked[0] != asked[1]
    answers = [reply.content.array_records["arrays"]["logits"] for reply in grid.replied]
    assert {answer.shape for answer in answers} == {(LABELLED + 10, 10)}


def test_counts_weigh_clients_where_the_strategy_needs_them(caplog: pytest.LogCaptureFixture) -> None:
    def silent(place: int, reply: Message) -> Message:
        reply.content["metrics"] = MetricRecord({"partition-id": place, "num-examples": EACH} if place else {})
        return reply

    caplog.set_level(logging.INFO, "flwr")
    for name in ("weighted", "class_count_weighted"):
        plain_strategy(strategy=name).start(PlainGrid(plain_apps()), num_rounds=1)
    assert "3 valid replies of 3 nodes" in caplog.text
    caplog.clear()
    plain_strategy(strategy="weighted").start(PlainGrid(plain_apps(), silent), num_rounds=1)
    assert "2 valid replies of 3 nodes" in caplog.text
    assert "num-examples must be a whole number, which the strategy needs, got None" in caplog.text
    with pytest.raises(
        RunError, match="label-counts must be whole numbers, one per class, which the strategy needs, got None"
    ):
        plain_strategy(strategy="class_count_weighted").start(PlainGrid(plain_apps(), silent), num_rounds=1)


def test_a_round_with_too_few_valid_replies_ends_the_run() -> None:
    """Flower's own strategies log the errors, and go on with what they had."""

    def crash(place: int, reply: Message) -> Message:
        return reply if place == 0 else grid.error(place, "out of memory")

    grid = PlainGrid(plain_apps(), crash)
    plain_strategy().start(grid, num_rounds=1)
    grid = PlainGrid(plain_apps(), crash)
    with pytest.raises(RunError, match=r"round 1: 1 valid replies, min_reports is 2 \(client 1: out of memory"):
        plain_strategy(min_reports=2).start(grid, num_rounds=1)


def test_a_client_is_who_it_says_it_is_although_its_first_reply_was_none(caplog: pytest.LogCaptureFixture) -> None:
    def change(place: int, reply: Message) -> Message:
        if place == 0 and len(grid.sent) == 3:
            reply.content = RecordDict()
        return reply

    caplog.set_level(logging.INFO, "flwr")
    apps = plain_apps()
    grid = PlainGrid(apps, change)
    grid.node_configs = [{"partition-id": place} for place in (7, 0, 1)]
    plain_strategy().start(grid, num_rounds=2)
    assert "> client 2 (node" in caplog.text  # for want of a name
    assert "3 valid replies of 3 nodes" in caplog.text


def test_messages_may_be_gone_through_twice() -> None:
    class Twice(PlainGrid):
        def push_messages(self, messages: Iterable[Message]) -> list[str]:
            count, again = len(list(messages)), list(messages)
            assert len(again) == count
            return super().push_messages(again)

    plain_strategy().start(Twice(plain_apps()), num_rounds=1)


def test_evaluation_is_flowers() -> None:
    def with_evaluation(app: ClientApp) -> ClientApp:
        @app.evaluate()
        def evaluate(message: Message, context: Context) -> Message:
            assert set(message.content["arrays"]) == set(student().state_dict())
            metrics = MetricRecord({"num-examples": 1, "accuracy": 0.5})
            return Message(RecordDict({"metrics": metrics}), reply_to=message)

        return app

    grid = PlainGrid([with_evaluation(app) for app in plain_apps()])
    result = plain_strategy(fraction_evaluate=1.0, broadcast="nothing").start(grid, num_rounds=1)
    assert result.evaluate_metrics_clientapp[1]["accuracy"] == 0.5
    assert {"mean-lambda", "validation-accuracy", "agreement", "replies"} <= set(result.train_metrics_clientapp[1])


def test_the_summary_says_what_it_is_and_that_it_proves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "flwr")
    plain_strategy(strategy="median", broadcast="nothing").summary()
    for words in ("median", "task_decrease", "nothing", "Privacy: no guarantee by itself"):
        assert words in caplog.text


def test_a_run_may_begin_with_other_weights() -> None:
    begun, other = plain_strategy(), student()
    torch.nn.init.zeros_(other[2].weight)  # type: ignore[index]
    begun.start(PlainGrid(plain_apps()), ArrayRecord(other.state_dict()), num_rounds=1)
    same = plain_strategy(student=other)
    same.start(PlainGrid(plain_apps()), num_rounds=1)
    assert parameter_digest(begun.student.state_dict()) == parameter_digest(same.student.state_dict())
    with pytest.raises(ConfigError, match="initial_arrays: do not fit the student Sequential"):
        begun.start(PlainGrid(plain_apps()), ArrayRecord([np.zeros(3)]), num_rounds=1)
    with pytest.raises(ConfigError, match="num_rounds: must be a whole number from 1, got 0"):
        begun.start(PlainGrid(plain_apps()), num_rounds=0)


class Broken(LogitAggregator):
    """A strategy of the user's own that fails."""

    def aggregate(self, stack: ReportStack) -> Teacher:
        raise IndexError("no such client")


def test_a_strategy_that_fails_is_named_with_its_line() -> None:
    words = r"round 1 ended with an error: .*test_strategy\.py, line \d+: IndexError: no such client"
    with pytest.raises(RunError, match=words):
        plain_strategy(strategy=f"{__name__}:Broken").start(PlainGrid(plain_apps()), num_rounds=1)
