"""A client that stopped keeping up."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from fedkd import ClientBehaviour, ClientContext, ClientRule, Upload

OLD_MODEL, OLD_ARRAY = "stale/model/", "stale/array/"
"""Where the old model and what else it sent are among what the client remembers."""


@dataclass(frozen=True)
class Stale(ClientBehaviour):
    """Honest up to round ``since``; from then on it answers with the model it had at that time, f_since(x).

    A straggler, or a device nobody looks after. Where the client misses round ``since`` it stops at the next one it
    takes part in. Whatever else its rule sends stays as old as the model.
    """

    since: Annotated[int, Field(ge=1)] = 1

    remembers: ClassVar[bool] = True

    def respond(self, context: ClientContext, rule: ClientRule) -> Upload:
        state = {
            name.removeprefix(OLD_MODEL): kept for name, kept in context.memory.items() if name.startswith(OLD_MODEL)
        }
        if not state:
            return self._honest(context, rule)
        model = context.experiment.initial_model(context.experiment.architecture_of(context.client))
        model.load_state_dict(state)
        arrays = {
            name.removeprefix(OLD_ARRAY): kept.numpy()
            for name, kept in context.memory.items()
            if name.startswith(OLD_ARRAY)
        }
        return Upload(logits=context.answer(model) if rule.sends == "logits" else None, arrays=arrays, model=model)

    def _honest(self, context: ClientContext, rule: ClientRule) -> Upload:
        upload = rule.respond(context)
        if context.round < self.since:
            return upload
        if upload.model is None:
            raise ValueError("behaviour stale needs a rule that keeps a model; the clients' rule has none")
        context.memory |= {
            OLD_MODEL + name: kept.detach().cpu().clone() for name, kept in upload.model.state_dict().items()
        }
        context.memory |= {OLD_ARRAY + name: torch.from_numpy(array.copy()) for name, array in upload.arrays.items()}
        return upload
