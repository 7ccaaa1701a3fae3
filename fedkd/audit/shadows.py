"""The clients' part of an audit: what a client answered, and what it would have answered with other training data."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from fedkd.audit.candidates import CandidatePool
from fedkd.audit.plan import ACTUAL, Plan, load_plan, load_tensors, save_tensors
from fedkd.audit.queries import views_of
from fedkd.client.behaviour import ClientBehaviour
from fedkd.client.context import ClientContext
from fedkd.client.release import encoded_logits
from fedkd.client.round import answer, consensus_of, prepare
from fedkd.client.rule import ClientRule, Upload
from fedkd.client.setup import asked_positions, behaviour_of, client_rule
from fedkd.config.values import Plugin
from fedkd.core.messages import LOGITS, UNKNOWN_LABEL, Job
from fedkd.data import ClientData
from fedkd.experiment import Experiment
from fedkd.models import predict

MODEL = "model"
"""The kind of file that holds a shadow run's model after the last round."""


@dataclass(frozen=True)
class ShadowRun:
    """A client's part of the run with its own training data (shadow ``ACTUAL``), or with a shadow's."""

    client: int
    shadow: int

    def number(self, clients: int) -> int:
        """The shadow model as one number, which engines take for a client's id."""
        return (self.shadow + 1) * clients + self.client

    @classmethod
    def of(cls, number: int, clients: int) -> "ShadowRun":
        """The inverse of ``number``."""
        return cls(number % clients, number // clients - 1)

    def path(self, folder: Path, kind: str = "world") -> Path:
        """Where its answers are kept, or what else there is of it."""
        name = "actual" if self.shadow == ACTUAL else f"shadow_{self.shadow:05d}"
        return folder / kind / f"client_{self.client:06d}_{name}.pt"


def compute_shadow_run(folder: Path, number: int) -> None:
    """Compute a shadow model of the plan in ``folder``, and write the file of its answers."""
    _compute(folder, number, keep_model=False)


def compute_model(folder: Path, number: int) -> None:
    """Write the file of the model itself, and that of its answers where it is not there."""
    _compute(folder, number, keep_model=True)


def _compute(folder: Path, number: int, *, keep_model: bool) -> None:
    plan = load_plan(str(folder))
    experiment = Experiment.of(plan.config)
    shadow_run = ShadowRun.of(number, experiment.config.clients.count)
    found, model = _answers(plan, experiment, shadow_run)
    if keep_model:
        if model is None:
            raise ValueError("the client rule shows the simulator no model, and there is nothing to make queries on")
        save_tensors(shadow_run.path(folder, MODEL), {"state": {k: v.cpu() for k, v in model.state_dict().items()}})
    if not (keep_model and shadow_run.path(folder).is_file()):
        save_tensors(shadow_run.path(folder), found)


def load_shadow_run(folder: Path, shadow_run: ShadowRun) -> dict[str, Any]:
    """A shadow model's predictions: in each observed round one entry of the lists ``rounds``, ``public``, ``inserted``.

    ``rounds`` are their numbers, ``public`` [asked, classes] what the client released; ``inserted`` maps each attacked
    client to what it would have released with that client's candidates among the public samples. ``arrays``,
    ``message``, ``crafted`` and ``original``, the model's logits on unseen inputs, belong to the last round.
    """
    return load_tensors(shadow_run.path(folder))


def load_model(experiment: Experiment, folder: Path, shadow_run: ShadowRun) -> nn.Module:
    """The model that ``compute_model`` wrote, in evaluation mode; its parameters get no gradients."""
    model = experiment.initial_model(experiment.architecture_of(shadow_run.client))
    model.load_state_dict(load_tensors(shadow_run.path(folder, MODEL))["state"])
    return model.eval().requires_grad_(False)


def released_on(
    plan: Plan, experiment: Experiment, shadow_run: ShadowRun, model: nn.Module, queries: Shaped[Tensor, "queries ..."]
) -> Float[Tensor, "queries classes"]:
    """What is released of a shadow run's model in the last round, with ``queries`` in the places of public samples."""
    theirs = _own_data(experiment, plan.pool_of(shadow_run.client), shadow_run)
    rule, stream = client_rule(experiment), _stream(shadow_run)
    round = _ShadowRound(plan, theirs, plan.jobs[-1], shadow_run.client, stream, {}, (), rule.sends == LOGITS)
    return round.ask(rule, model, queries)


def trained_on(
    plan: Plan, experiment: Experiment, client: int, samples: tuple[Tensor, Tensor], stream: str
) -> nn.Module | None:
    """The model of a client that goes through the rounds with other inputs and labels, and other random numbers."""
    theirs, rule = _with_data(experiment, client, *samples), client_rule(experiment)
    memory: dict[str, Tensor] = {}
    model = None
    for job in plan.jobs:
        round = _ShadowRound(plan, theirs, job, client, stream, memory, (), rule.sends == LOGITS)
        model = round.work_through(rule, behaviour_of(experiment, client))
    return model


def inserted_places(experiment: Experiment, positions: Int[Tensor, " asked"]) -> Int[Tensor, " places"]:
    """Where, among the samples asked about, candidates may be put: those on which no teacher is fitted."""
    public = experiment.data.public
    return ((public.labels[positions] == UNKNOWN_LABEL) & ~public.validation[positions]).nonzero().flatten()


def _answers(plan: Plan, experiment: Experiment, shadow_run: ShadowRun) -> tuple[dict[str, Any], nn.Module | None]:
    """Go through the rounds, and keep what is released in the observed ones, and the model as it is in the end."""
    rule = client_rule(experiment)
    behaviour = behaviour_of(experiment, shadow_run.client)
    pool = plan.pool_of(shadow_run.client)
    theirs, stream = _own_data(experiment, pool, shadow_run), _stream(shadow_run)
    pools = plan.pools if shadow_run.shadow == ACTUAL or pool is None else (pool,)
    memory: dict[str, Tensor] = {}
    found: dict[str, Any] = {"rounds": [], "public": [], "inserted": []}
    model: nn.Module | None = None
    for step, job in enumerate(plan.jobs):
        if shadow_run.client not in experiment.sampled(job.round):
            continue
        round = _ShadowRound(plan, theirs, job, shadow_run.client, stream, memory, pools, rule.sends == LOGITS)
        if len(plan.jobs) - step > plan.observed:
            round.work_through(rule, behaviour)
            continue
        observed, model = round.observe(rule, behaviour, last=job is plan.jobs[-1])
        for name, value in observed.items():
            if isinstance(found.get(name), list):
                found[name].append(value)
            else:
                found[name] = value
    return found, model


def _own_data(experiment: Experiment, pool: CandidatePool | None, shadow_run: ShadowRun) -> Experiment:
    """The experiment with the training data of the shadow run."""
    if shadow_run.shadow == ACTUAL or pool is None:
        return experiment
    return _with_shadow_data(experiment, pool, shadow_run.shadow)


def _stream(shadow_run: ShadowRun) -> str:
    return "" if shadow_run.shadow == ACTUAL else f" of shadow {shadow_run.shadow}"


@dataclass
class _ShadowRound:
    """One round of one shadow run."""

    plan: Plan
    experiment: Experiment
    job: Job
    client: int
    stream: str
    memory: dict[str, Tensor]
    pools: tuple[CandidatePool, ...]
    sends_logits: bool

    def work_through(self, rule: ClientRule, behaviour: ClientBehaviour) -> nn.Module | None:
        """A round that only changes what the client remembers, and the model after it."""
        return self._respond(rule, behaviour, self.experiment.data.public.inputs[:1])[1].model

    def observe(
        self, rule: ClientRule, behaviour: ClientBehaviour, *, last: bool
    ) -> tuple[dict[str, Any], nn.Module | None]:
        """What is released, and the model that answered."""
        positions = asked_positions(self.experiment, self.job)
        public = self.experiment.data.public.inputs[positions]
        candidates = [views_of(pool.inputs, self.plan.views).flatten(0, 1) for pool in self.pools]
        extra = [self.plan.crafted, self.plan.unseen] if last else []
        context, upload = self._respond(rule, behaviour, torch.cat([public, *candidates, *extra]))
        logits = self._logits(upload, context.queries)
        sizes = [len(part) for part in (public, *candidates, *extra)]
        own, *others = logits.split(sizes)
        places = inserted_places(self.experiment, positions)
        released, message = self._release(context, own, None if upload.mask is None else upload.mask[: len(own)])
        found: dict[str, Any] = {"rounds": self.job.round, "public": released, "inserted": {}}
        masks = [None] * len(sizes) if upload.mask is None else list(upload.mask.split(sizes))
        for index, pool in enumerate(self.pools):
            found["inserted"][pool.client] = self._insert(
                context, own, others[index], places, masks[0], masks[index + 1]
            )
        if last:
            found["arrays"] = {name: torch.from_numpy(np.array(array)) for name, array in upload.arrays.items()}
            found["message"] = message
            swapped = self._insert(context, own, others[-2], places, masks[0], masks[-2])
            found["crafted"] = swapped[places[: len(others[-2])]]
            found["original"] = others[-1]
        return found, upload.model

    def ask(self, rule: ClientRule, model: nn.Module, queries: Tensor) -> Tensor:
        """What is released on other queries, the client's model being ``model``."""
        positions = asked_positions(self.experiment, self.job)
        public = self.experiment.data.public.inputs[positions]
        context = self._context(torch.cat([public, queries]))
        logits = context.answer(model) if self.sends_logits else None
        upload = rule.respond_again(context, Upload(logits, model=model))
        own, answers = self._logits(upload, context.queries).split([len(public), len(queries)])
        masks = (None, None) if upload.mask is None else upload.mask.split([len(public), len(queries)])
        places = inserted_places(self.experiment, positions)
        return self._insert(context, own, answers, places, *masks)[places[: len(queries)]]

    def _respond(self, rule: ClientRule, behaviour: ClientBehaviour, queries: Tensor) -> tuple[ClientContext, Upload]:
        context = self._context(queries)
        upload = answer(context, rule, behaviour)
        self.memory = context.memory
        return context, upload

    def _context(self, queries: Tensor) -> ClientContext:
        consensus, _ = consensus_of(self.experiment, self.job, self.client)
        return prepare(
            self.experiment,
            self.job,
            self.client,
            queries,
            memory=self.memory,
            consensus=consensus,
            stream=self.stream,
        )

    def _logits(self, upload: Upload, queries: Tensor) -> Tensor:
        """The client's answers; those of the model itself where that is what it sends."""
        if upload.logits is not None:
            return upload.logits
        if upload.model is None:
            raise ValueError("the client sends neither logits nor a model, and there is nothing to ask")
        return predict(upload.model, queries)

    def _insert(
        self,
        context: ClientContext,
        own: Tensor,
        answers: Tensor,
        places: Tensor,
        own_mask: Bool[Tensor, " asked"] | None,
        mask: Bool[Tensor, " answers"] | None,
    ) -> Tensor:
        """What is released with the first of ``places`` taken by other inputs; as many samples are asked about."""
        rows, kept = own.clone(), None if own_mask is None else own_mask.clone()
        taken = places[: len(answers)]
        rows[taken] = answers
        if kept is not None and mask is not None:
            kept[taken] = mask
        return self._release(context, rows, kept)[0]

    def _release(self, context: ClientContext, logits: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What the server reads of logits after mechanism and codec, and the message; 0 where the client abstains.

        Whoever was sent the model itself asks it directly, and there is no message.
        """
        if not self.sends_logits:
            return logits, None
        data = encoded_logits(context, logits, mask).data
        decoded = self.experiment.uplink.decode(data, samples=len(logits), classes=logits.shape[1])
        return decoded.logits, torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy())


def _with_shadow_data(experiment: Experiment, pool: CandidatePool, shadow: int) -> Experiment:
    """The experiment of a client that trains on what it is known to have and on a shadow's half of the candidates."""
    chosen = pool.included(shadow, experiment.config.seed)
    data = experiment.data
    inputs = torch.cat([data.inputs[pool.known], pool.inputs[chosen]])
    return _with_data(experiment, pool.client, inputs, torch.cat([data.labels[pool.known], pool.labels[chosen]]))


def _with_data(experiment: Experiment, owner: int, inputs: Tensor, labels: Tensor) -> Experiment:
    """The experiment of a client that trains on these samples."""
    data = experiment.data
    nothing = torch.zeros(0, dtype=torch.long)
    clients = tuple(
        ClientData(torch.arange(len(labels)) if client == owner else nothing, nothing)
        for client in range(len(data.clients))
    )
    return replace(experiment, given=replace(data, inputs=inputs, labels=labels, clients=clients))


def without_differences(spec: Plugin) -> Plugin:
    """The codec with every message complete in itself; what is read from it is the same."""
    return Plugin(spec.name, {name: value for name, value in spec.options.items() if name != "delta"})


def all_shadow_runs(clients: tuple[int, ...], attacked: tuple[int, ...], shadows: int) -> Iterator[ShadowRun]:
    """What really happened to all clients, and the shadows of those that are attacked."""
    yield from (ShadowRun(client, ACTUAL) for client in clients)
    yield from (ShadowRun(client, shadow) for shadow in range(shadows) for client in attacked)
