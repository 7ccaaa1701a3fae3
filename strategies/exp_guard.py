"""ExpGuard: clients that keep lying lose their weight."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from pydantic import Field

from fedkd import LogitAggregator, ReportStack, Teacher
from fedkd.aggregation.robust import trimmed_mean


@dataclass
class ExpGuard(LogitAggregator):
    """Σ_k w_k p_k / Σ_k w_k, with w_k ← w_k·exp(−η·s̄_k) every round (Roux et al. 2024, arXiv 2402.12265).

    s̄_k is client k's outlier score ‖p_k − m‖₂, m the coordinate-wise median, averaged over the samples it votes on;
    η is ``step``. A client starts at weight 1, and keeps its weight while it is absent or abstains throughout. So it
    loses nothing then, while honest clients lose a little by differing from the median.

    Uses individual reports, and the weights, which are state, disclose who is unlike the rest.
    """

    step: Annotated[float, Field(ge=0)] = 1.0
    _log_weights: dict[int, float] = field(default_factory=dict, init=False, repr=False)

    def aggregate(self, stack: ReportStack) -> Teacher:
        votes, probabilities = stack.votes.double(), stack.probabilities.double()
        median = trimmed_mean(probabilities, votes, len(votes))
        median = median / median.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
        outlying = votes * torch.linalg.vector_norm(probabilities - median, dim=-1)
        score = outlying.sum(dim=1) / votes.sum(dim=1).clamp_min(1.0)
        for client, loss in zip(stack.clients, score.tolist(), strict=True):
            self._log_weights[client] = self._log_weights.get(client, 0.0) - self.step * loss
        log_weight = torch.tensor([self._log_weights[client] for client in stack.clients], dtype=torch.float64)
        weight = log_weight.unsqueeze(-1).expand_as(votes).masked_fill(votes == 0, -torch.inf).softmax(dim=0)
        mean = torch.einsum("ks,ksc->sc", weight, probabilities)
        return Teacher.from_probabilities(mean.float(), client_weight=log_weight.softmax(dim=0).float())

    def state_dict(self) -> dict[str, Any]:
        return {"log_weights": dict(self._log_weights)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._log_weights = dict(state["log_weights"])
