"""Whether the student knows what it does not know."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Float, Shaped
from pydantic import Field
from torch import Tensor

from fedkd.analysis.analyses._uncertainty_figure import Pictured, draw
from fedkd.analysis.analysis import Analysis, Finding, NotKnown
from fedkd.analysis.answers import answers, called, key, rounded
from fedkd.analysis.blends import WEIGHTS, Blends, blend
from fedkd.analysis.correlation import correlation, partial, rank_correlation
from fedkd.analysis.strangers import Strangers, strangers_of
from fedkd.analysis.subject import Samples, Subject
from fedkd.analysis.uncertainty import Split, detection, entropy, split
from fedkd.core import plugins

Figures = dict[str, Any]
Entropies = Mapping[str, Float[Tensor, " samples"]]


@dataclass(frozen=True)
class Uncertainty(Analysis):
    """The ensemble's entropy in two parts and who inherits which, detection of strange samples, blends of two classes.

    At most ``samples`` test samples are asked about, and ``blends`` made of them. Strange samples are those of the data
    set ``other``; where that is null, the digits for other 8-bit images, else shuffled test samples.
    """

    other: str | None = None
    samples: Annotated[int, Field(ge=2)] = 1000
    blends: Annotated[int, Field(ge=1)] = 900

    def __post_init__(self) -> None:
        problems = [] if self.other is None else plugins.check(plugins.DATASET, self.other, {})
        if problems:
            raise ValueError(f"other: {problems[0].removeprefix('name: ')}")

    def measure(self, subject: Subject) -> Finding:
        draws = subject.generator("uncertainty")
        test = subject.test.some(self.samples, draws)
        asked = answers(subject, test.inputs)
        entropies = {name: entropy(said) for name, said in asked.of.items()}
        parts, unsplit = _split(subject, test.inputs)
        inherited = {} if parts is None else {name: _inherited(each, parts) for name, each in entropies.items()}
        strange = strangers_of(subject, test.inputs, self.other, self.samples, draws)
        found = _detected(subject, strange, entropies, parts)
        blends, unblended = _blends(test, self.blends, draws)
        shares = {} if blends is None else _shares(subject, blends)
        blended = None if blends is None else _blended(blends, shares)
        figures: Figures = {
            "samples": len(test.labels),
            "entropy": {key(name): float(each.mean()) for name, each in entropies.items()},
            "split": None if parts is None else {name: float(each.mean()) for name, each in vars(parts).items()},
            "inherited": {key(name): each for name, each in inherited.items()},
            "strange_samples": strange.name,
            "auroc": found,
            "blends": blended,
        }
        sentences = (
            *unsplit,
            *([] if parts is None else _of_split(figures, subject)),
            *_of_detection(found, strange),
            *unblended,
            *([] if blended is None else _of_blends(blended)),
            *asked.missing,
        )
        pictured = Pictured(entropies, parts, found, strange.name, blends, shares)
        return Finding(figures, sentences, lambda: draw(pictured), _CAPTION)


_CAPTION = (
    "Left: the student's entropy on each test sample beside the two parts of the ensemble's; it has inherited a part "
    "that it rises with. Middle: how well a score tells strange samples from test samples; the dashed line is "
    "guessing. Right: the share that a model gives to the first class of a blend, on average, by its true share; the "
    "dashed line is exact."
)


def _split(subject: Subject, inputs: Shaped[Tensor, "samples ..."]) -> tuple[Split | None, tuple[str, ...]]:
    """The parts of the clients' entropy, or a sentence that says why there are none."""
    try:
        said = subject.client_answers(inputs)
    except NotKnown as reason:
        return None, (f"The ensemble's entropy is not split: {reason}.",)
    if len(said) < 2:
        return None, ("The ensemble's entropy is not split: one client alone answers, and none disagrees with it.",)
    return split(said.double().log_softmax(dim=-1)), ()


def _inherited(own: Float[Tensor, " samples"], parts: Split) -> Figures:
    """Rank correlations of a model's entropy with the parts, by themselves and with the other part held fixed."""
    aleatoric, epistemic = (rank_correlation(own, part) for part in (parts.aleatoric, parts.epistemic))
    between = rank_correlation(parts.aleatoric, parts.epistemic)
    return {
        "aleatoric": aleatoric,
        "epistemic": epistemic,
        "aleatoric_alone": partial(aleatoric, epistemic, between),
        "epistemic_alone": partial(epistemic, aleatoric, between),
    }


def _detected(subject: Subject, strange: Strangers, entropies: Entropies, parts: Split | None) -> dict[str, float]:
    """How well each score tells strange samples from usual ones, by the score's name."""
    said = answers(subject, strange.inputs).of
    found = {f"{key(name)}_entropy": detection(own, entropy(said[name])) for name, own in entropies.items()}
    others, _ = _split(subject, strange.inputs)
    if parts is not None and others is not None:
        found["aleatoric"] = detection(parts.aleatoric, others.aleatoric)
        found["epistemic"] = detection(parts.epistemic, others.epistemic)
    return found


def _blends(test: Samples, count: int, draws: torch.Generator) -> tuple[Blends | None, tuple[str, ...]]:
    if not test.inputs.is_floating_point():
        return None, ("No samples are blended: they are tokens, between which there is nothing.",)
    if (made := blend(test, count, draws)) is None:
        return None, ("No samples are blended: the test samples are all of one class.",)
    return made, ()


def _shares(subject: Subject, blends: Blends) -> Entropies:
    """What every model gives to the first class, of what it gives to the two."""
    return {name: blends.shares(said) for name, said in answers(subject, blends.inputs).of.items()}


def _blended(blends: Blends, shares: Entropies) -> Figures:
    undecided = blends.divergence(0.5 + 0 * blends.weights.double())
    return {
        "count": len(blends.weights),
        "kl": {key(name): float(blends.divergence(each).mean()) for name, each in shares.items()},
        "kl_of_even_odds": float(undecided.mean()),
        "correlation": {key(name): correlation(each, blends.weights) for name, each in shares.items()},
        "weights": list(WEIGHTS),
        "mean_share": {key(name): blends.by_weight(each) for name, each in shares.items()},
    }


def _of_split(figures: Figures, subject: Subject) -> list[str]:
    parts = figures["split"]
    noisy = subject.experiment.config.privacy.mechanism.name != "none"
    found = [
        f"The clients' ensemble is unsure by {parts['total']:.3f} nats on average: by {parts['aleatoric']:.3f} because "
        "each client is unsure itself (aleatoric, what cannot be known from the sample), and by "
        f"{parts['epistemic']:.3f} because clients disagree (epistemic, what they have not learned"
        f"{'; the noise of privacy counts as disagreement' if noisy else ''})."
    ]
    for name, each in figures["inherited"].items():
        if each["aleatoric"] is None and each["epistemic"] is None:
            found.append(f"The entropy of {called(name)} is the same on every sample, and follows neither.")
            continue
        found.append(
            f"The entropy of {called(name)}, {figures['entropy'][name]:.3f} nats, follows the aleatoric part with a "
            f"rank correlation of {rounded(each['aleatoric'])} and the epistemic part with "
            f"{rounded(each['epistemic'])}; with the other part held fixed, {rounded(each['aleatoric_alone'])} and "
            f"{rounded(each['epistemic_alone'])}."
        )
    found.append(
        "A student that inherits the first part and not the second is unsure where nobody can know, and no longer "
        "where its teachers merely disagreed."
    )
    return found


def _of_detection(found: Mapping[str, float], strange: Strangers) -> list[str]:
    names = {"aleatoric": "the aleatoric part", "epistemic": "the epistemic part"}
    scores = ", ".join(
        f"{names.get(score) or 'the entropy of ' + called(score.removesuffix('_entropy'))} {value:.2f}"
        for score, value in found.items()
    )
    return [
        f"Of a test sample and a strange one ({strange.name}, {len(strange.inputs)} of them) the strange one gets the "
        f"higher score this often (AUROC; 0.5 is guessing, below it strange samples look surer): {scores}."
    ]


def _of_blends(figures: Figures) -> list[str]:
    out = ", ".join(
        f"{called(name)} {value:.3f} (correlation {rounded(figures['correlation'][name])})"
        for name, value in figures["kl"].items()
    )
    return [
        f"On {figures['count']} blends of two test samples of different classes, in known shares, what a model says of "
        f"the two classes is this far from the shares, in nats of KL: {out}. Always saying half and half gives "
        f"{figures['kl_of_even_odds']:.3f}; what is far above that calls an ambiguous sample by one class alone."
    ]
