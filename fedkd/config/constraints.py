"""The rules that tie several keys of a configuration together."""

from collections.abc import Iterator, Sequence

from fedkd.config.data_schema import PartitionConfig, PublicConfig, TasksConfig
from fedkd.config.rounding import attacker_count, held_out_count, least_share
from fedkd.config.schema import DistillationConfig, ExperimentConfig, TeacherConfig
from fedkd.core.wording import shown


def broken_rules(config: ExperimentConfig) -> Iterator[str]:
    """One message for each rule between keys that ``config`` breaks, checkable without loading data."""
    public, clients = config.data.public, config.clients
    yield from _data(config)
    if clients.min_reports > clients.per_round:
        yield (
            f"clients.min_reports: must not exceed the {clients.per_round} clients sampled "
            f"per round, got {clients.min_reports}; lower it or raise clients.fraction"
        )
    yield from _shares_of_nothing(config)
    names = {model.name for model in clients.models or (config.student.model,)}
    for name in sorted(set(config.engine.resources) - names):
        yield (
            f"engine.resources: {name!r} is no client's architecture ({', '.join(sorted(names))}); "
            "name one of these, or remove it"
        )
    if "public_only" in config.controls and public.labelled == 0:
        yield (
            "controls: public_only trains on the labelled public samples and data.public.labelled is 0; "
            "leave it out or raise data.public.labelled"
        )
    if config.student.init is None and config.student.init_sha256 is not None:
        yield (
            "student.init_sha256: is the digest of student.init, which is null, got "
            f"{config.student.init_sha256!r}; name the file, or set it to null"
        )
    yield from _teacher(config.teacher)
    yield from _distillation(config.distillation)
    if config.distillation.align_batch_norm and config.teacher is None:
        yield (
            "distillation.align_batch_norm: aligns the student with a teacher that is a network, and teacher is null, "
            f"got {shown(config.distillation.align_batch_norm)}; set it to {{}}, or take a section teacher and fedkd "
            "distill"
        )
    if config.engine.device == "cuda" and not _has_gpu():
        yield "engine.device: cuda needs a GPU that torch can see and there is none, got 'cuda'; set engine.device=cpu"
    if len(set(config.controls)) != len(config.controls):
        yield f"controls: each may be listed once, got {list(config.controls)}; remove the repetition"


def _data(config: ExperimentConfig) -> Iterator[str]:
    data, clients = config.data, config.clients
    yield from _public(data.public)
    yield from _partition(data.partition)
    if data.at_home:
        yield from _at_home(config)
    if data.tasks is not None:
        yield from _tasks(data.tasks)
    if len(set(data.heads)) < len(data.heads):
        yield f"data.heads: each may be named once, got {list(data.heads)}; remove the repetition"
    if data.heads and data.tasks is not None:
        yield (
            f"data.heads: a sequence of tasks is of the class alone, got {list(data.heads)} with data.tasks; set "
            "data.heads=[], or data.tasks=null"
        )
    if data.private_size is not None and data.private_size < clients.count * data.partition.min_samples:
        yield (
            f"clients.count: {clients.count} clients of at least data.partition.min_samples = "
            f"{data.partition.min_samples} need {clients.count * data.partition.min_samples} private samples, "
            f"got data.private_size = {data.private_size}; use fewer clients or more samples"
        )


def _public(public: PublicConfig) -> Iterator[str]:
    if public.labelled > public.size:
        yield (
            f"data.public.labelled: must not exceed data.public.size = {public.size}, got {public.labelled}; "
            "lower it or raise data.public.size"
        )
    if public.dataset is not None and public.size == 0:
        yield (
            f"data.public.dataset: names where public samples come from, and data.public.size is 0, got "
            f"{public.dataset.name!r}; set it to null, or raise data.public.size"
        )
    if public.dataset is not None and public.labelled > 0:
        yield (
            "data.public.labelled: must be 0 when data.public.dataset names another data set (its classes are not the "
            f"task's), got {public.labelled}; set it to 0, and data.public.pseudo_labels: true to train on the "
            "teacher's classes"
        )
    if public.size == 0 and not public.corruption.nothing:
        yield (
            "data.public.corruption: changes public samples, and data.public.size is 0; leave it out, or raise "
            "data.public.size"
        )
    if public.labelled == 0 and public.label_noise > 0:
        yield (
            "data.public.label_noise: makes labels wrong that the server knows, and data.public.labelled is 0, got "
            f"{public.label_noise:g}; set it to 0, or raise data.public.labelled"
        )


def _partition(rule: PartitionConfig) -> Iterator[str]:
    if rule.scheme == "given" and rule.path is None:
        yield (
            "data.partition.path: names the file of a given partition, got null; name one, such as a run's "
            "partition.json, or choose another data.partition.scheme"
        )
    if rule.scheme != "given" and rule.path is not None:
        yield (
            f"data.partition.path: is for data.partition.scheme=given, got {shown(rule.path)} with {rule.scheme}; set "
            "it to null, or the scheme to given"
        )
    if rule.path is None and rule.sha256 is not None:
        yield (
            "data.partition.sha256: is the digest of data.partition.path, which is null, got "
            f"{rule.sha256!r}; name the file, or set it to null"
        )


def _at_home(config: ExperimentConfig) -> Iterator[str]:
    """What goes with private samples that the server never sees."""
    data, clients = config.data, config.clients
    where = "with data.partition.scheme=at_home"
    if clients.max_examples is None:
        yield (
            f"clients.max_examples: must be declared {where}, where nobody knows how many samples clients have, got "
            "null; set it to the most that any of them has"
        )
    if data.private_size is not None:
        yield f"data.private_size: nodes have all of theirs {where}, got {data.private_size}; set it to null"
    if data.public.dataset is not None:
        yield (
            f"data.public.dataset: data.dataset itself holds the public samples {where}, got "
            f"{data.public.dataset.name!r}; set it to null"
        )
    for name in config.controls:
        if name != "public_only":
            yield f"controls: {name} needs more of private samples than leaves a node {where}; leave it out"
    if attacks := config.privacy.audit.attacks:
        yield (
            f"privacy.audit.attacks: attacks are judged by the private samples, which stay on their nodes {where}, got "
            f"{', '.join(attack.name for attack in attacks)}; leave them out, and audit a simulation of a like split"
        )


def _teacher(teacher: TeacherConfig | None) -> Iterator[str]:
    if teacher is None or teacher.init is not None:
        return
    if teacher.init_sha256 is not None:
        yield (
            f"teacher.init_sha256: is the digest of teacher.init, which is null, got {teacher.init_sha256!r}; name the "
            "file, or set it to null"
        )
    if teacher.epochs == 0:
        yield "teacher.epochs: must be at least 1 where teacher.init names no weights, got 0; raise it, or name a file"


def _tasks(rule: TasksConfig) -> Iterator[str]:
    named = [name for name in ("count", "classes", "path") if getattr(rule, name) is not None]
    if len(named) != 1:
        yield (
            f"data.tasks: is divided by one of count, classes and path, got {' and '.join(named) or 'none of them'}; "
            "name one, such as data.tasks={count: 2}"
        )
    if rule.path is None and rule.sha256 is not None:
        yield (
            f"data.tasks.sha256: is the digest of data.tasks.path, which is null, got {rule.sha256!r}; name the file, "
            "or set it to null"
        )
    if rule.classes is not None:
        yield from _task_classes(rule.classes)


def _task_classes(classes: Sequence[Sequence[int]]) -> Iterator[str]:
    if len(classes) < 2:
        yield (
            f"data.tasks.classes: a sequence has two tasks at least, got {len(classes)}; write some, such as "
            "[[0, 1], [2, 3]], or set data.tasks to null"
        )
    listed = [each for task in classes for each in task]
    for each in sorted({each for each in listed if listed.count(each) > 1}):
        yield (
            f"data.tasks.classes: a class belongs to one task, got {each} {listed.count(each)} times; leave it out of "
            "the others"
        )
    for task, members in enumerate(classes):
        if task == 0 and len(members) == 1:
            yield (
                f"data.tasks.classes.0: the first task needs two classes to tell apart, got {list(members)}; add one, "
                "or begin with another task"
            )
        elif not members:
            yield f"data.tasks.classes.{task}: a task has a class at least, got []; add one, or leave the task out"


def _distillation(distillation: DistillationConfig) -> Iterator[str]:
    if distillation.geometry.mode == "logits" and not distillation.mixed:
        yield (
            "distillation.geometry.mode: logits compares gradients on the same samples, so both losses must see one "
            "batch, got 'logits' with distillation.mixed = false; set distillation.mixed=true or another mode"
        )
    if distillation.average > 0 and distillation.patience is not None:
        yield (
            "distillation.average: a round ends with the mean of the student's weights or, with distillation.patience, "
            f"with the best of them, got average = {distillation.average:g} and patience = "
            f"{distillation.patience}; set one of them to its default"
        )


def _shares_of_nothing(config: ExperimentConfig) -> Iterator[str]:
    """Shares that ask for something and, rounded to whole clients or samples, make nothing."""
    attackers, count, public = config.clients.attackers, config.clients.count, config.data.public
    if attackers.share > 0 and attacker_count(config.clients) == 0:
        yield (
            f"clients.attackers.share: {attackers.share:g} of {count} clients makes, rounded, no attacker; raise it to "
            f"{least_share(count)} or more, or set 0 for none"
        )
    if 0 < public.labelled <= public.size and public.validation > 0 and held_out_count(public) == 0:
        least = "one stays for training" if public.labelled == 1 else f"raise it above {least_share(public.labelled)}"
        yield (
            f"data.public.validation: {public.validation:g} of {public.labelled} labelled samples makes, rounded, no "
            f"validation sample; {least}, raise data.public.labelled, or set 0 for none"
        )
    if public.labelled > 0 and public.label_noise > 0 and round(public.label_noise * public.labelled) == 0:
        yield (
            f"data.public.label_noise: {public.label_noise:g} of {public.labelled} labels makes, rounded, none wrong; "
            f"raise it above {least_share(public.labelled)}, or set 0"
        )


def _has_gpu() -> bool:
    # Here, for a configuration is read long before anything is computed.
    import torch

    return torch.cuda.is_available()
