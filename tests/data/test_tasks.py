"""Which sample belongs to which task, and what is rehearsed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fedkd.config.data_schema import TasksConfig
from fedkd.config.digest import configuration_digest
from fedkd.config.given import pinned
from fedkd.config.load import load_config
from fedkd.core.errors import ConfigError
from fedkd.data import SampleSet, prepare
from fedkd.data.tasks import Numbers, numbered, sequence

SOURCE = SampleSet(
    torch.zeros(7, 1), torch.tensor([0, 1, 2, 3, 4, 0, 1]), torch.zeros(3, 1), torch.tensor([4, 0, 2]), tuple("abcde")
)


def numbers(**rule: Any) -> tuple[list[int], list[int]]:
    found = numbered(TasksConfig(**rule), SOURCE)
    return found.train.tolist(), found.test.tolist()


def problems(tasks: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        prepare(load_config({"data": {"tasks": tasks}}))
    return caught.value.problems


def test_classes_make_tasks() -> None:
    assert numbers(count=2) == ([0, 0, 0, 1, 1, 0, 0], [1, 0, 0])
    assert numbers(classes=((4, 1), (3,), (0, 2))) == ([2, 0, 2, 1, 0, 2, 0], [0, 2, 2])


def test_a_file_makes_tasks_and_its_content_is_a_part_of_the_experiment(tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps({"train": [0, 1, 1, 0, 0, 0, 0], "test": [1, 0, 1]}))
    assert numbers(path=str(path)) == ([0, 1, 1, 0, 0, 0, 0], [1, 0, 1])
    config = load_config({"data": {"tasks": {"path": str(path)}}})
    fixed = pinned(config)
    assert fixed.data.tasks is not None
    assert fixed.data.tasks.sha256 is not None
    (moved := tmp_path / "moved.json").write_bytes(path.read_bytes())
    elsewhere = load_config({"data": {"tasks": {"path": str(moved)}}})
    assert configuration_digest(pinned(elsewhere)) == configuration_digest(fixed)
    path.write_text(json.dumps({"train": [0, 1, 1, 0, 0, 0, 1], "test": [1, 0, 1]}))
    with pytest.raises(ConfigError, match="is not the file that the configuration was made for"):
        numbers(path=str(path), sha256=fixed.data.tasks.sha256)


def test_every_sample_keeps_the_number_of_its_task_in_its_role() -> None:
    data = prepare(load_config({"data": {"tasks": {"classes": [[7, 1], [0, 2, 3, 4], [5, 6, 8, 9]]}}}))
    task = torch.tensor([1, 0, 1, 1, 1, 2, 2, 0, 2, 2])
    assert data.tasks is not None
    assert torch.equal(data.tasks.private, task[data.labels])
    assert torch.equal(data.tasks.public, task[data.public.truth])
    assert torch.equal(data.tasks.test, task[data.test_labels])
    assert prepare(load_config({})).tasks is None


def test_what_is_kept_of_a_task_is_so_many_of_every_class_drawn_from_the_seed() -> None:
    train, labels = torch.tensor([0, 1] * 30), torch.tensor([0, 3, 1, 2, 1, 3] * 10)
    given = Numbers(train, torch.tensor([1, 0, 1]))
    first, second = sequence(given, labels, "abcd", rehearsed=4, seed=0)
    assert (first.classes.tolist(), second.classes.tolist()) == ([0, 1], [2, 3])
    assert (first.test.tolist(), second.test.tolist()) == ([1], [0, 2])
    assert torch.equal(torch.cat([first.train, second.train]).sort().values, torch.arange(60))
    for task in (first, second):
        assert torch.isin(task.kept, task.train).all()
        assert torch.bincount(labels[task.kept])[task.classes].tolist() == [4, 4]
        assert torch.equal(task.kept, task.kept.sort().values)
    again, _ = sequence(given, labels, "abcd", rehearsed=4, seed=0)
    other, _ = sequence(given, labels, "abcd", rehearsed=4, seed=1)
    assert torch.equal(again.kept, first.kept)
    assert not torch.equal(other.kept, first.kept)
    assert sequence(given, labels, "abcd", rehearsed=0, seed=0)[0].kept.numel() == 0


def test_a_task_without_samples_and_classes_with_too_few_to_keep_are_all_told() -> None:
    given = Numbers(torch.tensor([0, 0, 0, 2]), torch.tensor([0, 1]))
    with pytest.raises(ConfigError) as caught:
        sequence(given, torch.tensor([0, 1, 1, 2]), ("cat", "dog", "cow"), rehearsed=2, seed=0)
    found = caught.value.problems
    assert len(found) == 4
    assert "the 1 training samples of class cat in task 0" in found[0]
    assert "task 1 (counted from 0) must have training samples" in found[1]
    assert "task 2 (counted from 0) must have test samples" in found[2]
    assert "class cow in task 2" in found[3]


def test_all_that_is_wrong_with_classes_is_told_at_once() -> None:
    found = problems({"classes": [[0], [1, 1, 2], []]})
    assert [problem.partition(", got ")[0] for problem in found] == [
        "data.tasks.classes: a class belongs to one task",
        "data.tasks.classes.0: the first task needs two classes to tell apart",
        "data.tasks.classes.2: a task has a class at least",
    ]
    found = problems({"classes": [[0, 1, 2, 3], [4, 5, 6, 12, 10]]})
    assert len(found) == 2
    assert "from 0 to 9, got 10, 12" in found[0]
    assert "got none for 7 (7), 8 (8), 9 (9)" in found[1]


@pytest.mark.parametrize(
    ("tasks", "start"),
    [
        ({}, "data.tasks: is divided by one of count, classes and path, got none of them"),
        ({"count": 2, "path": "x"}, "data.tasks: is divided by one of count, classes and path, got count and path"),
        ({"count": 1}, "data.tasks.count: input should be greater than or equal to 2, got 1"),
        ({"count": 10}, "data.tasks.count: must be below the number of classes, 10"),
        ({"classes": [[*range(10)]]}, "data.tasks.classes: a sequence has two tasks at least, got 1"),
        ({"count": 2, "rehearsed": -1}, "data.tasks.rehearsed: input should be greater than or equal to 0"),
        ({"count": 2, "sha256": "0" * 64}, "data.tasks.sha256: is the digest of data.tasks.path, which is null"),
        ({"path": "nowhere.json"}, "data.tasks.path: no such file, got 'nowhere.json'"),
    ],
)
def test_a_rule_that_divides_nothing_is_told(tasks: dict[str, Any], start: str) -> None:
    (problem,) = problems(tasks)
    assert problem.startswith(start)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{", "is not valid JSON"),
        ("[0, 1]", "must have the keys train and test, got a list"),
        ('{"train": [0]}', "must have the keys train and test, got train"),
        ('{"train": [0, 1], "test": 3}', "train must be a list of 7 numbers"),
        ('{"train": [0, 1, 0, 0, 0, 0, true], "test": [0, 0, 0]}', "train, position 6: a task is a whole number"),
        ('{"train": [0, 1, 0, 0, 0, 0, -1], "test": [0, 0, 0]}', "got -1; correct it"),
        ('{"train": [0, 0, 0, 0, 0, 0, 0], "test": [0, 0, 0]}', "has one task"),
    ],
)
def test_a_file_that_says_no_tasks_is_told(tmp_path: Path, content: str, fault: str) -> None:
    (path := tmp_path / "tasks.json").write_text(content)
    with pytest.raises(ConfigError) as caught:
        numbers(path=str(path))
    assert caught.value.problems[0].startswith(f"data.tasks.path: {path}")
    assert fault in caught.value.problems[0]


def test_both_lists_of_a_file_are_looked_at(tmp_path: Path) -> None:
    (path := tmp_path / "tasks.json").write_text('{"train": [0, 1], "test": [0, 7, 0]}')
    with pytest.raises(ConfigError) as caught:
        numbers(path=str(path))
    assert len(caught.value.problems) == 2
