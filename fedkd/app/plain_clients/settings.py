"""What ``LogitDistillation`` is told, checked all at once, as an experiment of which the server knows its own part."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args

import numpy as np
import torch
from flwr.app import MetricRecord, RecordDict
from torch import Tensor, nn

from fedkd.app.loss_checks import choice_faults
from fedkd.app.plain_clients.protocol import NDArray, as_samples
from fedkd.config.load import load_config
from fedkd.config.rounding import held_out_count
from fedkd.config.schema import ExperimentConfig
from fedkd.core.errors import ConfigError, PluginError
from fedkd.core.faults import described
from fedkd.core.messages import UNKNOWN_LABEL
from fedkd.core.samples import SampleSpec
from fedkd.core.wording import nearest, shown
from fedkd.data import ExperimentData, public_set
from fedkd.experiment import Experiment
from fedkd.models import predict, try_model
from fedkd.privacy.private import Private
from fedkd.server.setup import new_distiller, new_strategy

Broadcast = Literal["student", "consensus", "nothing"]

_NAMES = {
    "data.public.round_size": "round_size",
    "data.public.validation": "validation",
    "data.public.labelled": "labels",
    "data.public.size": "public",
}
"""What the keys of a configuration are called here."""


class FlowerOptions(TypedDict, total=False):
    """What Flower's ``FedAvg`` makes of these holds here too; ``fraction_evaluate`` is 0 unless it is named."""

    fraction_train: float
    fraction_evaluate: float
    min_train_nodes: int
    min_evaluate_nodes: int
    min_available_nodes: int
    weighted_by_key: str
    arrayrecord_key: str
    configrecord_key: str
    evaluate_metrics_aggr_fn: Callable[[list[RecordDict], str], MetricRecord]


class Options(FlowerOptions, total=False):
    """What else ``LogitDistillation`` takes by name.

    ``round_size``: public samples drawn per round beside the labelled ones (None: all). ``validation``: the share of
    the labelled samples kept to validate on, 0.2 unless it is named. ``seed`` of all draws, 0. ``min_reports``: valid
    replies that a round needs, 1; fewer end the run. ``ship_public``: whether nodes are sent the public samples, True.
    """

    round_size: int | None
    validation: float
    seed: int
    min_reports: int
    ship_public: bool


@dataclass(frozen=True)
class Settings:
    """An experiment whose data are the public set alone, and what it takes besides; ``flower`` is for ``FedAvg``."""

    experiment: Experiment
    student: nn.Module
    broadcast: Broadcast
    min_reports: int
    ship_public: bool
    flower: dict[str, Any]


def settle(
    strategy: object,
    student: object,
    public: object,
    labels: object,
    distillation: object,
    broadcast: object,
    options: Mapping[str, Any],
) -> Settings:
    """Check everything; raises ``ConfigError`` with all that is wrong."""
    problems = [*_option_faults(options), *_broadcast_faults(broadcast)]
    samples = as_samples(public.detach().cpu() if isinstance(public, Tensor) else public)
    problems += (faults := list(_sample_faults(samples)))
    classes = 0
    if not faults:
        classes, more = _classes(student, samples)
        problems += more
    truth, more = _truth(labels, len(samples) if samples.ndim else 0, classes)
    problems += more
    config: ExperimentConfig | None = None
    try:
        config = load_config(_content(strategy, distillation, options, truth))
    except ConfigError as error:
        problems += error.problems
    if config is not None and not problems:
        experiment = Experiment(config, given=_data(config, torch.from_numpy(samples.copy()), truth, classes))
        problems += _composition_faults(experiment, student)
    if problems or config is None:
        raise ConfigError([_in_our_words(problem) for problem in problems])
    assert isinstance(student, nn.Module)
    return Settings(
        experiment,
        student,
        broadcast,  # type: ignore[arg-type]
        options.get("min_reports", 1),
        options.get("ship_public", True),
        {"fraction_evaluate": 0.0} | {name: options[name] for name in FlowerOptions.__annotations__ if name in options},
    )


def _option_faults(options: Mapping[str, Any]) -> Iterator[str]:
    known = [*Options.__annotations__, "strategy", "student", "public", "labels", "distillation", "broadcast", "out"]
    for name in options:
        if name not in Options.__annotations__:
            close = nearest(name, known)
            hint = f"did you mean {close!r}?" if close else f"it takes {', '.join(known)}"
            yield f"{name}: LogitDistillation takes no such argument; {hint}"
    least = options.get("min_reports", 1)
    if type(least) is not int or least < 1:
        yield f"min_reports: must be a whole number from 1, got {shown(least)}; 1 goes on with any valid reply"
    if type(ship := options.get("ship_public", True)) is not bool:
        yield f"ship_public: must be True or False, got {shown(ship)}; True sends nodes the public samples"


def _broadcast_faults(broadcast: object) -> Iterator[str]:
    choices = get_args(Broadcast)
    if broadcast not in choices:
        close = nearest(str(broadcast), choices)
        hint = f"did you mean {close!r}?" if close else "name one of these"
        yield f"broadcast: must be {', '.join(choices[:-1])} or {choices[-1]}, got {shown(broadcast)}; {hint}"


def _sample_faults(samples: NDArray) -> Iterator[str]:
    if samples.dtype.kind not in "fi":
        yield f"public: must be an array of numbers, got {samples.dtype}; give NumPy's or torch's, such as float32"
    elif samples.ndim < 2 or 0 in samples.shape:
        yield f"public: must be samples [samples, ...], none of them empty, got shape {samples.shape}; stack them so"
    elif not np.isfinite(samples).all():
        yield "public: must be finite, got NaN or infinity; remove these samples"


def _classes(student: object, samples: NDArray) -> tuple[int, list[str]]:
    """How many classes the student tells apart, and what is wrong with it."""
    if not isinstance(student, nn.Module):
        return 0, [f"student: must be a torch.nn.Module, got {type(student).__name__}; give the server's model"]
    if not any(parameter.requires_grad for parameter in student.parameters()):
        return 0, [f"student: {type(student).__name__} has no parameters to train; give a model that has"]
    try:
        found: object = predict(student, torch.from_numpy(samples[:2].copy()))
    except Exception as error:  # a model of the user's own raises what it likes
        fault = f"cannot take public samples of shape {samples.shape[1:]} ({described(error)})"
        return 0, [f"student: {fault}; make them fit"]
    if not isinstance(found, Tensor) or found.ndim != 2 or found.shape[1] < 2:
        shape = tuple(getattr(found, "shape", ()))
        return 0, [f"student: must give logits [samples, classes] of two classes at least, got {shape}; mend its end"]
    vocabulary = int(samples.max()) + 1 if samples.dtype.kind == "i" else None
    try:
        try_model(student, type(student).__name__, SampleSpec(samples.shape[1:], vocabulary), found.shape[1])
    except PluginError as error:
        return found.shape[1], [f"student: {error}"]
    return found.shape[1], []


def _truth(labels: object, count: int, classes: int) -> tuple[Tensor, list[str]]:
    """The label of every public sample, −1 where it is unknown, and what is wrong with what was given."""
    truth = torch.full((count,), UNKNOWN_LABEL)
    if labels is None:
        return truth, []
    found = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels)
    if found.size == 0:
        return truth, []
    if found.ndim != 1 or found.dtype.kind not in "iu":
        return truth, [
            f"labels: must be whole numbers [samples], got {found.dtype} of shape {found.shape}; give the positions of "
            "the classes, and −1 where the class is unknown"
        ]
    if len(found) > count > 0:
        return truth, [f"labels: must be no more than the {count} public samples, got {len(found)}; leave the rest out"]
    if classes and (found.min() < UNKNOWN_LABEL or found.max() >= classes):
        return truth, [
            f"labels: must lie from −1 to {classes - 1}, for the student gives {classes} classes, got values from "
            f"{found.min()} to {found.max()}; number the classes from 0, −1 stands for unknown"
        ]
    truth[: len(found)] = torch.from_numpy(found.astype(np.int64)[:count])
    return truth, []


def _content(strategy: object, distillation: object, options: Mapping[str, Any], truth: Tensor) -> dict[str, Any]:
    """The configuration that says the same."""
    public = {name: options[name] for name in ("round_size", "validation") if name in options}
    return {
        "seed": options.get("seed", 0),
        "data": {
            "public": {"size": len(truth), "labelled": int((truth != UNKNOWN_LABEL).sum())} | public,
        },
        "strategy": strategy,
        "distillation": {} if distillation is None else distillation,
    }


def _data(config: ExperimentConfig, samples: Tensor, truth: Tensor, classes: int) -> ExperimentData:
    nothing, unlabelled = samples[:0], truth[:0]
    return ExperimentData(
        spec=SampleSpec(tuple(samples.shape[1:])),
        class_names=tuple(map(str, range(classes))),
        inputs=nothing,
        labels=unlabelled,
        clients=(),
        public=public_set(samples, truth, truth != UNKNOWN_LABEL, held_out_count(config.data.public)),
        test_inputs=nothing,
        test_labels=unlabelled,
    )


def _composition_faults(experiment: Experiment, student: object) -> Sequence[str]:
    config, strategy = experiment.config, new_strategy(experiment)
    name, found = config.strategy.name, list(choice_faults(experiment))
    if isinstance(strategy, Private):
        found.append(
            f"strategy: {name} proves a privacy for which clients are sampled and charged as fedkd run does it, and "
            "Flower does not; choose another one, or run the experiment with fedkd run"
        )
    if strategy.needs_labels and not bool((experiment.data.public.labels != UNKNOWN_LABEL).any()):
        found.append(f"strategy: {name} is fitted on labelled public samples, and there are none; give labels")
    assert isinstance(student, nn.Module)
    try:
        new_distiller(experiment, student)
    except ValueError as error:
        found.append(f"distillation: {error}")
    return found


def _in_our_words(problem: str) -> str:
    for key, name in _NAMES.items():
        problem = problem.replace(key, name)
    return problem
