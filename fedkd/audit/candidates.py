"""Who may have been a member: records of a client, and as many of the same classes that nobody trained on."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from fedkd.core.errors import ConfigError
from fedkd.core.seeding import torch_generator
from fedkd.experiment import Experiment


@dataclass(frozen=True)
class CandidatePool:
    """The candidates of one attacked client, in random order.

    For each class as many ``members``, from the client's training samples, as others, which no client trained on, so
    that a class tells nothing about membership. ``known`` are the positions, in ``ExperimentData.inputs``, of the
    client's other training samples: the attacker knows them, and every shadow trains on them.
    """

    client: int
    inputs: Shaped[Tensor, "candidates ..."]
    labels: Int[Tensor, " candidates"]
    members: Bool[Tensor, " candidates"]
    known: Int[Tensor, " known"]

    def included(self, shadow: int, seed: int) -> Bool[Tensor, " candidates"]:
        """The candidates in a shadow's training data: of every class a random half, as many as in the client's own.

        Shadows 2k and 2k + 1 have complementary halves, so that every candidate is in exactly half of the shadows.
        """
        generator = torch_generator(seed, client=self.client, purpose=f"audit: halves of shadow pair {shadow // 2}")
        chosen = torch.zeros(self.labels.numel(), dtype=torch.bool)
        for label in self.labels.unique().tolist():
            positions = (self.labels == label).nonzero().flatten()
            order = torch.randperm(positions.numel(), generator=generator)
            chosen[positions[order[: positions.numel() // 2]]] = True
        return chosen if shadow % 2 == 0 else ~chosen

    def first(self, most: int) -> Int[Tensor, " chosen"]:
        """The positions of the first candidates, at most so many, with as many members as others of every class."""
        pairs = [
            torch.stack([(of_class & kind).nonzero().flatten() for kind in (self.members, ~self.members)], dim=1)
            for of_class in (self.labels == label for label in self.labels.unique().tolist())
        ]
        paired = torch.cat(pairs)
        return paired[paired[:, 0].argsort()[: most // 2]].flatten().sort().values


class HoldOut:
    """Samples of the private ones' distribution that no client trains on, handed out once each, class by class."""

    def __init__(self, inputs: Shaped[Tensor, "samples ..."], labels: Int[Tensor, " samples"]) -> None:
        self._inputs = inputs
        self._left = {label: (labels == label).nonzero().flatten() for label in labels.unique().tolist()}

    def take(self, label: int, count: int) -> Shaped[Tensor, "taken ..."]:
        """Up to ``count`` inputs of a class."""
        positions = self._left.get(label, torch.zeros(0, dtype=torch.long))
        self._left[label] = positions[count:]
        return self._inputs[positions[:count]]


def draw_pool(experiment: Experiment, client: int, spare: HoldOut, *, most: int) -> CandidatePool:
    """The client's pool with at most ``most`` candidates.

    Others than members are the client's own validation samples first, then ``spare`` ones. Raises ``ConfigError`` where
    there are none of any class that the client has.
    """
    data = experiment.data
    own, held_out = data.clients[client].train, data.clients[client].validation
    generator = torch_generator(experiment.config.seed, client=client, purpose="audit: candidates")
    mixed = own[torch.randperm(own.numel(), generator=generator)][: most // 2]
    members, others, labels = [], [], []
    for label in data.labels[mixed].unique().tolist():
        inside = mixed[data.labels[mixed] == label]
        outside = data.inputs[held_out[data.labels[held_out] == label]][: inside.numel()]
        outside = torch.cat([outside, spare.take(label, inside.numel() - len(outside))])
        members.append(inside[: len(outside)])
        others.append(outside)
        labels.append(torch.full((len(outside),), label))
    chosen, count = torch.cat(members), sum(map(len, others))
    if count == 0:
        raise ConfigError(
            [
                f"data.private_size: leaves no samples that client {client} could have trained on and did not, got "
                f"{experiment.config.data.private_size}; lower it, or raise data.client_validation, and run again"
            ]
        )
    order = torch.randperm(2 * count, generator=generator)
    return CandidatePool(
        client=client,
        inputs=torch.cat([data.inputs[chosen], *others])[order],
        labels=torch.cat([*labels, *labels])[order],
        members=(torch.arange(2 * count) < count)[order],
        known=own[~torch.isin(own, chosen)],
    )
