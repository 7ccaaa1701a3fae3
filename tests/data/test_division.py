"""Partitions from a file and by nature: exactly what is written, again and again, and faults told once."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fedkd.config.load import parse_config
from fedkd.config.schema import ExperimentConfig
from fedkd.core.errors import ConfigError
from fedkd.core.seeding import torch_generator
from fedkd.data import DataSource, ExperimentData, SampleSet, partition_file
from fedkd.data.datasets.digits import Digits
from fedkd.data.roles import prepare, unused_samples

DIGITS = Digits().load(Path())
TRAIN = len(DIGITS.train_labels)
NO_PUBLIC = {"size": 0, "labelled": 0}


@dataclass(frozen=True)
class Written(DataSource):
    """Digits by several hands; the last hand has one sample."""

    writers: int = 6

    def load(self, root: Path) -> SampleSet:
        hands = torch.arange(TRAIN) % self.writers
        hands[0] = self.writers
        return SampleSet(
            DIGITS.train_inputs,
            DIGITS.train_labels,
            DIGITS.test_inputs,
            DIGITS.test_labels,
            DIGITS.class_names,
            train_clients=hands,
            client_names=tuple(f"hand {number}" for number in range(self.writers + 1)),
        )


WRITTEN = "tests.data.test_division:Written"


def config_of(
    count: int, partition: dict[str, Any], seed: int = 0, public: dict[str, Any] | None = None, **data: Any
) -> ExperimentConfig:
    sections = {"transform": "scale", **data, "partition": partition, "public": public or NO_PUBLIC}
    return parse_config({"seed": seed, "data": sections, "clients": {"count": count}})


def given(
    folder: Path, content: Any, *, count: int | None = None, name: str = "partition.json", **rest: Any
) -> ExperimentConfig:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text, encoding="utf-8")
    rows = len(next(iter(content.values()))) if isinstance(content, dict) else 2
    least = rest.pop("min_samples", 1)
    partition = {"scheme": "given", "path": str(folder / name), "min_samples": least}
    return config_of(rows if count is None else count, partition, **rest)


def places_of(data: ExperimentData) -> list[list[int]]:
    assert data.places is not None
    held = [torch.cat([client.train, client.validation]) for client in data.clients]
    return [sorted(data.places.private[each].tolist()) for each in held]


def same(one: ExperimentData, other: ExperimentData) -> bool:
    tensors = [
        [data.inputs[:], data.labels, data.public.inputs, data.public.labels, data.public.validation]
        + [part for client in data.clients for part in (client.train, client.validation)]
        for data in (one, other)
    ]
    return all(torch.equal(first, second) for first, second in zip(*tensors, strict=True))


def problem_of(config: ExperimentConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        prepare(config)
    (problem,) = caught.value.problems
    return problem


def test_clients_have_exactly_the_samples_that_are_listed(tmp_path: Path) -> None:
    rows = [[5, 3, 100], [7, 1440, 0, 2]]
    data = prepare(given(tmp_path, {"clients": rows}))
    assert places_of(data) == [[3, 5, 100], [0, 2, 7, 1440]]
    assert data.places is not None
    assert torch.equal(data.labels, DIGITS.train_labels[data.places.private])
    pixels = DIGITS.train_inputs[data.places.private] if isinstance(DIGITS.train_inputs, Tensor) else torch.zeros(0)
    assert torch.equal(data.inputs[:], pixels / 255)


def test_public_samples_are_the_first_of_those_listed_in_their_order(tmp_path: Path) -> None:
    order = [40, 9, 77, 3, 500]
    public = {"size": 4, "labelled": 3, "validation": 0.34}
    data = prepare(given(tmp_path, {"clients": [[1, 2], [4, 5]], "public": order}, count=2, public=public))
    assert data.places is not None
    assert data.places.public is not None
    assert data.places.public.tolist() == order[:4]
    assert torch.equal(data.public.truth, DIGITS.train_labels[order[:4]])
    assert data.public.labels[3] == -1
    assert int(data.public.validation.sum()) == 1


def test_public_samples_that_are_not_listed_are_drawn_from_the_rest(tmp_path: Path) -> None:
    public = {"size": 30, "labelled": 0}
    config = given(tmp_path, {"clients": [list(range(700)), list(range(700, 1400))]}, public=public)
    data, (left, labels) = prepare(config), unused_samples(config)
    assert len(left) == len(labels) == TRAIN - 1400 - 30
    other = prepare(given(tmp_path, {"clients": [[0, 1], [2, 3]]}, public=public, seed=1))
    assert data.places is not None
    assert data.places.public is not None
    drawn = set(data.places.public.tolist())
    assert len(drawn) == 30
    assert drawn <= set(range(1400, TRAIN))
    assert other.places is not None
    assert other.places.public is not None
    assert set(other.places.public.tolist()) != drawn


@pytest.mark.parametrize("scheme", ["iid", "dirichlet", "pathological", "shards", "quantity", "natural"])
@pytest.mark.parametrize("size", [None, 400])
def test_a_partition_that_was_written_gives_the_same_roles_again(tmp_path: Path, scheme: str, size: int | None) -> None:
    public = {"size": 300, "labelled": 100, "validation": 0.2}
    dataset = {"dataset": WRITTEN} if scheme == "natural" else {}
    kept: dict[str, Any] = {"private_size": size, "public": public, "client_validation": 0.3, "seed": 5, **dataset}
    drawn = prepare(config_of(5, {"scheme": scheme, "min_samples": 1}, **kept))
    text = partition_file(drawn)
    assert text is not None
    again = prepare(given(tmp_path, text, count=5, **kept | {"private_size": None}))
    assert same(drawn, again)
    assert partition_file(again) == text
    assert json.loads(text)["clients"] == places_of(drawn)
    assert not same(drawn, prepare(given(tmp_path, text, count=5, **kept | {"private_size": None, "seed": 6})))


def test_listed_samples_are_as_on_machines_that_have_nothing_else(tmp_path: Path) -> None:
    """A client's in the order of the file, the public ones in that in which the seed puts a data set of their own."""
    clients, listed = [[9, 4, 700], [40, 2, 8, 1]], list(range(1000, 1060))
    public = {"size": 40, "labelled": 10, "validation": 0.2}
    content = {"clients": clients, "public": listed, "order": "listed"}
    data = prepare(given(tmp_path, content, count=2, public=public, client_validation=0.3))
    inputs, labels = DIGITS.train_inputs, DIGITS.train_labels
    assert isinstance(inputs, Tensor)
    for client, positions in zip(data.clients, clients, strict=True):
        own = torch.cat([client.train, client.validation]).sort().values
        assert data.labels[own].tolist() == labels[positions].tolist()
        assert torch.equal(data.inputs[own], inputs[positions].float() / 255)
    order = torch.randperm(60, generator=torch_generator(0, purpose="roles"))[:40]
    assert data.public.truth.tolist() == labels[torch.tensor(listed)[order]].tolist()
    text = partition_file(data)
    assert text is not None
    assert json.loads(text)["clients"] == clients
    again = prepare(given(tmp_path, text, count=2, public=public, client_validation=0.3))
    assert same(data, again)
    assert partition_file(again) == text


def test_a_partition_with_public_samples_of_another_set_lists_none() -> None:
    public = {"size": 30, "labelled": 0, "dataset": WRITTEN}
    text = partition_file(prepare(config_of(3, {"scheme": "iid"}, public=public)))
    assert text is not None
    assert "public" not in json.loads(text)


def test_class_counts_are_met_exactly_and_the_seed_draws_which(tmp_path: Path) -> None:
    counts = [[9, 0, 1, 0, 0, 0, 0, 0, 0, 3], [0, 20, 0, 0, 0, 0, 0, 0, 5, 0], [1] * 10]
    public = {"size": 100, "labelled": 0}
    data = prepare(given(tmp_path, {"class_counts": counts}, public=public))
    for client, row in zip(data.clients, counts, strict=True):
        labels = data.labels[torch.cat([client.train, client.validation])]
        assert torch.bincount(labels, minlength=10).tolist() == row
    assert data.places is not None
    assert data.places.public is not None
    assert not set(data.places.public.tolist()) & set(data.places.private.tolist())
    assert torch.equal(data.public.inputs, prepare(config_of(3, {"scheme": "iid"}, public=public)).public.inputs)
    other = prepare(given(tmp_path, {"class_counts": counts}, public=public, seed=1))
    assert places_of(other) != places_of(data)


@pytest.mark.parametrize("header", [True, False])
def test_class_counts_as_a_table(tmp_path: Path, header: bool) -> None:
    names = list(reversed(DIGITS.class_names)) if header else list(DIGITS.class_names)
    counts = [{name: 3 * int(name) + client + 1 for name in names} for client in range(2)]
    lines = [",".join(names)] * header + [", ".join(str(row[name]) for name in names) for row in counts]
    data = prepare(given(tmp_path, "\n".join(lines) + "\n\n", name="table.CSV"))
    for client, row in zip(data.clients, counts, strict=True):
        labels = data.labels[torch.cat([client.train, client.validation])].tolist()
        assert Counter(DIGITS.class_names[label] for label in labels) == row


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not valid JSON"),
        ("", "is not valid JSON"),
        ("\0", "is not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[[1, 2]]", "must hold keys and values at the top, got a list"),
        ('{"client": [[1]]}', "did you mean 'clients'?"),
        ('{"public": [1]}', "must have clients"),
        ('{"clients": [[1], [2]], "class_counts": [[1]]}', "must have clients"),
        ('{"class_counts": [[1]], "public": [1]}', "must have clients"),
        ('{"clients": []}', "one list for each client"),
        ('{"clients": {"0": [1]}}', "one list for each client"),
        ('{"clients": [[1], 2]}', "client 1 (counted from 0) must be a list, got 2"),
        ('{"clients": [[1], [2, 1]]}', "got position 1 twice, in client 0 and client 1"),
        ('{"clients": [[3, 3], [2]]}', "got position 3 twice, in client 0"),
        ('{"clients": [[1], [2]], "public": [4, 2]}', "got position 2 twice, in client 1 and public"),
        ('{"clients": [[1], [-2]]}', f"client 1 (counted from 0): a position is a whole number from 0 to {TRAIN - 1}"),
        ('{"clients": [[1], [9999]]}', "got 9999"),
        ('{"clients": [[1], [2.0]]}', "got 2.0"),
        ('{"clients": [[1], [NaN]]}', "got nan"),
        ('{"clients": [[1], [true]]}', "got True"),
        ('{"clients": [[1], ["2"]]}', "got '2'"),
        ('{"clients": [[1], [[2]]]}', "got [2]"),
        ('{"clients": [[1], [2]], "order": "drawn"}', "order must be \"listed\", beside clients, got 'drawn'"),
        ('{"class_counts": [[1]], "order": "listed"}', 'order must be "listed", beside clients'),
        ('{"clients": [[1], [2]], "public": 3}', "public must be a list of positions"),
        ('{"clients": [[1], []]}', "clients (counted from 0) with their samples are 1 (0)"),
        ('{"class_counts": [[1, 2], [3, 4]]}', "for each of the 10 classes, got 2"),
        ('{"class_counts": [[1,1,1,1,1,1,1,1,1,1], [1,1,1,1,1,1,1,1,1,-1]]}', "client 1 (counted from 0): a count is"),
        ('{"class_counts": [[1,1,1,1,1,1,1,1,1,1], [1,1,1,1,1,1,1,1,1,0.5]]}', "got 0.5"),
        (
            '{"class_counts": [[100,0,0,0,0,0,0,0,0,0], [100,0,0,0,0,0,0,0,0,0]]}',
            "the clients have 200 samples of class 0 together",
        ),
    ],
)
def test_what_is_no_partition_is_told_once(tmp_path: Path, content: str, words: str) -> None:
    problem = problem_of(given(tmp_path, content, count=2))
    assert problem.startswith(f"data.partition.path: {tmp_path / 'partition.json'}")
    assert words in problem
    assert ";" in problem


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("0,1,2,3,4,5,6,7,8,9\n", "has a header and no client"),
        ("1,2\n", "for each of the 10 classes, got 2"),
        ("a,b,c,d,e,f,g,h,i,j\n1,1,1,1,1,1,1,1,1,1\n", "got 'a'"),
        ("1,1,1,1,1,1,1,1,1,1e1\n", "got '1e1'"),
        ("1,1,1,1,1,1,1,1,1,-1\n", "got '-1'"),
        ("1,1,1,1,1,1,1,1,1," + "9" * 5000, f"a count is a whole number from 0 to {TRAIN}"),
        ('"1,1\n', "is not valid CSV"),
    ],
)
def test_what_is_no_table_of_counts_is_told_once(tmp_path: Path, content: str, words: str) -> None:
    problem = problem_of(given(tmp_path, content, count=1, name="counts.csv"))
    assert problem.startswith(f"data.partition.path: {tmp_path / 'counts.csv'}")
    assert words in problem


def test_sizes_that_the_file_contradicts_are_told(tmp_path: Path) -> None:
    rows = {"clients": [[1, 2], [4, 5]]}
    assert "which has 2, got 3; set clients.count=2" in problem_of(given(tmp_path, rows, count=3))
    assert "data.private_size: must be null or the 4" in problem_of(given(tmp_path, rows, private_size=5))
    assert prepare(given(tmp_path, rows, private_size=4)).labels.numel() == 4
    many = {"size": TRAIN - 3, "labelled": 0}
    assert f"must not exceed the {TRAIN - 4}" in problem_of(given(tmp_path, rows, public=many))
    assert "public samples in" in problem_of(given(tmp_path, rows | {"public": [9]}, public={"size": 2, "labelled": 0}))
    other = {"size": 2, "labelled": 0, "dataset": WRITTEN}
    assert "leave public out of the file" in problem_of(given(tmp_path, rows | {"public": [9, 8]}, public=other))
    assert "1 (2)" in problem_of(given(tmp_path, {"clients": [[1, 2, 3], [4, 5]]}, min_samples=3))


def test_the_file_has_to_be_there_and_to_be_the_one_meant(tmp_path: Path) -> None:
    config = given(tmp_path, {"clients": [[1], [2]]})
    (tmp_path / "partition.json").unlink()
    assert "no such file" in problem_of(config)
    (tmp_path / "partition.json").mkdir()
    assert "must name a file" in problem_of(config)
    (tmp_path / "large.json").touch()
    with (tmp_path / "large.json").open("r+b") as file:
        file.truncate(2**28 + 1)
    large = {"scheme": "given", "path": str(tmp_path / "large.json")}
    assert "at most 268,435,456 bytes" in problem_of(config_of(2, large))
    (tmp_path / "latin.json").write_bytes(b"\xff\xfe{")
    assert "no text in UTF-8" in problem_of(config_of(2, large | {"path": str(tmp_path / "latin.json")})).replace(
        "not a text", "no text"
    )


@pytest.mark.parametrize(
    ("partition", "start"),
    [
        ({"scheme": "given"}, "data.partition.path: names the file of a given partition, got null"),
        ({"scheme": "iid", "path": "x.json"}, "data.partition.path: is for data.partition.scheme=given"),
        ({"scheme": "iid", "sha256": "0" * 64}, "data.partition.sha256: is the digest of data.partition.path"),
    ],
)
def test_keys_that_do_not_go_together_are_told(partition: dict[str, Any], start: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(2, partition)
    (problem,) = caught.value.problems
    assert problem.startswith(start)


def hands_of(data: ExperimentData) -> list[set[int]]:
    hands = Written().load(Path()).train_clients
    assert hands is not None
    return [set(hands[row].tolist()) for row in places_of(data)]


def test_a_natural_client_has_its_own_samples_and_all_of_them() -> None:
    data = prepare(config_of(7, {"scheme": "natural", "min_samples": 1}, dataset=WRITTEN))
    assert hands_of(data) == [{hand} for hand in range(7)]
    assert data.labels.numel() == TRAIN
    public = {"size": 500, "labelled": 0}
    some = prepare(config_of(6, {"scheme": "natural", "min_samples": 1}, seed=2, dataset=WRITTEN, public=public))
    assert all(len(hand) == 1 for hand in hands_of(some))
    assert data.labels.numel() > some.labels.numel() > 700


def test_the_seed_draws_which_natural_clients_take_part() -> None:
    natural = {"scheme": "natural", "min_samples": 1}

    def drawn(seed: int) -> Sequence[set[int]]:
        return hands_of(prepare(config_of(3, natural, seed, dataset=WRITTEN, private_size=1000)))

    assert drawn(0) == drawn(0)
    assert len({str(drawn(seed)) for seed in range(8)}) > 1
    assert all(len(hand) == 1 for seed in range(8) for hand in drawn(seed))
    config = config_of(3, natural, dataset=WRITTEN, private_size=1000)
    assert len(unused_samples(config)[0]) == 0
    assert len(prepare(config).labels) < 1000


def test_what_keeps_samples_from_being_divided_by_nature_is_told() -> None:
    natural = {"scheme": "natural", "min_samples": 1}
    assert "data.partition.scheme: natural divides samples by whose they are, and digits" in problem_of(
        config_of(3, natural)
    )
    assert "must not exceed the 7 clients" in problem_of(config_of(8, natural, dataset=WRITTEN))
    small = problem_of(config_of(7, natural | {"min_samples": 2}, dataset=WRITTEN))
    assert "clients with their samples are hand 6 (1)" in small
    assert "lower data.partition.min_samples" in small
