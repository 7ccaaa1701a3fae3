"""The server's part of an audit: what it made of a client's answers, and what it would have made of a shadow's."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from fedkd.audit.candidates import CandidatePool
from fedkd.audit.plan import ACTUAL, Plan, load_plan, load_tensors, save_tensors
from fedkd.audit.queries import views_of
from fedkd.audit.shadows import ShadowRun, inserted_places, load_shadow_run
from fedkd.client.setup import asked_positions
from fedkd.core.messages import LOGITS, ClientReport, Job, Reply, parameter_digest
from fedkd.core.seeding import seed_sequence
from fedkd.experiment import Experiment
from fedkd.models import predict
from fedkd.results.checkpoint import load_checkpoint
from fedkd.server.colluding_attackers import collude
from fedkd.server.server import Server
from fedkd.server.setup import teacher_of

CONSENSUS, STUDENT = "consensus", "student"
"""The two kinds of what the server hands out."""


def compute_consensus(folder: Path, number: int) -> None:
    """Write the teacher's targets on a client's candidates, as clients are sent them, for one shadow model."""
    plan, experiment, shadow_run, pool = _shadow_run(folder, number)
    save_tensors(
        shadow_run.path(folder, CONSENSUS), {"answers": _consensus(plan, experiment, folder, shadow_run, pool)}
    )


def compute_student(folder: Path, number: int) -> None:
    """Write the student's answers on a client's candidates, and its digest, for one shadow model."""
    plan, experiment, shadow_run, pool = _shadow_run(folder, number)
    server = server_before(plan, experiment, shadow_run.shadow)
    server.finish_round(
        plan.jobs[-1],
        [_reply(experiment, plan, folder, each) for each in _shadow_runs(experiment, plan, folder, shadow_run)],
    )
    student = server.rule.student
    if student is None:
        raise ValueError("the server has no student")
    answers = predict(student, views_of(pool.inputs, plan.views).flatten(0, 1))
    save_tensors(
        shadow_run.path(folder, STUDENT),
        {
            "answers": answers.reshape(plan.views, len(pool.labels), -1),
            "digest": parameter_digest(student.state_dict()),
        },
    )


def load_answers(folder: Path, shadow_run: ShadowRun, kind: str) -> Mapping[str, Any]:
    """What ``compute_consensus`` or ``compute_student`` wrote."""
    return load_tensors(shadow_run.path(folder, kind))


def server_before(plan: Plan, experiment: Experiment, shadow: int) -> Server:
    """The server before the last round; in a shadow run it draws other random numbers, which no attacker knows."""
    checkpoint = load_checkpoint(Path(plan.server), plan.jobs[-1].round - 1)
    server = Server.build(experiment)
    server.rule.begin(_reseeded(experiment, shadow))
    server.load_state_dict(checkpoint.server)
    return server


def _shadow_run(folder: Path, number: int) -> tuple[Plan, Experiment, ShadowRun, CandidatePool]:
    plan = load_plan(str(folder))
    experiment = Experiment.of(plan.config)
    shadow_run = ShadowRun.of(number, experiment.config.clients.count)
    pool = plan.pool_of(shadow_run.client)
    if pool is None:
        raise ValueError(f"client {shadow_run.client} is not attacked")
    return plan, experiment, shadow_run, pool


def _shadow_runs(experiment: Experiment, plan: Plan, folder: Path, shadow_run: ShadowRun) -> list[ShadowRun]:
    """Everybody who answered, as they were, but for the attacked client."""
    clients = experiment.sampled(plan.jobs[-1].round)
    shadow_runs = [shadow_run if client == shadow_run.client else ShadowRun(client, ACTUAL) for client in clients]
    return [each for each in shadow_runs if each.path(folder).is_file()]


def _reply(experiment: Experiment, plan: Plan, folder: Path, shadow_run: ShadowRun) -> Reply:
    """What a client sent in the last round."""
    found = load_shadow_run(folder, shadow_run)
    arrays = {name: tensor.numpy() for name, tensor in found["arrays"].items()}
    if found["message"] is not None:
        arrays[LOGITS] = found["message"].numpy()
    return Reply(
        shadow_run.client,
        arrays,
        round=plan.jobs[-1].round,
        # A shadow has as many as the client.
        examples=experiment.data.clients[shadow_run.client].train.numel(),
        public_digest=experiment.data.public.digest,
    )


def _consensus(plan: Plan, experiment: Experiment, folder: Path, shadow_run: ShadowRun, pool: CandidatePool) -> Tensor:
    job = plan.jobs[-1]
    positions = asked_positions(experiment, job)
    places = inserted_places(experiment, positions)[: plan.views * len(pool.labels)]
    strategy = server_before(plan, experiment, shadow_run.shadow).rule.strategy
    if strategy is None:
        raise ValueError("the student rule has no teacher, and clients get no consensus")
    reports = [
        _report(experiment, job, folder, each, pool) for each in _shadow_runs(experiment, plan, folder, shadow_run)
    ]
    reports, _ = collude(experiment, job.round, reports, {})
    labels = experiment.data.public.labels[positions]
    redrawn = _reseeded(experiment, shadow_run.shadow)
    teacher = teacher_of(redrawn, copy.deepcopy(strategy), reports, labels=labels, round=job.round)
    heard = experiment.downlink.recode(teacher.log_probabilities.float())
    return heard[places].reshape(plan.views, len(pool.labels), -1)


def _report(experiment: Experiment, job: Job, folder: Path, shadow_run: ShadowRun, pool: CandidatePool) -> ClientReport:
    found = load_shadow_run(folder, shadow_run)
    return ClientReport(
        client=shadow_run.client,
        round=job.round,
        logits=found["inserted"][-1][pool.client],
        examples=experiment.data.clients[shadow_run.client].train.numel(),
        arrays={name: tensor.numpy() for name, tensor in found["arrays"].items()},
    )


def _reseeded(experiment: Experiment, shadow: int) -> Experiment:
    if shadow == ACTUAL:
        return experiment
    state = seed_sequence(experiment.config.seed, purpose=f"audit: server of shadow {shadow}").generate_state(1)
    return replace(experiment, config=replace(experiment.config, seed=int(state[0])), given=experiment.data)
