"""Which sample plays which role; roles never mix."""

import inspect
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from fedkd.config.constraints import broken_rules
from fedkd.config.data_schema import DataConfig
from fedkd.config.rounding import held_out_count
from fedkd.config.schema import ExperimentConfig
from fedkd.config.values import Plugin
from fedkd.core import plugins
from fedkd.core.errors import ConfigError, PluginError
from fedkd.core.messages import UNKNOWN_LABEL
from fedkd.core.seeding import torch_generator
from fedkd.data._corruption import corrupted
from fedkd.data._division import ROLES, Division, divide, shuffled
from fedkd.data._given import partition_text
from fedkd.data._preparation import Preparation, plain_encoding
from fedkd.data._public import mislabelled, public_set
from fedkd.data._types import ClientData, ExperimentData, Places, PublicSet, TaskLabels, TaskNumbers
from fedkd.data.source import DataSource, SampleSet, resolve_root
from fedkd.data.tasks import NO_TASK, numbered


def prepare(config: ExperimentConfig) -> ExperimentData:
    """Load the data and give every sample its role; the same configuration gives the same roles in every process.

    The train split is shuffled by the seed. Its first ``data.public.size`` samples are public, the next
    ``data.private_size`` private, unless a partition is given; the first ``data.public.labelled`` public ones are
    labelled, and a share ``data.public.validation`` of these, stratified by class, validates the server's work (at
    least one stays for training). The test split is the test set. Private samples that are at home are not there.

    Raises ``ConfigError`` with every size that the data do not allow, ``DataError`` when data are missing.
    """
    source, other = sources_of(config)
    problems, tasks = list(_problems(config, source, other)), None
    try:
        if config.data.tasks is not None:
            tasks = numbered(config.data.tasks, source)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)

    division = divide(config, source, _public_size(config, other))
    order, private = division.public, division.private
    prepared = Preparation(config, source, raw_public(config, source, other, order), other)
    labels = source.train_labels[private]
    return ExperimentData(
        spec=prepared.spec,
        class_names=source.class_names,
        inputs=prepared.of(source.train_inputs, private),
        labels=labels,
        clients=tuple(client_of(config, client, share) for client, share in enumerate(division.shares)),
        public=unlabelled(prepared.public)
        if other is not None
        else public_of(config, prepared.public, source.train_labels[order], len(source.class_names)),
        test_inputs=prepared.of(source.test_inputs),
        test_labels=source.test_labels,
        other_labels={
            name: TaskLabels(
                private=task.train[private],
                public=torch.full((len(prepared.public),), UNKNOWN_LABEL) if other is not None else task.train[order],
                test=task.test,
                class_names=task.class_names,
            )
            for name, task in source.other_labels.items()
        },
        heads=config.data.heads,
        places=_places(config, division, other),
        tasks=None
        if tasks is None
        else TaskNumbers(
            private=tasks.train[private],
            public=torch.full((len(prepared.public),), NO_TASK) if other is not None else tasks.train[order],
            test=tasks.test,
        ),
    )


def partition_file(data: ExperimentData) -> str | None:
    """Who has which samples, as ``data.partition.scheme=given`` reads it; None where nobody knows where they were."""
    if (places := data.places) is None:
        return None
    held = [torch.cat([client.train, client.validation]).sort().values for client in data.clients]
    whose = [places.private[each] for each in held]
    public = None if places.public is None else places.public.tolist()
    rows = [(each if places.listed else each.sort().values).tolist() for each in whose]
    return partition_text(rows, public, listed=places.listed)


def _places(config: ExperimentConfig, division: Division, other: SampleSet | None) -> Places | None:
    if config.data.at_home:
        return None
    public = division.public
    if division.listed:
        # As a file lists them, of which the seed makes this order again.
        public = torch.empty_like(public).scatter_(0, shuffled(len(public), config.seed, ROLES), public)
    return Places(division.private, public if other is None else None, division.listed)


def unused_samples(config: ExperimentConfig) -> tuple[Shaped[Tensor, "samples ..."], Int[Tensor, " samples"]]:
    """Inputs, made as all others, and labels of the train split's samples that have no role.

    They follow the private ones in the shuffled order, so that which samples are private and which are left over is a
    matter of chance alone, or of the file under a given partition; none where ``data.private_size`` is null, or the
    partition natural. Raises as ``prepare`` does.
    """
    source, other = sources_of(config)
    division = divide(config, source, _public_size(config, other))
    left = division.unused
    prepared = Preparation(config, source, raw_public(config, source, other, division.public), other)
    return prepared.of(source.train_inputs, left)[:], source.train_labels[left]


def strangers(config: ExperimentConfig, spec: Plugin, key: str) -> Shaped[Tensor, "samples ..."]:
    """The test samples of another data set, made as the task's are; ``key`` is where errors say that it is named.

    Raises ``ConfigError`` where it is the task's own or of another kind, ``PluginError`` where it does not exist, else
    as ``prepare`` does.
    """
    source, other = sources_of(config)
    if _same(source_of(spec), source_of(config.data.dataset)):
        raise ConfigError([f"{key}: must differ from data.dataset, got {spec.name!r}; name another data set"])
    strange = loaded(source_of(spec), resolve_root(config.data.root))
    if problems := list(_kinds_apart(key, spec, config.data.dataset, source, strange)):
        raise ConfigError(problems)
    division = divide(config, source, _public_size(config, other))
    prepared = Preparation(config, source, raw_public(config, source, other, division.public), other)
    made = prepared.alike(source, strange, strange.test_inputs[torch.arange(len(strange.test_labels))])
    if (known := prepared.spec.vocabulary) is not None and int(made.max()) >= known:
        name = config.data.dataset.name
        raise ConfigError([f"{key}: must have tokens below {known}, as {name}, got {int(made.max())}; name another"])
    return made


def pixel_scaling(config: ExperimentConfig) -> tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]] | None:
    """Scale and offset, by channel, with which the task's pixels from 0 to 255 become what models see.

    None where samples are no such pixels, or what is made of them is another function. Raises as ``prepare`` does.
    """
    source, other = sources_of(config)
    some = source.test_inputs[torch.arange(min(len(source.test_labels), 16))]
    if not isinstance(some, Tensor) or some.dtype != torch.uint8 or some.ndim != 4:
        return None
    division = divide(config, source, _public_size(config, other))
    prepared = Preparation(config, source, raw_public(config, source, other, division.public), other)
    black, white, seen = (prepared(each) for each in (torch.zeros_like(some), torch.full_like(some, 255), some))
    if seen.shape != some.shape:
        return None
    offset, scale = black[0, :, 0, 0], (white - black)[0, :, 0, 0] / 255
    again = some * scale.reshape(-1, 1, 1) + offset.reshape(-1, 1, 1)
    return (scale, offset) if torch.allclose(seen, again, rtol=1e-4, atol=1e-4) else None


def _public_size(config: ExperimentConfig, other: SampleSet | None) -> int:
    """How many samples of the train split are public."""
    return 0 if other is not None else config.data.public.size


def raw_public(config: ExperimentConfig, source: SampleSet, other: SampleSet | None, order: Tensor) -> Any:
    """The public samples as their source has them, but for what ``data.public.corruption`` makes of images."""
    public = config.data.public
    if other is None:
        found = source.train_inputs[order]
    else:
        found = other.train_inputs[shuffled(len(other.train_labels), config.seed, "other_public_set")[: public.size]]
    if public.corruption.nothing:
        return found
    return corrupted(found, public.corruption, torch_generator(config.seed, purpose="public corruption"))


def sources_of(config: ExperimentConfig) -> tuple[SampleSet, SampleSet | None]:
    """The data set, and the other one of the public samples, unless that has the same source with the same options."""
    root, public = resolve_root(config.data.root), config.data.public.dataset
    source = source_of(config.data.dataset)
    other = None if public is None else source_of(public)
    if other is not None and _same(other, source):
        other = None
    return loaded(source, root), None if other is None else loaded(other, root)


def loaded(source: DataSource, root: Path) -> SampleSet:
    """What the source loads, given the folder of data sets; raises ``PluginError`` for anything but samples."""
    try:
        inspect.signature(source.load).bind(root)
    except TypeError as error:
        raise PluginError(
            f"data set {type(source).__name__!r}: load() is given the folder data.root, and takes something else "
            f"({error}); write load(self, root: Path) -> SampleSet"
        ) from error
    found: object = source.load(root)
    if not isinstance(found, SampleSet):
        raise PluginError(
            f"data set {type(source).__name__!r}: load() must return a fedkd.data.SampleSet, got a "
            f"{type(found).__name__}; "
            "return SampleSet(train_inputs, train_labels, test_inputs, test_labels, class_names)"
        )
    return found


def files_state(config: ExperimentConfig) -> tuple[tuple[str, int, int], ...]:
    """Name, time and size of all files of the user's own that the data are read from."""
    found = []
    for spec in (config.data.dataset, config.data.public.dataset):
        for file in () if spec is None else source_of(spec).files():
            with suppress(OSError):
                status = file.stat()
                found.append((str(file), status.st_mtime_ns, status.st_size))
    return tuple(found)


def source_of(spec: Plugin) -> DataSource:
    """The data source of that name, with its options."""
    source: DataSource = plugins.build(plugins.DATASET, spec.name, spec.options)
    return source


def _same(first: DataSource, second: DataSource) -> bool:
    """Whether they are one data set, with the same options."""
    options = plugins.options_of(type(first))
    return type(first) is type(second) and all(
        getattr(first, each.name) == getattr(second, each.name) for each in options
    )


def _problems(config: ExperimentConfig, source: SampleSet, other: SampleSet | None) -> Iterator[str]:
    data, public, rule = config.data, config.data.public, config.data.partition
    yield from (problem for problem in broken_rules(config) if problem.startswith("data."))
    total, name = len(source.train_labels), data.dataset.name
    if public.dataset is not None and other is None:
        yield (
            "data.public.dataset: must differ from data.dataset, whose train split holds the private samples, "
            f"got {public.dataset.name!r}; set it to null to divide that split"
        )
        return
    if len(source.test_labels) == 0:
        yield f"data.dataset: {name} has no test samples, by which the student is judged; raise its test_share"
    yield from _unknown_heads(data, source)
    if other is not None and public.dataset is not None:
        yield from _faults_of(public.dataset, other, data, source)
    if not public.corruption.nothing and not _are_images(other or source):
        yield (
            f"data.public.corruption: changes images, and samples of {(public.dataset or data.dataset).name} are none; "
            "leave it out, or choose a data set of images"
        )
    if public.round_size is not None and public.round_size > max(0, public.size - public.labelled):
        yield (
            f"data.public.round_size: must not exceed the {max(0, public.size - public.labelled)} unlabelled public "
            f"samples, got {public.round_size}; lower it or set it to null"
        )
    if rule.scheme == "pathological" and rule.classes_per_client > len(source.class_names):
        yield (
            f"data.partition.classes_per_client: must not exceed the {len(source.class_names)} classes of {name}, "
            f"got {rule.classes_per_client}; lower it"
        )
    left = total - _public_size(config, other)
    if rule.scheme == "at_home" and left < 0:
        yield (
            f"data.public.size: must not exceed the {total} train samples of {name}, which are all that the server "
            f"has, got {public.size}; lower it"
        )
    if rule.scheme not in {"given", "at_home"}:
        yield from _private_faults(config, name, total, left)


def _private_faults(config: ExperimentConfig, name: str, total: int, left: int) -> Iterator[str]:
    """Why the ``left`` of ``total`` train samples that are not public are too few."""
    data, public, rule = config.data, config.data.public, config.data.partition
    if left < 1:
        yield (
            f"data.public.size: must leave private samples of the {total} train samples of {name}, got {public.size}; "
            f"take sizes that fit {name}, such as {' '.join(_fitting_sizes(data, total))}, or public samples of "
            "another set with data.public.dataset"
        )
        return
    if data.private_size is not None and data.private_size > left:
        yield (
            f"data.private_size: must not exceed the {left} train samples of {name} that are not public "
            f"(data.public.size = {total - left} of {total}), got {data.private_size}; lower one of the two"
        )
        return
    private = left if data.private_size is None else data.private_size
    count = config.clients.count
    if private < count * rule.min_samples:
        yield (
            f"clients.count: {count} clients of at least data.partition.min_samples = {rule.min_samples} need "
            f"{count * rule.min_samples} private samples, there are {private}; use fewer clients, lower "
            "data.partition.min_samples or make more samples private"
        )
    if rule.scheme == "shards" and private < count * rule.shards_per_client:
        yield (
            f"data.partition.shards_per_client: {count} clients of {rule.shards_per_client} shards need "
            f"{count * rule.shards_per_client} private samples, there are {private}; lower it, or clients.count"
        )


def _faults_of(dataset: Plugin, other: SampleSet, data: DataConfig, source: SampleSet) -> Iterator[str]:
    """Why the public samples cannot be taken from there."""
    yield from _kinds_apart("data.public.dataset", dataset, data.dataset, source, other)
    if data.public.size > len(other.train_labels):
        yield (
            f"data.public.size: must not exceed the {len(other.train_labels)} train samples of {dataset.name}, got "
            f"{data.public.size}; lower it"
        )


def _unknown_heads(data: DataConfig, source: SampleSet) -> Iterator[str]:
    known = ", ".join(source.other_labels) or "it has none"
    for name in data.heads:
        if name not in source.other_labels:
            yield (
                f"data.heads: must be other labels of {data.dataset.name} ({known}), got {name!r}; name one of these, "
                "or set data.heads=[]"
            )


def _kinds_apart(key: str, named: Plugin, dataset: Plugin, source: SampleSet, other: SampleSet) -> Iterator[str]:
    """Why samples of the data set ``named`` at ``key`` cannot be made into the task's, but for images, which can."""
    task, found = (_first_of(each) for each in (source, other))
    if task is None or found is None:
        if type(source.encoder) is not type(other.encoder):
            yield (
                f"{key}: must have samples of the kind of {dataset.name}, got {named.name!r}; choose a data set of "
                "that kind, or null"
            )
        return
    images = task.dtype == found.dtype == torch.uint8 and task.ndim == found.ndim == 4
    if not images and (task.shape != found.shape or task.dtype != found.dtype):
        yield (
            f"{key}: must have samples as {dataset.name} has them, {task.dtype} {list(task.shape[1:])}, got "
            f"{found.dtype} {list(found.shape[1:])}; only images are made alike"
        )


def _first_of(samples: SampleSet) -> Tensor | None:
    """Its first sample as a tensor; None where that takes an encoding that has to be learned."""
    encoding = plain_encoding(samples)
    return None if encoding is None else encoding(samples.train_inputs[torch.arange(1)])


def _are_images(samples: SampleSet) -> bool:
    found = samples.train_inputs[torch.arange(1)]
    return isinstance(found, Tensor) and found.dtype == torch.uint8 and found.ndim == 4


def _fitting_sizes(data: DataConfig, total: int) -> Iterator[str]:
    """Changes by which all sizes fit a train split: sizes that suit one data set are too large together for another."""
    size = total // 4
    yield f"data.public.size={size}"
    if data.public.labelled > size // 3:
        yield f"data.public.labelled={size // 3}"
    if data.public.round_size is not None:
        yield "data.public.round_size=null"
    if data.private_size is not None:
        yield "data.private_size=null"


def client_of(config: ExperimentConfig, client: int, share: Int[Tensor, " share"]) -> ClientData:
    """A client's samples, of which the seed keeps a share ``data.client_validation`` for its own validation."""
    held_out = min(round(config.data.client_validation * len(share)), len(share) - 1)
    generator = torch_generator(config.seed, client=client, purpose="client_validation")
    mixed = share[torch.randperm(len(share), generator=generator)]
    return ClientData(train=mixed[held_out:].sort().values, validation=mixed[:held_out].sort().values)


def unlabelled(inputs: Tensor) -> PublicSet:
    """Public samples of whose classes nothing is known."""
    unknown = torch.full((len(inputs),), UNKNOWN_LABEL)
    nowhere = torch.zeros(len(inputs), dtype=torch.bool)
    return PublicSet(inputs, unknown, unknown.clone(), nowhere, shared_label_space=False)


def public_of(config: ExperimentConfig, inputs: Tensor, truth: Int[Tensor, " samples"], classes: int) -> PublicSet:
    """The public samples of these classes, the first of them labelled, and of these some for validation.

    The seed draws which labels ``data.public.label_noise`` makes wrong.
    """
    public = config.data.public
    known = torch.arange(len(truth)) < public.labelled
    generator = torch_generator(config.seed, purpose="public label noise")
    told = mislabelled(truth[known], public.label_noise, classes, generator)
    return public_set(inputs, truth, known, held_out_count(public), told)
