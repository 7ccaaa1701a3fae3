"""A target for every client: a mixture of all reports, with coefficients that are learned round after round."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fedkd import LogitAggregator, ReportStack, Teacher

FLOOR = torch.finfo(torch.float64).tiny


@dataclass
class Personalised(LogitAggregator):
    """Client k gets t_k = Σ_l c_kl p_l; the knowledge coefficients c are learned (KT-pFL, Zhang et al. 2021).

    Each row of c starts at 1/K and takes ``steps`` steps c_k ← Π(c_k − ``step``·∇) a round, Π the projection on the
    simplex, down the part of the objective that depends on it (arXiv 2111.02862, Eq. 7, with λ = 1 and every client
    weighted alike): the mean over the samples of KL(t_k ‖ p_k) + ``rho``·‖c_k − 1/K‖², on probabilities softened by
    ``temperature``. The first term draws a client towards those who answer as it does, the second towards everybody.
    ``rho`` and ``temperature`` are those of the authors' experiments; their code projects with a softmax instead. A
    client's coefficients are kept while it or the other is absent. Where a client abstains the others' coefficients
    are scaled up.

    The common target, for the server's student, is the mean of the clients' targets. Uses individual reports; a
    client's target discloses to it a mixture of the others' answers, and the coefficients, which are state, who is
    like whom. Robust to nobody: the common target is close to the mean of the probabilities.
    """

    rho: Annotated[float, Field(ge=0)] = 0.7
    step: Annotated[float, Field(gt=0)] = 0.1
    steps: Annotated[int, Field(ge=1)] = 10
    temperature: Annotated[float, Field(gt=0)] = 10.0
    _coefficients: dict[int, dict[int, float]] = field(default_factory=dict, init=False, repr=False)

    def aggregate(self, stack: ReportStack) -> Teacher:
        votes = stack.votes.double()
        soft = (stack.logits.double() / self.temperature).softmax(dim=-1).clamp_min(FLOOR)
        coefficients = self._recall(stack.clients)
        for _ in range(self.steps):
            slope = fit_slope(coefficients, soft, votes) + 2.0 * self.rho * (coefficients - 1.0 / len(votes))
            coefficients = project_on_simplex(coefficients - self.step * slope)
        self._keep(stack.clients, coefficients)
        personal = mixtures(coefficients, stack.probabilities.double(), votes)
        common = Teacher.from_probabilities(
            personal.mean(dim=0).float(), client_weight=coefficients.mean(dim=0).float()
        )
        return replace(common, client_log_probabilities=personal.float().clamp_min(1e-38).log().log_softmax(dim=-1))

    def state_dict(self) -> dict[str, Any]:
        return {"coefficients": {client: dict(row) for client, row in self._coefficients.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._coefficients = {client: dict(row) for client, row in state["coefficients"].items()}

    def _recall(self, clients: tuple[int, ...]) -> Float[Tensor, "clients clients"]:
        """This round's coefficients: those kept, 1/K for pairs that are new, every row scaled to sum to one."""
        known = [
            [self._coefficients.get(client, {}).get(other, 1.0 / len(clients)) for other in clients]
            for client in clients
        ]
        rows = torch.tensor(known, dtype=torch.float64)
        total = rows.sum(dim=1, keepdim=True)
        return torch.where(total > 0, rows / total.clamp_min(FLOOR), 1.0 / len(clients))

    def _keep(self, clients: tuple[int, ...], coefficients: Float[Tensor, "clients clients"]) -> None:
        for client, row in zip(clients, coefficients.tolist(), strict=True):
            self._coefficients.setdefault(client, {}).update(zip(clients, row, strict=True))


def mixtures(
    coefficients: Float[Tensor, "clients clients"],
    probabilities: Float[Tensor, "clients samples classes"],
    votes: Float[Tensor, "clients samples"],
) -> Float[Tensor, "clients samples classes"]:
    """t_k per sample, over the clients that vote there; their plain mean where they all have the coefficient 0."""
    weight = coefficients.unsqueeze(-1) * votes
    weight = weight.where(weight.sum(dim=1, keepdim=True) > 0, votes)
    return torch.einsum("kls,lsc->ksc", weight / weight.sum(dim=1, keepdim=True), probabilities)


def fit_slope(
    coefficients: Float[Tensor, "clients clients"],
    probabilities: Float[Tensor, "clients samples classes"],
    votes: Float[Tensor, "clients samples"],
) -> Float[Tensor, "clients clients"]:
    """∂/∂c_kl of the mean of KL(t_k ‖ p_k) over the samples on which k votes.

    On a sample it is Σ_c ln(t_k(c)/p_k(c))·(p_l(c) − t_k(c)) / s where l votes, else 0; s = Σ_j c_kj over the voters,
    at least 1/K, so that a sample on which only distant clients vote does not decide alone.
    """
    targets = mixtures(coefficients, probabilities, votes)
    ratio = targets.clamp_min(FLOOR).log() - probabilities.log()
    share = (coefficients @ votes).clamp_min(1.0 / len(votes))
    toward = torch.einsum("ksc,lsc->kls", ratio, probabilities) - (ratio * targets).sum(dim=-1).unsqueeze(1)
    slope = toward * votes * (votes / share).unsqueeze(1)
    return slope.sum(dim=-1) / votes.sum(dim=-1, keepdim=True).clamp_min(1.0)


def project_on_simplex(rows: Float[Tensor, "clients clients"]) -> Float[Tensor, "clients clients"]:
    """The nearest points of the simplex, row by row (Duchi et al. 2008, Fig. 1)."""
    ordered = rows.sort(dim=1, descending=True).values
    excess = (ordered.cumsum(dim=1) - 1.0) / torch.arange(1, rows.shape[1] + 1, dtype=rows.dtype)
    last = (ordered > excess).sum(dim=1, keepdim=True) - 1
    return (rows - excess.gather(1, last)).clamp_min(0.0)
