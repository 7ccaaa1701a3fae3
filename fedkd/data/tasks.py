"""Tasks that are learned one after the other: which sample belongs to which, and which are rehearsed later."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from fedkd.config.data_schema import TasksConfig
from fedkd.config.given import TASKS, TASKS_BYTES, TASKS_REMEDY
from fedkd.core.documents import parse_json
from fedkd.core.errors import ConfigError
from fedkd.core.given_files import read_given
from fedkd.core.seeding import torch_generator
from fedkd.core.wording import cut, shown
from fedkd.data.source import SampleSet

NO_TASK = -1
"""Stands for the task of a sample that is in no task."""


@dataclass(frozen=True)
class Numbers:
    """The number, from 0, of each sample's task."""

    train: Int[Tensor, " train"]
    test: Int[Tensor, " test"]


@dataclass(frozen=True)
class Task:
    """A task: sorted classes and positions, of what is trained on, of what is kept of that, and of what is tested.

    ``kept`` are so many of every class, drawn from the seed; they are rehearsed with later tasks.
    """

    classes: Int[Tensor, " classes"]
    train: Int[Tensor, " train"]
    kept: Int[Tensor, " kept"]
    test: Int[Tensor, " test"]


def numbered(rule: TasksConfig, source: SampleSet) -> Numbers:
    """Which task each sample of a data set is of; raises ``ConfigError`` with what keeps the rule from dividing it."""
    if rule.path is not None:
        return _given(rule, source)
    names = source.class_names
    if problems := list(_class_faults(rule, names)):
        raise ConfigError(problems)
    parts = rule.classes or [part.tolist() for part in torch.arange(len(names)).tensor_split(rule.count or 1)]
    task = torch.full((len(names),), NO_TASK)
    for number, members in enumerate(parts):
        task[list(members)] = number
    return Numbers(task[source.train_labels], task[source.test_labels])


def sequence(
    numbers: Numbers,
    labels: Int[Tensor, " train"],
    class_names: Sequence[str],
    *,
    rehearsed: int,
    seed: int,
) -> tuple[Task, ...]:
    """The tasks in their order, of samples with these numbers and labels.

    Raises ``ConfigError`` with every task that has no samples, or too few of a class to keep ``rehearsed``.
    """
    last = int(torch.cat([numbers.train, numbers.test]).max())
    tasks, problems = [], []
    for number in range(last + 1):
        train, test = ((each == number).nonzero().flatten() for each in (numbers.train, numbers.test))
        classes, counts = labels[train].unique(return_counts=True)
        for what, found in (("training", train), ("test", test)):
            if found.numel() == 0:
                problems.append(
                    f"data.tasks: task {number} (counted from 0) must have {what} samples, got none; give it some, "
                    "raise data.private_size, or leave the task out"
                )
        for each, count in zip(classes.tolist(), counts.tolist(), strict=True):
            if count < rehearsed:
                problems.append(
                    f"data.tasks.rehearsed: must not exceed the {count} training samples of class "
                    f"{cut(class_names[each])} in task {number} (counted from 0), got {rehearsed}; lower it, or raise "
                    "data.private_size"
                )
        draw = torch_generator(seed, round=number, purpose="rehearsed samples")
        kept = [_drawn(train[labels[train] == each], rehearsed, draw) for each in classes]
        tasks.append(Task(classes, train, torch.cat([train[:0], *kept]).sort().values, test))
    if problems:
        raise ConfigError(problems)
    return tuple(tasks)


def _drawn(members: Tensor, count: int, draw: torch.Generator) -> Tensor:
    return members[torch.randperm(len(members), generator=draw)[:count]]


def _class_faults(rule: TasksConfig, names: Sequence[str]) -> Iterator[str]:
    if rule.count is not None and rule.count >= len(names):
        yield (
            f"data.tasks.count: must be below the number of classes, {len(names)}, for the first task needs two to "
            f"tell apart, got {rule.count}; lower it"
        )
    if rule.classes is None:
        return
    listed = {each for task in rule.classes for each in task}
    if unknown := sorted(each for each in listed if each >= len(names)):
        yield (
            f"data.tasks.classes: must be positions of the {len(names)} classes, from 0 to {len(names) - 1}, got "
            f"{', '.join(map(str, unknown))}; correct them"
        )
    if left_out := [f"{each} ({cut(name)})" for each, name in enumerate(names) if each not in listed]:
        yield (
            f"data.tasks.classes: every class belongs to a task, got none for {', '.join(left_out)}; put each into one"
        )


def _given(rule: TasksConfig, source: SampleSet) -> Numbers:
    name = rule.path or ""
    content = read_given(TASKS, name, most_bytes=TASKS_BYTES, remedy=TASKS_REMEDY, digest=rule.sha256)
    where = f"{TASKS}: {cut(name)}"
    try:
        document = parse_json(content.decode("utf-8-sig"))
    except ValueError as error:
        raise ConfigError([f"{where} is not valid JSON ({error}); {TASKS_REMEDY}"]) from error
    if not isinstance(document, dict) or document.keys() != {"train", "test"}:
        got = ", ".join(map(cut, document)) if isinstance(document, dict) else f"a {type(document).__name__}"
        raise ConfigError([f"{where} must have the keys train and test, got {got or 'none'}; {TASKS_REMEDY}"])
    samples = {"train": len(source.train_labels), "test": len(source.test_labels)}
    problems = [fault for split, count in samples.items() for fault in _list_faults(document[split], split, count)]
    if problems:
        raise ConfigError([f"{where}, {problem}" for problem in problems])
    if max(document["train"]) == 0:
        raise ConfigError([f"{where} has one task, and a sequence two at least; number some samples 1"])
    return Numbers(torch.tensor(document["train"]), torch.tensor(document["test"]))


def _list_faults(found: Any, split: str, count: int) -> Iterator[str]:
    if not isinstance(found, list) or len(found) != count:
        got = len(found) if isinstance(found, list) else shown(found)
        yield f"{split} must be a list of {count} numbers, one for each sample of that split, got {got}; write it"
        return
    for position, number in enumerate(found):
        if type(number) is not int or not 0 <= number < count:
            yield (
                f"{split}, position {position}: a task is a whole number from 0, smaller than the {count} samples, got "
                f"{shown(number)}; correct it"
            )
            return
