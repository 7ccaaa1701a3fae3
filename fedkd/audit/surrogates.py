"""Copies of clients' models, distilled from what the clients released."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fedkd.audit.plan import ACTUAL, Plan, load_plan, load_tensors, save_tensors
from fedkd.audit.queries import views_of
from fedkd.audit.shadows import ShadowRun, load_shadow_run
from fedkd.client.setup import asked_positions
from fedkd.client.training import train
from fedkd.core.messages import Job, parameter_prefix
from fedkd.core.seeding import torch_generator
from fedkd.distillation.divergence import distillation_loss
from fedkd.experiment import Experiment
from fedkd.models import predict

SURROGATE = "copy"


def compute_surrogate(folder: Path, number: int) -> None:
    """Distil a surrogate model from each observed round's transcript, and write what the surrogates predict."""
    plan = load_plan(str(folder))
    experiment = Experiment.of(plan.config)
    shadow_run = ShadowRun.of(number, experiment.config.clients.count)
    found, jobs = load_shadow_run(folder, shadow_run), {job.round: job for job in plan.jobs}
    own = plan.pool_of(shadow_run.client)
    pools = plan.pools if shadow_run.shadow == ACTUAL or own is None else (own,)
    answers: list[dict[int, Tensor]] = []
    unseen = torch.zeros(0)
    for round, released in zip(found["rounds"], found["public"], strict=True):
        model = _distilled(plan, experiment, jobs[round], shadow_run, released)
        inputs = {pool.client: views_of(pool.inputs, plan.views) for pool in pools}
        answers.append(
            {client: predict(model, each.flatten(0, 1)).unflatten(0, each.shape[:2]) for client, each in inputs.items()}
        )
        if shadow_run.shadow == ACTUAL and round == plan.jobs[-1].round:
            unseen = predict(model, plan.unseen)
    save_tensors(shadow_run.path(folder, SURROGATE), {"answers": answers, "unseen": unseen})


def load_surrogate(folder: Path, shadow_run: ShadowRun) -> dict[str, Any]:
    """The surrogates' logits: ``answers`` in each observed round on each attacked client's candidates, [views,
    candidates, classes], and ``unseen`` on the inputs in no role.
    """
    return load_tensors(shadow_run.path(folder, SURROGATE))


def copy_of(plan: Plan, experiment: Experiment, folder: Path, client: int) -> tuple[nn.Module, Tensor]:
    """A copy of a client's model, from what the client released in the last round, and that."""
    run = ShadowRun(client, ACTUAL)
    released: Tensor = load_shadow_run(folder, run)["public"][-1]
    return _distilled(plan, experiment, plan.jobs[-1], run, released), released


def received_model(experiment: Experiment, job: Job, client: int) -> nn.Module:
    """The model that the client was sent; the initial one of its architecture where it was sent none."""
    architecture = experiment.architecture_of(client)
    prefix = parameter_prefix(architecture)
    sent = {**job.parameters, **job.personal.get(client, {})}
    start = {name.removeprefix(prefix): value for name, value in sent.items() if name.startswith(prefix)}
    return experiment.model(start, architecture)


def _distilled(
    plan: Plan, experiment: Experiment, job: Job, shadow_run: ShadowRun, released: Float[Tensor, "asked classes"]
) -> nn.Module:
    """A model that was taught by what the client released: from the model it was sent, where it was sent one."""
    config, model = experiment.config, received_model(experiment, job, shadow_run.client)
    target = released.log_softmax(dim=-1)

    def loss(model: nn.Module, inputs: Tensor, rows: Tensor) -> Tensor:
        return distillation_loss(model(inputs), target[rows].to(inputs.device), 1.0)

    train(
        model,
        experiment.data.public.inputs[asked_positions(experiment, job)],
        torch.arange(len(target)),
        replace(config.clients, proximal=0.0),
        epochs=plan.surrogate_epochs,
        generator=torch_generator(
            config.seed,
            round=job.round,
            client=shadow_run.client,
            purpose=f"audit: distilling a copy of {shadow_run.shadow}",
        ),
        loss=loss,
    )
    return model
