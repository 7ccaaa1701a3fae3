"""The server's part of an audit: what it made of a client's answers, and what it would have made of a shadow's."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from fedkd.aggregation.strategy import LogitAggregator
from fedkd.audit.candidates import CandidatePool
from fedkd.audit.plan import ACTUAL, Plan, load_plan, load_tensors, save_tensors
from fedkd.audit.queries import views_of
from fedkd.audit.shadows import World, inserted_places, load_world
from fedkd.client.setup import asked_positions
from fedkd.core.messages import LOGITS, ClientReport, Job, Outcome
from fedkd.core.seeding import seed_sequence, torch_generator
from fedkd.experiment import Workspace, codec, workspace
from fedkd.models import predict
from fedkd.results.checkpoint import load_checkpoint
from fedkd.results.directory import parameter_digest
from fedkd.server.colluding_attackers import collude
from fedkd.server.reports import stack_reports
from fedkd.server.server import Server

CONSENSUS, STUDENT = "consensus", "student"
"""The two kinds of what the server hands out."""


def compute_consensus(folder: Path, number: int) -> None:
    """Write the teacher's targets on a client's candidates, as clients are sent them, in one world."""
    plan, place, world, pool = _world(folder, number)
    save_tensors(world.path(folder, CONSENSUS), {"answers": _consensus(plan, place, folder, world, pool)})


def compute_student(folder: Path, number: int) -> None:
    """Write the student's answers on a client's candidates, and its digest, in one world."""
    plan, place, world, pool = _world(folder, number)
    server = server_before(plan, place, world.shadow)
    server.finish_round(
        plan.jobs[-1], [_outcome(place, plan, folder, each) for each in _worlds(place, plan, folder, world)]
    )
    student = server.rule.student
    if student is None:
        raise ValueError("the server has no student")
    answers = predict(student, views_of(pool.images, plan.views).flatten(0, 1))
    save_tensors(
        world.path(folder, STUDENT),
        {
            "answers": answers.reshape(plan.views, len(pool.labels), -1),
            "digest": parameter_digest(student.state_dict()),
        },
    )


def load_answers(folder: Path, world: World, kind: str) -> Mapping[str, Any]:
    """What ``compute_consensus`` or ``compute_student`` wrote."""
    return load_tensors(world.path(folder, kind))


def server_before(plan: Plan, place: Workspace, shadow: int) -> Server:
    """The server before the last round; in a shadow's world it draws other random numbers, which no attacker knows."""
    checkpoint = load_checkpoint(Path(plan.server))
    server = Server.build(place)
    server.rule.begin(_reseeded(place, shadow))
    server.load_state_dict(checkpoint.server)
    return server


def _world(folder: Path, number: int) -> tuple[Plan, Workspace, World, CandidatePool]:
    plan = load_plan(str(folder))
    place = workspace(plan.config)
    world = World.of(number, place.config.clients.count)
    pool = plan.pool_of(world.client)
    if pool is None:
        raise ValueError(f"client {world.client} is not attacked")
    return plan, place, world, pool


def _worlds(place: Workspace, plan: Plan, folder: Path, world: World) -> list[World]:
    """Everybody who answered, as they were, but for the attacked client."""
    clients = place.sampled(plan.jobs[-1].round)
    worlds = [world if client == world.client else World(client, ACTUAL) for client in clients]
    return [each for each in worlds if each.path(folder).is_file()]


def _outcome(place: Workspace, plan: Plan, folder: Path, world: World) -> Outcome:
    """What a client sent in the last round."""
    found = load_world(folder, world)
    arrays = {name: tensor.numpy() for name, tensor in found["arrays"].items()}
    if found["message"] is not None:
        arrays[LOGITS] = found["message"].numpy()
    metrics: dict[str, float | int | str] = {
        "round": plan.jobs[-1].round,
        # A shadow has as many as the client.
        "examples": place.data.clients[world.client].train.numel(),
        "public_digest": place.data.public.digest,
    }
    return Outcome(world.client, arrays, metrics)


def _consensus(plan: Plan, place: Workspace, folder: Path, world: World, pool: CandidatePool) -> Tensor:
    job = plan.jobs[-1]
    positions = asked_positions(place, job)
    places = inserted_places(place, positions)[: plan.views * len(pool.labels)]
    server = server_before(plan, place, world.shadow)
    aggregator = aggregator_of(server)
    if aggregator is None:
        raise ValueError("the student rule has no teacher, and clients get no consensus")
    reports = [_report(place, job, folder, each, pool) for each in _worlds(place, plan, folder, world)]
    up, down = codec(place.config.exchange.uplink), codec(place.config.exchange.downlink)

    def recode(logits: Tensor, mask: Tensor | None) -> Tensor:
        return up.decode(up.encode(logits, mask).data, samples=len(logits), classes=logits.shape[1]).logits

    reports, _ = collude(place, job.round, reports, {}, recode)
    seed = _reseeded(place, world.shadow).config.seed
    generator = torch_generator(seed, round=job.round, purpose="teacher")
    labels = place.data.public.labels[positions]
    teacher = copy.deepcopy(aggregator)(stack_reports(reports, labels, round=job.round, generator=generator))
    target = teacher.log_probabilities.float()
    heard = down.decode(down.encode(target).data, samples=len(target), classes=target.shape[1]).logits
    return heard[places].reshape(plan.views, len(pool.labels), -1)


def aggregator_of(server: Server) -> LogitAggregator | None:
    """The teacher of a student rule that has one."""
    found = getattr(server.rule, "aggregator", None)
    return found if isinstance(found, LogitAggregator) else None


def _report(place: Workspace, job: Job, folder: Path, world: World, pool: CandidatePool) -> ClientReport:
    found = load_world(folder, world)
    return ClientReport(
        client=world.client,
        round=job.round,
        logits=found["inserted"][-1][pool.client],
        examples=place.data.clients[world.client].train.numel(),
        arrays={name: tensor.numpy() for name, tensor in found["arrays"].items()},
    )


def _reseeded(place: Workspace, shadow: int) -> Workspace:
    if shadow == ACTUAL:
        return place
    state = seed_sequence(place.config.seed, purpose=f"audit: server of shadow {shadow}").generate_state(1)
    return replace(place, config=replace(place.config, seed=int(state[0])))
