"""A multilayer perceptron on the flattened sample."""

import math
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from fedkd.models import Architecture, Widths


@dataclass(frozen=True)
class Mlp(Architecture):
    """Fully connected layers with ReLU; the default is the 2NN of McMahan et al. 2017 (arXiv:1602.05629).

    ``hidden`` are the widths of the hidden layers; none gives logistic regression.
    """

    takes = "numbers"
    draws_itself = False
    hidden: Widths = (200, 200)

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        widths = (math.prod(shape), *self.hidden)
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(widths[-1], classes))
