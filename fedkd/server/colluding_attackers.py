"""Attackers who know what the others answered, simulated where all answers are known."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from fedkd.client.behaviour import AdversaryView
from fedkd.client.setup import build_behaviour
from fedkd.core.errors import RunError
from fedkd.core.messages import ClientReport
from fedkd.core.seeding import torch_generator
from fedkd.experiment import Experiment

Recode = Callable[[Tensor, Tensor | None], Tensor]


def collude(
    experiment: Experiment,
    round: int,
    reports: list[ClientReport],
    tests: Mapping[int, ClientReport],
    recode: Recode,
) -> tuple[list[ClientReport], dict[int, ClientReport]]:
    """The reports, and those on the test samples, with the colluding attackers' logits replaced by forged ones.

    ``recode`` sends logits through the uplink codec, which attackers have to use like everybody else.
    """
    forgers = {client for client in experiment.attackers if build_behaviour(experiment, client).needs_others}
    taking_part = {report.client for report in reports} & forgers
    if not taking_part:
        return reports, dict(tests)
    forged = _forge(experiment, round, reports, taking_part, recode)
    if not tests:
        return forged, {}
    extra = _forge(experiment, round, [tests[client] for client in sorted(tests)], taking_part, recode)
    return forged, {report.client: report for report in extra}


def _forge(
    experiment: Experiment, round: int, reports: list[ClientReport], attackers: set[int], recode: Recode
) -> list[ClientReport]:
    honest = [report.logits for report in reports if report.client not in experiment.attackers]
    shape = reports[0].logits.shape
    known = torch.stack(honest) if honest else torch.zeros(0, *shape)
    changed = []
    for report in reports:
        if report.client in attackers:
            generator = torch_generator(experiment.config.seed, round=round, client=report.client, purpose="collusion")
            view = AdversaryView(known, report.logits, generator, report.client, len(attackers))
            forged = build_behaviour(experiment, report.client).collude(view)
            try:
                report = replace(report, logits=recode(forged, report.mask))
            except ValueError as error:
                name = experiment.config.clients.attackers.behaviour.name
                raise RunError(
                    f"clients.attackers.behaviour: {name} forged what client {report.client} cannot send ({error}); "
                    f"forge finite logits, one row per sample"
                ) from error
        changed.append(report)
    return changed
