"""Krum: the report that is closest to its neighbours."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from fedkd.aggregation.robust import krum_scores, mean_of, tolerated
from fedkd.aggregation.strategy import LogitAggregator
from fedkd.aggregation.types import ReportStack, Teacher


@dataclass
class Krum(LogitAggregator):
    """The whole report with the smallest sum of squared distances to its K − f − 2 nearest (Blanchard et al. 2017).

    On probabilities (arXiv 1703.02757 has gradients). f is ``malicious``; with fewer than 2f + 3 clients it shrinks to
    (K − 3)/2, rounded down. Reports that tie, as the nearest two of three do, are averaged. Abstentions: a distance is
    the mean over the samples on which both vote; where the chosen client abstains, the others' mean takes its place.

    Uses individual reports, and follows one client: the target discloses that client's answers.
    """

    malicious: Annotated[int, Field(ge=0)] = 1

    def aggregate(self, stack: ReportStack) -> Teacher:
        scores = krum_scores(stack, tolerated(self.malicious, len(stack.clients)))
        best = scores.min()
        return mean_of(stack, scores <= best + 1e-9 * best.abs() + 1e-12)
