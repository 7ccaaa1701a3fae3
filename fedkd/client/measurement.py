"""What a simulated client measures for the simulator's user, beside its release and without a part in it."""

from dataclasses import replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from fedkd.client.behaviour import ClientBehaviour
from fedkd.client.context import ClientContext
from fedkd.client.release import privatised
from fedkd.client.rule import ClientRule, Upload
from fedkd.core.messages import FEATURE_VALUES, Job, Measurement
from fedkd.core.returned import returned
from fedkd.models import accuracy, hit_rate, predict


def measure(
    context: ClientContext, upload: Upload, rule: ClientRule, behaviour: ClientBehaviour, job: Job
) -> Measurement | None:
    """How well the client does after a round in which it released ``upload``; None unless the job asks.

    Nothing of it leaves the simulator.
    """
    if not job.measure:
        return None
    data, own, model = context.experiment.resident, context.experiment.data.clients[context.client], upload.model
    found = Measurement()
    if model is not None and own.validation.numel() > 0:
        held_out = own.validation
        found = replace(found, validation_accuracy=accuracy(model, data.inputs[held_out], data.labels[held_out]))
    if not job.probe:
        return found
    inputs, answered = data.test_inputs[:], None
    if model is not None:
        answered = model, predict(model, inputs)
        found = replace(found, test_accuracy=hit_rate(answered[1], data.test_labels))
    again = answer_again(context, upload, rule, behaviour, inputs, answered)
    if again.logits is not None:
        mask = None if again.mask is None else again.mask.numpy()
        found = replace(found, test_logits=again.logits.numpy(), test_mask=mask)
    return replace(found, test_features=again.arrays.get(FEATURE_VALUES))


def answer_again(
    context: ClientContext,
    upload: Upload,
    rule: ClientRule,
    behaviour: ClientBehaviour,
    inputs: Shaped[Tensor, "samples ..."],
    answered: tuple[nn.Module, Float[Tensor, "samples classes"]] | None = None,
) -> Upload:
    """What the client would have answered to other queries in a round in which it released ``upload``.

    As it behaves, after its mechanism, whose noise is drawn anew. ``answered`` is a model
    whose logits on them are known already, with these.
    """
    # The consensus is about public samples, which these are not.
    other = replace(context, queries=inputs, answered=answered, memory=dict(context.memory), consensus=None)
    again = behaviour.respond(other, _Again(rule, upload))
    if again.logits is None:
        return again
    generator, mechanism = other.noise("privacy mechanism on test images"), context.experiment.mechanism
    # As many at a time as were asked about: the noise of some mechanisms grows with the number of answers.
    parts = again.logits.split(max(len(context.queries), 1))
    return replace(again, logits=torch.cat([privatised(mechanism, part, generator) for part in parts]))


class _Again(ClientRule):
    """A rule whose work is done, asked again; behaviours depart from it as they did from the rule."""

    def __init__(self, rule: ClientRule, upload: Upload) -> None:
        self._rule, self._upload = rule, upload
        self.sends = rule.sends  # type: ignore[misc]

    def respond(self, context: ClientContext) -> Upload:
        return returned(self._rule.respond_again(context, self._upload), Upload, self._rule, "respond_again")
