"""Predictions of a model on samples."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fedkd.core.compute import laid_out_for, to_device
from fedkd.core.samples import Inputs

BATCH = 512
CPU_BATCH = 128
"""Small enough for the activations of common models to stay in the cache, which nearly halves the time of a resnet8."""


@torch.no_grad()
def predict(model: nn.Module, inputs: Inputs) -> Float[Tensor, "samples classes"]:
    """Logits in evaluation mode, on the CPU, batch by batch; the model's mode is put back afterwards."""
    device = next(model.parameters(), torch.empty(0)).device
    training = model.training
    model.eval()
    try:
        logits = [
            model(laid_out_for(model, to_device(batch, device))).float()
            for batch in inputs.split(CPU_BATCH if device.type == "cpu" else BATCH)
        ]
    finally:
        model.train(training)
    # Once, because the CPU waits for it.
    return torch.cat(logits).cpu()


def accuracy(model: nn.Module, inputs: Inputs, labels: Int[Tensor, " samples"]) -> float:
    """The share of samples, in [0, 1], whose top class is the label."""
    return hit_rate(predict(model, inputs), labels)


def hit_rate(scores: Float[Tensor, "samples classes"], labels: Int[Tensor, " samples"]) -> float:
    """The share of rows, in [0, 1], whose largest score is at the label; NaN without rows."""
    if labels.numel() == 0:
        return float("nan")
    return int((scores.argmax(dim=-1) == labels).sum()) / labels.numel()
