"""Means of something over the samples of each label."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fedkd.core.array_specs import ArraySpec
from fedkd.core.messages import LOGIT_BOUND, MEANS, SIZES, Arrays


def label_means(values: Float[Tensor, "samples dims"], labels: Int[Tensor, " samples"], classes: int) -> Arrays:
    """Mean values ``[classes, dims]`` (0 for a class without samples) and sample counts ``[classes]``, to be sent."""
    sizes = torch.bincount(labels, minlength=classes)
    sums = torch.zeros(classes, values.shape[1], dtype=torch.float64).index_add_(0, labels, values.double())
    means = (sums / sizes.clamp_min(1).unsqueeze(1)).float()
    return {MEANS: means.numpy(), SIZES: sizes.numpy().astype(np.int32)}


def label_mean_specs(classes: int, width: int, examples: int) -> dict[str, ArraySpec]:
    """What ``label_means`` gives for ``examples`` samples with ``width`` values each."""
    return {
        MEANS: ArraySpec("float32", (classes, width), -LOGIT_BOUND, LOGIT_BOUND),
        SIZES: ArraySpec("int32", (classes,), 0, examples, total=examples),
    }


def others_means(
    received: Arrays, own: Arrays | None
) -> tuple[Float[Tensor, "classes dims"], Float[Tensor, " classes"]]:
    """The received means without the client's own last share in them, and 1 where somebody else had samples, else 0."""
    sizes = torch.from_numpy(received[SIZES].astype(np.float64))
    sums = torch.from_numpy(received[MEANS].astype(np.float64)) * sizes.unsqueeze(1)
    if own is not None:
        mine = torch.from_numpy(own[SIZES].astype(np.float64))
        sums, sizes = sums - torch.from_numpy(own[MEANS].astype(np.float64)) * mine.unsqueeze(1), sizes - mine
    return (sums / sizes.clamp_min(1).unsqueeze(1)).float(), (sizes > 0).float()
