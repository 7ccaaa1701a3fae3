"""An ``AskingAttack``'s work: the queries that it makes on half of the shadows, and what is answered to them."""

import hashlib
import json
from dataclasses import asdict, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from fedkd.audit.attack import Asked, AskingAttack, Attack, Evidence, Rehearsal, new_attack
from fedkd.audit.candidates import CandidatePool
from fedkd.audit.membership import Given
from fedkd.audit.plan import ACTUAL, Plan, load_plan, load_tensors, save_tensors
from fedkd.audit.shadows import ShadowRun, inserted_places, load_model, released_on
from fedkd.client.setup import asked_positions
from fedkd.experiment import Experiment

QUERIES, ASKED = "queries", "asked"
"""The two kinds of files of an attack's own folder, which lies in the audit's."""
SHARE_QUERIES, TOLD = "share_queries", "told"
"""The same of an attack on class shares."""
INVERTED = "inverted"
"""What an attack on class means finds."""
HALVES = (0, 1)
ATTACK = "attack.pt"


def attack_folder(folder: Path, name: str, attack: Attack, shadows: int) -> Path:
    """Make the folder of an attack with these options on so many shadows, and write in it what workers must know."""
    options: dict[str, Any] = asdict(attack) if is_dataclass(attack) else {}
    text = json.dumps([name, options, shadows], sort_keys=True)
    own = folder / f"{ASKED}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    for kind in (QUERIES, ASKED, SHARE_QUERIES, TOLD, INVERTED):
        (own / kind).mkdir(parents=True, exist_ok=True)
    save_tensors(own / ATTACK, {"name": name, "options": json.dumps(options), "shadows": shadows})
    return own


def asked_about(experiment: Experiment, plan: Plan, pool: CandidatePool, queries: int) -> Int[Tensor, " candidates"]:
    """The positions of the candidates for whose queries on both halves there is room; as many members as others."""
    room = len(inserted_places(experiment, asked_positions(experiment, plan.jobs[-1])))
    return pool.first(room // (len(HALVES) * queries))


def compute_queries(folder: Path, number: int) -> None:
    """Write what to ask about a client's candidates, made on the shadows of the other half than the one asked for."""
    attack, shadows, plan, experiment = _known(folder)
    asked = ShadowRun.of(number, experiment.config.clients.count)
    pool = _pool(plan, asked.client)
    chosen = asked_about(experiment, plan, pool, attack.queries)
    others = [shadow for shadow in range(shadows) if half_of(shadow) != asked.shadow]
    known = Rehearsal(
        [load_model(experiment, folder.parent, ShadowRun(asked.client, shadow)) for shadow in others],
        torch.stack([pool.included(shadow, experiment.config.seed) for shadow in others])[:, chosen],
        pool.inputs[chosen],
        pool.labels[chosen],
        experiment.data.public.inputs,
    )
    save_tensors(asked.path(folder, QUERIES), {"queries": attack.made(known)})


def compute_asked(folder: Path, number: int) -> None:
    """Write what is released of one shadow run on its client's queries, of both halves, in one upload."""
    _, _, plan, experiment = _known(folder)
    shadow_run = ShadowRun.of(number, experiment.config.clients.count)
    found = [load_tensors(ShadowRun(shadow_run.client, half).path(folder, QUERIES))["queries"] for half in HALVES]
    queries = torch.stack(found)
    model = load_model(experiment, folder.parent, shadow_run)
    released = released_on(plan, experiment, shadow_run, model, queries.flatten(0, 2))
    save_tensors(shadow_run.path(folder, ASKED), {"answers": released.unflatten(0, queries.shape[:3])})


def half_of(shadow: int) -> int:
    """Which half a shadow belongs to; those with complementary candidates belong to the same."""
    return shadow // 2 % len(HALVES)


def asked_of(
    experiment: Experiment, plan: Plan, folder: Path, pool: CandidatePool, evidence: Evidence, queries: int
) -> Given:
    """What an attack has to go by about a client: for either half of the shadows, queries that others made."""
    chosen = asked_about(experiment, plan, pool, queries)
    actual = load_tensors(ShadowRun(pool.client, ACTUAL).path(folder, ASKED))["answers"]
    found = []
    for half in HALVES:
        numbers = [shadow for shadow in range(len(evidence.shadows)) if half_of(shadow) == half]
        answers = [load_tensors(ShadowRun(pool.client, each).path(folder, ASKED))["answers"][half] for each in numbers]
        found.append(Asked(actual[half], torch.stack(answers), evidence.included[numbers][:, chosen]))
    return Given.about(evidence, chosen, tuple(found))


def why_not(experiment: Experiment, plan: Plan, attack: AskingAttack, shadows: int) -> str | None:
    """Why the attack cannot be made; None where it can."""
    spec = experiment.data.spec
    if spec.vocabulary is not None:
        return f"queries are made by small steps, and the samples are {spec}"
    if shadows < 4 * len(HALVES):
        return f"it needs at least {4 * len(HALVES)} shadows, half to make queries and half to judge, got {shadows}"
    if min(asked_about(experiment, plan, pool, attack.queries).numel() for pool in plan.pools) < 2:
        return f"there is no room for {attack.queries} queries about a candidate on either half of the shadows"
    return None


@lru_cache(maxsize=1)
def _known(folder: Path) -> tuple[AskingAttack, int, Plan, Experiment]:
    content, plan = load_tensors(folder / ATTACK), load_plan(str(folder.parent))
    attack = new_attack(content["name"], json.loads(content["options"]))
    if not isinstance(attack, AskingAttack):
        raise ValueError(f"{content['name']} makes no queries")
    return attack, content["shadows"], plan, Experiment.of(plan.config)


def _pool(plan: Plan, client: int) -> CandidatePool:
    pool = plan.pool_of(client)
    if pool is None:
        raise ValueError(f"client {client} is not attacked")
    return pool
