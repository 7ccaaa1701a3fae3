"""Methods of plug-ins that return something else than they have to: which method it was, what it gave, what to give."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fedkd.aggregation.strategy import LogitAggregator
from fedkd.aggregation.testing import make_stack
from fedkd.aggregation.types import ReportStack, Teacher
from fedkd.audit.attack import Evidence, MembershipAttack
from fedkd.client.behaviour import AdversaryView, ClientBehaviour, answer_of, forged_by, labels_of
from fedkd.client.context import ClientContext
from fedkd.client.release import privatised
from fedkd.client.rule import ClientRule, Upload
from fedkd.core.messages import Arrays
from fedkd.distillation.balancer import LambdaBalancer
from fedkd.distillation.geometry import GradientGeometry
from fedkd.distillation.temperature import TemperatureSchedule
from fedkd.experiment import Experiment
from fedkd.privacy.mechanism import LogitMechanism
from fedkd.server.student_rule import RoundReports, ServerUpdate, StudentRule, sent_by, update_of
from tests.support.federations import experiment_of

GOOD = torch.zeros(40, 10)
"""Logits on the public samples of ``SMALL``."""


class _Gives:
    def __init__(self, found: Any) -> None:
        self.found = found


class Rule(_Gives, ClientRule):
    def respond(self, context: ClientContext) -> Upload:
        return self.found  # type: ignore[no-any-return]


class Behaviour(_Gives, ClientBehaviour):
    def labels(self, context: ClientContext) -> Tensor:
        return self.found  # type: ignore[no-any-return]

    def respond(self, context: ClientContext, rule: ClientRule) -> Upload:
        return self.found  # type: ignore[no-any-return]

    def collude(self, view: AdversaryView) -> Tensor:
        return self.found  # type: ignore[no-any-return]


class Student(_Gives, StudentRule):
    def begin(self, experiment: Experiment) -> None:
        """Nothing to get ready."""

    def broadcast(self) -> Arrays:
        return self.found  # type: ignore[no-any-return]

    def personal(self, client: int) -> Arrays:
        return self.found  # type: ignore[no-any-return]

    def update(self, received: RoundReports) -> ServerUpdate:
        return self.found  # type: ignore[no-any-return]


class Balancer(LambdaBalancer):
    gives: Any = None

    def propose(self, geometry: GradientGeometry) -> float:
        return self.gives  # type: ignore[no-any-return]


class Schedule(_Gives, TemperatureSchedule):
    def at(self, progress: float, teacher: Tensor) -> float:
        return self.found  # type: ignore[no-any-return]


class Mechanism(_Gives, LogitMechanism):
    def privatise(self, logits: Tensor, generator: np.random.Generator) -> Tensor:
        return self.found  # type: ignore[no-any-return]


class Attack(_Gives, MembershipAttack):
    needs_shadows = False

    def score(self, evidence: Evidence) -> Tensor:
        return self.found  # type: ignore[no-any-return]


class Strategy(_Gives, LogitAggregator):
    def aggregate(self, stack: ReportStack) -> Teacher:
        return self.found  # type: ignore[no-any-return]


def context() -> ClientContext:
    experiment = experiment_of()
    data = experiment.data
    return ClientContext(experiment, 0, 1, {}, data.public.inputs, data.labels[data.clients[0].train])


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (None, r"must return Upload, got NoneType; return Upload\(\.\.\.\)"),
        (GOOD, r"must return Upload, got float32 tensor of shape \(40, 10\)"),
        (
            Upload(GOOD[1:]),
            r"must return logits \[queries, classes\] as tensor of shape \(40, 10\), got .* \(39, 10\)",
        ),
        (
            Upload(mask=torch.ones(3, dtype=torch.bool)),
            r"must return a mask \[queries\] as bool tensor of shape \(40,\)",
        ),
    ],
)
def test_an_answer_that_is_none(found: object, told: str) -> None:
    given = context()
    with pytest.raises(ValueError, match=f"^Behaviour.respond {told}"):
        answer_of(Behaviour(found), given, Rule(Upload(GOOD)))
    honest = ClientBehaviour()
    assert answer_of(honest, given, Rule(Upload(GOOD))).logits is GOOD
    if isinstance(found, Upload):
        # Other types never come this far in a test, where annotations are checked.
        with pytest.raises(ValueError, match=f"^Rule.respond {told}"):
            answer_of(honest, given, Rule(found))


def test_labels_and_forged_logits() -> None:
    given = context()
    count = given.labels.numel()
    for wrong in (given.labels[1:], given.labels.float(), None):
        with pytest.raises(
            ValueError, match=rf"^Behaviour.labels must return labels \[train\] as int64 tensor .*{count}"
        ):
            labels_of(Behaviour(wrong), given)
    view = AdversaryView(GOOD.unsqueeze(0), GOOD, torch.Generator(), client=1, attackers=1)
    with pytest.raises(
        ValueError, match=r"^Behaviour.collude must return logits .* got float32 tensor of shape \(1, 10\)"
    ):
        forged_by(Behaviour(GOOD[:1]), view)
    assert forged_by(Behaviour(GOOD), view) is GOOD


def test_a_student_rule() -> None:
    received = RoundReports(1, (), torch.arange(3), torch.arange(3))
    with pytest.raises(ValueError, match=r"^Student.update must return ServerUpdate, got NoneType"):
        update_of(Student(None), received)
    with pytest.raises(ValueError, match=r"^Student.broadcast: arrays must be a dict .* got NoneType; return \{name"):
        sent_by(Student(None))
    with pytest.raises(ValueError, match=r"^Student.personal: array 'x' must be a NumPy array, got Tensor"):
        sent_by(Student({"x": GOOD}), 1)
    assert list(sent_by(Student({"x": GOOD.numpy()}))) == ["x"]


@pytest.mark.parametrize("found", [None, "0.5", torch.tensor(0.5)])
def test_a_number(found: object) -> None:
    balancer = Balancer()
    balancer.gives = found
    with pytest.raises(
        ValueError, match=r"^Balancer.propose must return a number, got .*; return float\(\.\.\.\) of it"
    ):
        balancer.update(GradientGeometry(a=1.0, b=0.0, c=1.0, loss_dist=1.0, loss_cls=1.0, step=0))
    with pytest.raises(ValueError, match=r"^Schedule.at must return a number"):
        Schedule(found)(0.5, GOOD)
    assert Schedule(np.float32(0.5))(0.5, GOOD) == 0.5


def test_a_mechanism_gives_logits_for_logits_in_any_precision() -> None:
    draw = np.random.default_rng(0)
    for wrong in (None, GOOD[1:], GOOD.numpy()):
        with pytest.raises(ValueError, match=r"^Mechanism.privatise must return logits .* of shape \(40, 10\), got "):
            privatised(Mechanism(wrong), GOOD, draw)
    assert privatised(Mechanism(GOOD.double()), GOOD, draw).dtype == torch.float32


def test_an_attack_scores_every_candidate() -> None:
    none = torch.zeros(0, 1, 1, 4, 10)
    evidence = Evidence("queried", torch.zeros(1, 1, 4, 10), none, torch.zeros(0, 4).bool(), none, torch.arange(4))
    for wrong in (None, torch.zeros(3), [0.0] * 4):
        with pytest.raises(
            ValueError, match=r"^Attack.score must return scores \[candidates\] as tensor of shape \(4,\)"
        ):
            Attack(wrong).scores(evidence)
    with pytest.raises(ValueError, match="Attack must give every candidate a number, got NaN"):
        Attack(torch.full((4,), torch.nan)).scores(evidence)
    assert Attack(torch.arange(4)).scores(evidence).tolist() == [0.0, 1.0, 2.0, 3.0]


def test_a_strategy() -> None:
    with pytest.raises(ValueError, match=r"^Strategy.aggregate must return Teacher, got NoneType"):
        Strategy(None)(make_stack())
