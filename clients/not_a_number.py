"""A client whose numbers are broken."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from fedkd import ClientBehaviour, ClientContext, ClientRule, Upload


@dataclass(frozen=True)
class NotANumber(ClientBehaviour):
    """Sends NaN in place of every logit and of every real number else, as after a training run that diverged."""

    def respond(self, context: ClientContext, rule: ClientRule) -> Upload:
        upload = rule.respond(context)
        arrays = {
            name: np.full_like(array, np.nan) if np.issubdtype(array.dtype, np.floating) else array
            for name, array in upload.arrays.items()
        }
        logits = None if upload.logits is None else torch.full_like(upload.logits, torch.nan)
        return replace(upload, logits=logits, arrays=arrays)
