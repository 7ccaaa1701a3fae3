"""A surrogate of a client's model, from its predictions on the public set."""

from collections.abc import Mapping
from dataclasses import dataclass

from fedkd.audit.attack import Disclosure, InferenceAttack


@dataclass(frozen=True)
class ModelExtraction(InferenceAttack):
    """Distils a surrogate from the predictions on the public set; compares it with the client's model on unseen inputs.

    ``agreement`` is the share of inputs with the same top class (Jagielski et al. 2020, arXiv 1909.01838, calls it
    fidelity); ``most_frequent`` the same for a surrogate that always predicts the model's most frequent class.
    """

    def measure(self, disclosures: list[Disclosure]) -> Mapping[str, float]:
        same, trivial = 0.0, 0.0
        for each in disclosures:
            truth, guess = each.original.argmax(dim=-1), each.copy.argmax(dim=-1)
            same += float((truth == guess).double().mean())
            trivial += float((truth == truth.mode().values).double().mean())
        return {"agreement": same / len(disclosures), "most_frequent": trivial / len(disclosures)}
