"""An ``InvertingAttack``'s work: mean inputs of a client's classes, and what they are in truth."""

import json
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fedkd.audit.asking.queries import ATTACK, INVERTED
from fedkd.audit.attack import InvertingAttack, MeansFound, Released, new_attack
from fedkd.audit.plan import ACTUAL, load_plan, load_tensors, save_tensors
from fedkd.audit.shadows import ShadowRun
from fedkd.audit.surrogates import copy_of, received_model
from fedkd.client.setup import asked_positions
from fedkd.experiment import Experiment


def compute_inverted(folder: Path, number: int) -> None:
    """Write what an attack makes of a client's released answers."""
    plan = load_plan(str(folder.parent))
    experiment = Experiment.of(plan.config)
    run = ShadowRun.of(number, experiment.config.clients.count)
    content = load_tensors(folder / ATTACK)
    attack = new_attack(content["name"], json.loads(content["options"]))
    if not isinstance(attack, InvertingAttack):
        raise ValueError(f"{content['name']} inverts nothing")
    copy, answers = copy_of(plan, experiment, folder.parent, run.client)
    before = received_model(experiment, plan.jobs[-1], run.client)
    for model in (copy, before):
        model.eval().requires_grad_(False)
    public = experiment.data.public.inputs[asked_positions(experiment, plan.jobs[-1])]
    save_tensors(run.path(folder, INVERTED), {"means": attack.invert(Released(answers, public, copy, before))})


def class_means(experiment: Experiment, folder: Path, client: int) -> MeansFound:
    """What was found of a client's class means, and what they are."""
    found = load_tensors(ShadowRun(client, ACTUAL).path(folder, INVERTED))["means"].flatten(1)
    data, own = experiment.data, experiment.data.clients[client].train
    theirs, counts = _means(data.inputs[own], data.labels[own], data.classes)
    public, known = _means(data.public.inputs, data.public.truth, data.classes)
    return MeansFound(found, theirs, public, (counts > 0) & (known > 0))


def _means(
    inputs: Float[Tensor, "samples ..."], labels: Int[Tensor, " samples"], classes: int
) -> tuple[Float[Tensor, "classes values"], Int[Tensor, " classes"]]:
    """Mean inputs by class, and of how many samples."""
    members = torch.nn.functional.one_hot(labels.clamp_min(0), classes) * (labels >= 0).long().unsqueeze(1)
    counts = members.sum(dim=0)
    return members.T.to(inputs.dtype) @ inputs.flatten(1) / counts.clamp_min(1).unsqueeze(1), counts
