"""An ``AskingInference``'s work: models of known class shares, queries made on half of them, and the answers."""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fedkd.audit.asking.queries import ATTACK, HALVES, SHARE_QUERIES, TOLD, half_of
from fedkd.audit.attack import AskedShares, AskingInference, new_attack
from fedkd.audit.metrics import Counts
from fedkd.audit.plan import ACTUAL, Plan, load_plan, load_tensors, save_tensors
from fedkd.audit.queries import blends_of
from fedkd.audit.shadows import ShadowRun, inserted_places, load_model, released_on, trained_on
from fedkd.client.setup import asked_positions
from fedkd.core.seeding import numpy_generator, torch_generator
from fedkd.data.roles import unused_samples
from fedkd.experiment import Experiment

SHARED = "shares"
"""The kind of file that holds a model of known class shares."""


def compute_shared(folder: Path, number: int) -> None:
    """Train a client's model on as many samples in no role as the client has, with class shares drawn evenly."""
    plan = load_plan(str(folder))
    experiment = Experiment.of(plan.config)
    run = ShadowRun.of(number, experiment.config.clients.count)
    inputs, labels = _unused(plan.config)
    count, classes = experiment.data.clients[run.client].train.numel(), experiment.data.classes
    draw = numpy_generator(experiment.config.seed, client=run.client, purpose=f"audit: class shares {run.shadow}")
    chosen = torch.from_numpy(_drawn(labels.numpy(), count, classes, draw))
    stream = f" of class shares {run.shadow}"
    model = trained_on(plan, experiment, run.client, (inputs[chosen], labels[chosen]), stream)
    if model is None:
        raise ValueError("the client rule shows the simulator no model, and there is nothing to make queries on")
    shares = torch.bincount(labels[chosen], minlength=classes) / max(chosen.numel(), 1)
    state = {name: value.cpu() for name, value in model.state_dict().items()}
    save_tensors(run.path(folder, SHARED), {"state": state, "shares": shares})


def _drawn(labels: Counts, count: int, classes: int, draw: np.random.Generator) -> Counts:
    """Positions of samples, by shares from a flat Dirichlet distribution as far as there are samples of a class."""
    wanted = draw.multinomial(count, draw.dirichlet(np.ones(classes)))
    parts = [draw.permutation(np.flatnonzero(labels == label))[:number] for label, number in enumerate(wanted)]
    return np.concatenate(parts)


def compute_share_queries(folder: Path, number: int) -> None:
    """Write what to ask, made on the models of the other half than the one asked for."""
    attack, count, plan, experiment = _known(folder)
    asked = ShadowRun.of(number, experiment.config.clients.count)
    others = [each for each in range(count) if half_of(each) != asked.shadow]
    models, shares = zip(*(_load(experiment, folder, asked.client, each) for each in others), strict=True)
    generator = torch_generator(experiment.config.seed, purpose=f"audit: queries of half {asked.shadow}")
    public = experiment.data.public.inputs
    queries = _count(experiment, plan, attack)
    plain = public[torch.randperm(len(public), generator=generator)[: queries - queries // 2]]
    start = torch.cat([plain, blends_of(public, queries - len(plain), generator)])
    save_tensors(asked.path(folder, SHARE_QUERIES), {"queries": attack.make(models, torch.stack(shares), start)})


def compute_told(folder: Path, number: int) -> None:
    """Write what is released of a client's model, or of one of known class shares, on the queries of both halves."""
    _, _, plan, experiment = _known(folder)
    run = ShadowRun.of(number, experiment.config.clients.count)
    maker = plan.pools[0].client
    found = [load_tensors(ShadowRun(maker, half).path(folder, SHARE_QUERIES))["queries"] for half in HALVES]
    if run.shadow == ACTUAL:
        model = load_model(experiment, folder.parent, run)
    else:
        model, _ = _load(experiment, folder, run.client, run.shadow)
    released = released_on(plan, experiment, run, model, torch.cat(found))
    save_tensors(run.path(folder, TOLD), {"answers": released.unflatten(0, (len(HALVES), -1))})


def asked_shares(plan: Plan, folder: Path, client: int, count: int) -> tuple[AskedShares, ...]:
    """What an attack has to go by about a client: for either half of the models, queries that the others made."""
    maker = plan.pools[0].client
    actual = load_tensors(ShadowRun(client, ACTUAL).path(folder, TOLD))["answers"]
    found = []
    for half in HALVES:
        runs = [ShadowRun(maker, each) for each in range(count) if half_of(each) == half]
        answers = [load_tensors(run.path(folder, TOLD))["answers"][half] for run in runs]
        shares = [load_tensors(run.path(folder.parent, SHARED))["shares"] for run in runs]
        found.append(AskedShares(actual[half], torch.stack(answers), torch.stack(shares)))
    return tuple(found)


def why_not(experiment: Experiment, plan: Plan, attack: AskingInference, count: int) -> str | None:
    """Why the attack cannot be made; None where it can."""
    spec = experiment.data.spec
    if spec.vocabulary is not None:
        return f"queries are made by small steps, and the samples are {spec}"
    if count < 4 * len(HALVES):
        return f"it needs at least {4 * len(HALVES)} shadows, half to make queries and half to judge, got {count}"
    if _count(experiment, plan, attack) < 2:
        return "there is no room for two queries on either half of the models"
    return None


def _count(experiment: Experiment, plan: Plan, attack: AskingInference) -> int:
    """How many queries there is room for on either half of the models."""
    room = len(inserted_places(experiment, asked_positions(experiment, plan.jobs[-1])))
    return min(attack.queries, room // len(HALVES))


def _load(experiment: Experiment, folder: Path, client: int, number: int) -> tuple[nn.Module, Tensor]:
    content = load_tensors(ShadowRun(client, number).path(folder.parent, SHARED))
    model = experiment.initial_model(experiment.architecture_of(client))
    model.load_state_dict(content["state"])
    return model.eval().requires_grad_(False), content["shares"]


@lru_cache(maxsize=1)
def _unused(config: str) -> tuple[Tensor, Tensor]:
    """Samples in no role, which take long to prepare."""
    return unused_samples(Experiment.of(config).config)


@lru_cache(maxsize=1)
def _known(folder: Path) -> tuple[AskingInference, int, Plan, Experiment]:
    content, plan = load_tensors(folder / ATTACK), load_plan(str(folder.parent))
    attack = new_attack(content["name"], json.loads(content["options"]))
    if not isinstance(attack, AskingInference):
        raise ValueError(f"{content['name']} makes no queries about class shares")
    return attack, content["shadows"], plan, Experiment.of(plan.config)
