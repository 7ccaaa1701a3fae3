"""What whoever uses an exported student has to know of it."""

from typing import Any

from torch import nn

from fedkd import __version__
from fedkd.core.messages import parameter_digest
from fedkd.data import pixel_scaling
from fedkd.experiment import Experiment

FACTS = "fedkd"
"""The name under which every format holds them, as JSON."""
INPUT, OUTPUT = "samples", "logits"


def facts_of(experiment: Experiment, student: nn.Module) -> dict[str, Any]:
    """Model, classes, what a sample is and how it is made, as JSON holds them.

    Where samples are pixels from 0 to 255, and ``scale`` and ``offset`` are there, the network takes
    pixel · scale + offset, by channel.
    """
    config, data = experiment.config, experiment.data
    facts: dict[str, Any] = {
        "fedkd": __version__,
        "model": {"name": config.student.model.name, **config.student.model.options},
        "student_sha256": parameter_digest(student.state_dict()),
        "dataset": config.data.dataset.name,
        "classes": list(data.class_names),
        "sample": {
            "shape": list(data.shape),
            "type": "float32" if data.spec.vocabulary is None else "int64",
            "vocabulary": data.spec.vocabulary,
        },
        "transform": {"name": config.data.transform.name, **config.data.transform.options},
        "input": INPUT,
        "output": OUTPUT,
    }
    if data.spec.is_image and (found := pixel_scaling(config)) is not None:
        facts["pixels"] = {"scale": found[0].tolist(), "offset": found[1].tolist()}
    return facts
