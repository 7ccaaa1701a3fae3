"""What a model sees before it decides."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from fedkd.core.compute import laid_out_for, to_device
from fedkd.core.errors import PluginError


def embed(
    model: nn.Module, inputs: Shaped[Tensor, "batch ..."]
) -> tuple[Float[Tensor, "batch features"], Float[Tensor, "batch classes"]]:
    """The input of the model's last linear layer, its embedding of the inputs, and the logits; both differentiable.

    Raises ``PluginError`` for a model without a linear layer, or one that does not use it once a pass.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise PluginError("the model has no linear layer, whose input would be the embedding; choose another model")
    seen: list[Tensor] = []
    handle = layers[-1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        logits: Tensor = model(inputs)
    finally:
        handle.remove()
    if len(seen) != 1:
        raise PluginError(f"the model's last linear layer must be used once a pass, was used {len(seen)} times")
    return seen[0].flatten(start_dim=1), logits


@torch.no_grad()
def embeddings(
    model: nn.Module, inputs: Shaped[Tensor, "samples ..."], *, batch: int = 512
) -> tuple[Float[Tensor, "samples features"], Float[Tensor, "samples classes"]]:
    """Embedding and logits in evaluation mode, on the CPU, batch by batch; the model's mode is put back afterwards."""
    device, training = next(model.parameters()).device, model.training
    model.eval()
    try:
        parts = [embed(model, laid_out_for(model, to_device(part, device))) for part in inputs.split(batch)]
    finally:
        model.train(training)
    return torch.cat([part.float() for part, _ in parts]).cpu(), torch.cat([part.float() for _, part in parts]).cpu()
