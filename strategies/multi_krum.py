"""Multi-Krum: the mean of the reports that are closest to their neighbours."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from fedkd import LogitAggregator, ReportStack, Teacher
from fedkd.aggregation.robust import krum_scores, mean_of, tolerated


@dataclass
class MultiKrum(LogitAggregator):
    """The mean of the ``keep`` reports with the smallest Krum scores (Blanchard et al. 2017, arXiv 1703.02757).

    On probabilities. ``keep`` null stands for K − f, f being ``malicious``; f shrinks with few clients as Krum's does,
    and ``keep`` to their number. Abstentions are treated as in Krum.

    Uses individual reports: the server sees what each client answers.
    """

    malicious: Annotated[int, Field(ge=0)] = 1
    keep: Annotated[int, Field(ge=1)] | None = None

    def aggregate(self, stack: ReportStack) -> Teacher:
        clients = len(stack.clients)
        malicious = tolerated(self.malicious, clients)
        keep = clients - malicious if self.keep is None else min(self.keep, clients)
        scores = krum_scores(stack, malicious)
        last = scores.sort().values[keep - 1]
        # Ties at the border are kept together, so that the order of the clients does not decide.
        return mean_of(stack, scores <= last + 1e-9 * last.abs() + 1e-12)
