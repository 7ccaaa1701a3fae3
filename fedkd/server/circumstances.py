"""What the simulator knows of a round besides its student and its teacher, for the diagnosis alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fedkd.client.release import release_of
from fedkd.core.messages import ClientReport
from fedkd.distillation.diagnosis import Circumstances
from fedkd.experiment import Experiment
from fedkd.models import hit_rate
from fedkd.privacy.private import Private
from fedkd.results.records import ClientRecord
from fedkd.server.student_rule import RoundReports


def circumstances_of(
    experiment: Experiment,
    received: RoundReports,
    rows: Sequence[ClientRecord],
    survivors: Sequence[int],
    private: Private | None,
) -> Circumstances:
    """The circumstances of a round that asked the clients of ``rows``, and whose teacher is made of ``survivors``."""
    accuracy, guess, samples = _own_accuracy(experiment, rows, survivors)
    attacking = experiment.attackers.intersection(survivors)
    return Circumstances(
        labelled=experiment.config.data.public.labelled,
        clients=len(survivors),
        dropped=len(rows) - len(survivors),
        attackers=len(attacking),
        honest_accuracy=_honest_accuracy(experiment, received) if attacking else None,
        client_accuracy=accuracy,
        client_guess=guess,
        client_samples=samples,
        noise=None if private is None or not survivors else _noise(experiment, received, survivors, private),
    )


def _honest_accuracy(experiment: Experiment, received: RoundReports) -> float | None:
    """How often the plain mean of the honest clients' probabilities is right on validation samples that they answer."""
    public = experiment.data.public
    held_out = public.validation[received.asked]
    honest = [report for report in received.reports if report.client not in experiment.attackers]
    if not honest or not bool(held_out.any()) or any(len(report.logits) != len(held_out) for report in honest):
        return None
    total = sum((_voted(report, held_out) for report in honest), start=torch.zeros(()))
    return hit_rate(total, public.told[received.asked][held_out])


def _voted(report: ClientReport, where: Tensor) -> Tensor:
    probabilities = report.logits[where].double().softmax(dim=-1)
    return probabilities if report.mask is None else probabilities * report.mask[where].unsqueeze(-1)


def _own_accuracy(
    experiment: Experiment, rows: Sequence[ClientRecord], survivors: Sequence[int]
) -> tuple[float | None, float | None, int]:
    """The honest clients' accuracy on validation samples of their own, that of naming the commonest class, and on how
    many samples; both None where none was measured."""
    data, taking_part = experiment.data, frozenset(survivors) - experiment.attackers
    hits, guessed, samples = 0.0, 0, 0
    for row in rows:
        if row.client in taking_part and row.validation_accuracy is not None:
            own = data.clients[row.client]
            commonest = data.labels[own.train].bincount().argmax()
            hits += row.validation_accuracy * own.validation.numel()
            guessed += int((data.labels[own.validation] == commonest).sum())
            samples += own.validation.numel()
    return (hits / samples, guessed / samples, samples) if samples else (None, None, 0)


def _noise(experiment: Experiment, received: RoundReports, survivors: Sequence[int], private: Private) -> str:
    smallest = min(survivors, key=experiment.most_examples)
    sentence = private.signal_to_noise(release_of(experiment, smallest, received.asked.numel()))
    return sentence[:1].upper() + sentence[1:]
