"""Whether what an experiment does with samples suits them: only images can be mirrored, only numbers measured.

And what is said of private samples that are at home.
"""

from collections.abc import Iterator

from fedkd.client.setup import client_rule, declared
from fedkd.core.messages import LABEL_COUNTS
from fedkd.experiment import Experiment
from fedkd.privacy.private import EXAMPLES


def sample_faults(experiment: Experiment) -> Iterator[str]:
    """What is asked of samples of another kind, or of more samples than a client may have, one message each."""
    config, sample = experiment.config, experiment.data.spec
    most = max((client.train.numel() for client in experiment.data.clients), default=0)
    if (declared_most := config.clients.max_examples) is not None and most > declared_most:
        yield (
            f"clients.max_examples: must not be below the {most} private training samples that a client is dealt, got "
            f"{declared_most}; raise it, or set it to null"
        )
    if not sample.is_image:
        what = f"and {config.data.dataset.name} has samples of {sample}"
        if config.distillation.augment:
            yield (
                f"distillation.augment: changes images [channels, height, width], {what}, got "
                f"{list(config.distillation.augment)}; set distillation.augment=[]"
            )
        if config.privacy.audit.views > 1:
            yield (
                f"privacy.audit.views: views are mirrored and shifted images, {what}, got "
                f"{config.privacy.audit.views}; set privacy.audit.views=1"
            )
    if sample.vocabulary is not None and client_rule(experiment).measures_distances:
        yield (
            f"clients.rule: {config.clients.rule.name} measures distances between samples, and "
            f"{config.data.dataset.name} has {sample}; choose another rule"
        )


def home_lines(experiment: Experiment) -> Iterator[str]:
    """What nodes with private data of their own tell of these, for the user to read before a run starts."""
    config = experiment.config
    if not config.data.at_home:
        return
    told, sender = declared(experiment), config.clients.rule.name
    words = {EXAMPLES: "how many", LABEL_COUNTS: "how many of each class"}
    named = " and ".join(words[name] for name in words if name in told)
    said = f"each node says {named} it has, which the algorithm needs" if named else "no node says how many it has"
    yield (
        f"private samples: at home, at most {config.clients.max_examples} of a client; {said}; what else leaves a node "
        f"is what clients.rule={sender} sends, after privacy.mechanism={config.privacy.mechanism.name}"
    )
