"""What attackers have to go by: read from the files of an audit, one entry an observation point."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from fedkd.audit.attack import Disclosure, Evidence, Observation
from fedkd.audit.candidates import CandidatePool
from fedkd.audit.plan import ACTUAL, Plan
from fedkd.audit.server_side import CONSENSUS, STUDENT, load_answers
from fedkd.audit.shadows import ShadowRun, inserted_places, load_shadow_run
from fedkd.audit.surrogates import load_surrogate
from fedkd.client.setup import asked_positions
from fedkd.experiment import Experiment


def evidence_of(
    experiment: Experiment, plan: Plan, folder: Path, pool: CandidatePool, observation: Observation, shadows: int
) -> Evidence:
    """What an attacker at an observation point has to go by about a client's candidates, with so many shadows."""
    read = _READERS[observation]
    numbers = range(shadows)
    answers = read(experiment, plan, folder, ShadowRun(pool.client, ACTUAL), pool)
    found = [read(experiment, plan, folder, ShadowRun(pool.client, shadow), pool) for shadow in numbers]
    others = []
    if observation in {"queried", "transcript"}:
        rounds = load_shadow_run(folder, ShadowRun(pool.client, ACTUAL))["rounds"]
        for client in experiment.sampled(plan.jobs[-1].round):
            shadow_run = ShadowRun(client, ACTUAL)
            if client == pool.client or not shadow_run.path(folder).is_file():
                continue
            if load_shadow_run(folder, shadow_run)["rounds"] == rounds:
                others.append(read(experiment, plan, folder, shadow_run, pool))
    seed = experiment.config.seed
    return Evidence(
        observation=observation,
        answers=answers,
        shadows=_stacked(found, answers),
        included=torch.stack([pool.included(shadow, seed) for shadow in numbers])
        if numbers
        else torch.zeros(0, len(pool.labels), dtype=torch.bool),
        others=_stacked(others, answers),
        labels=pool.labels,
    )


def disclosure_of(experiment: Experiment, folder: Path, client: int) -> Disclosure:
    """What a client's report tells of it besides membership, and what is true."""
    shadow_run, data = ShadowRun(client, ACTUAL), experiment.data
    found, copied = load_shadow_run(folder, shadow_run), load_surrogate(folder, shadow_run)["unseen"]
    counts = torch.bincount(data.labels[data.clients[client].train], minlength=data.classes)
    return Disclosure(
        client=client,
        answers=found["public"][-1],
        crafted=found["crafted"],
        copy=copied,
        original=found["original"],
        shares=counts / counts.sum(),
    )


def _queried(experiment: Experiment, plan: Plan, folder: Path, shadow_run: ShadowRun, pool: CandidatePool) -> Tensor:
    found = load_shadow_run(folder, shadow_run)
    jobs = {job.round: job for job in plan.jobs}
    rows = []
    for round, released in zip(found["rounds"], found["inserted"], strict=True):
        places = inserted_places(experiment, asked_positions(experiment, jobs[round]))[: plan.views * len(pool.labels)]
        rows.append(released[pool.client][places].reshape(plan.views, len(pool.labels), -1))
    return torch.stack(rows)


def _transcript(experiment: Experiment, plan: Plan, folder: Path, shadow_run: ShadowRun, pool: CandidatePool) -> Tensor:
    return torch.stack([answers[pool.client] for answers in load_surrogate(folder, shadow_run)["answers"]])


def _handed_out(kind: str) -> Callable[[Experiment, Plan, Path, ShadowRun, CandidatePool], Tensor]:
    def read(experiment: Experiment, plan: Plan, folder: Path, shadow_run: ShadowRun, pool: CandidatePool) -> Tensor:
        answers: Tensor = load_answers(folder, shadow_run, kind)["answers"]
        return answers.unsqueeze(0)

    return read


_READERS: dict[Observation, Callable[[Experiment, Plan, Path, ShadowRun, CandidatePool], Tensor]] = {
    "queried": _queried,
    "transcript": _transcript,
    "consensus": _handed_out(CONSENSUS),
    "student": _handed_out(STUDENT),
}


def _stacked(found: list[Tensor], like: Tensor) -> Tensor:
    return torch.stack(found) if found else like.new_zeros(0, *like.shape)
