"""Whether what an experiment does with samples suits their kind: only images can be mirrored, only numbers measured."""

from collections.abc import Iterator

from fedkd.client.setup import client_rule
from fedkd.experiment import Experiment


def sample_faults(experiment: Experiment) -> Iterator[str]:
    """What is asked of samples of another kind, one message each."""
    config, sample = experiment.config, experiment.data.spec
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
