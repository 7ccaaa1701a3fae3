"""Attackers who know what the others answered, simulated where all answers are known."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from fedkd.client.behaviour import AdversaryView, forged_by
from fedkd.client.setup import behaviour_of
from fedkd.core.errors import RunError
from fedkd.core.messages import ClientReport
from fedkd.core.seeding import torch_generator
from fedkd.experiment import Experiment


def collude(
    experiment: Experiment,
    round: int,
    reports: list[ClientReport],
    tests: Mapping[int, ClientReport],
) -> tuple[list[ClientReport], dict[int, ClientReport]]:
    """The reports, and those on the test samples, with the colluding attackers' logits replaced by forged ones.

    Forged logits go through the uplink codec, which attackers have to use like everybody else.
    """
    forgers = {client for client in experiment.attackers if behaviour_of(experiment, client).needs_others}
    taking_part = {report.client for report in reports} & forgers
    if not taking_part:
        return reports, dict(tests)
    forged = _forge(experiment, round, reports, taking_part)
    if not tests:
        return forged, {}
    extra = _forge(experiment, round, [tests[client] for client in sorted(tests)], taking_part)
    return forged, {report.client: report for report in extra}


def _forge(experiment: Experiment, round: int, reports: list[ClientReport], attackers: set[int]) -> list[ClientReport]:
    honest = [report.logits for report in reports if report.client not in experiment.attackers]
    shape = reports[0].logits.shape
    known = torch.stack(honest) if honest else torch.zeros(0, *shape)
    changed = []
    for report in reports:
        if report.client in attackers:
            generator = torch_generator(experiment.config.seed, round=round, client=report.client, purpose="collusion")
            view = AdversaryView(known, report.logits, generator, report.client, len(attackers))
            try:
                forged = forged_by(behaviour_of(experiment, report.client), view)
                report = replace(report, logits=experiment.uplink.recode(forged, report.mask))
            except ValueError as error:
                name = experiment.config.clients.attackers.behaviour.name
                raise RunError(
                    f"clients.attackers.behaviour: {name} forged what client {report.client} cannot send ({error}); "
                    f"forge finite logits, one row per sample"
                ) from error
        changed.append(report)
    return changed
