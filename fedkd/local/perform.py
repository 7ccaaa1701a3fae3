"""One client's part of a job, as a function of the job and the client's id alone."""

import torch

from fedkd import plugins
from fedkd.evaluation import accuracy
from fedkd.local._behaviour import ClientBehaviour, LocalWork
from fedkd.local.training import train
from fedkd.local.workspace import Workspace, workspace
from fedkd.privacy import LogitMechanism
from fedkd.seeding import torch_generator
from fedkd.types import Job, Outcome, state_arrays


def perform(job: Job, client: int) -> Outcome:
    """The client's outcome; raises what goes wrong, for the engine to turn into a failed outcome."""
    place = workspace(job.config)
    match job.kind:
        case "distil":
            return _distil(place, job, client)
        case "fedavg":
            return _fedavg(place, job, client)
        case "local":
            return _local(place, job, client)
        case _:
            raise ValueError(f"job kind must be distil, fedavg or local, got {job.kind!r}")


def _distil(place: Workspace, job: Job, client: int) -> Outcome:
    config, data = place.config, place.data
    chosen = data.public.subset(config.data.public.round_size, config.seed, job.round)
    queries = data.public.images[chosen]
    if job.probe:
        queries = torch.cat([queries, data.test_images])
    work = LocalWork(place, client, job.round, job.parameters, queries)
    behaviour: ClientBehaviour = plugins.build(
        plugins.CLIENT, config.clients.behaviour.name, config.clients.behaviour.options
    )
    mechanism: LogitMechanism = plugins.build(
        plugins.MECHANISM, config.privacy.mechanism.name, config.privacy.mechanism.options
    )
    released = mechanism.privatise(behaviour.respond(work), work.generator("privacy mechanism")).numpy()
    arrays = {"logits": released[: chosen.numel()]}
    if job.probe:
        arrays["probe"] = released[chosen.numel() :]
    return Outcome(
        client,
        arrays,
        {"round": job.round, "examples": data.clients[client].train.numel(), "public_digest": data.public.digest},
    )


def _fedavg(place: Workspace, job: Job, client: int) -> Outcome:
    work = LocalWork(place, client, job.round, job.parameters, place.data.public.images[:0])
    model = work.train(work.student())
    return Outcome(client, state_arrays(model.state_dict()), {"examples": place.data.clients[client].train.numel()})


def _local(place: Workspace, job: Job, client: int) -> Outcome:
    """Train alone for as many epochs as all rounds together have, and measure on the test set."""
    config, data = place.config, place.data
    model = place.initial_student()
    train(
        model,
        data.images,
        data.labels,
        data.clients[client].train,
        config.clients,
        epochs=config.clients.epochs * config.rounds,
        generator=torch_generator(config.seed, client=client, purpose="local only"),
    )
    return Outcome(client, metrics={"accuracy": accuracy(model, data.test_images, data.test_labels)})
