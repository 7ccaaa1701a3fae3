"""Configurations: what is read, what is refused, and how the refusal reads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkd.config.describe import describe_keys
from fedkd.config.load import load_config, parse_config, to_json, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.config.strict_yaml import dump_yaml, parse_yaml
from fedkd.config.values import Plugin
from fedkd.core.errors import ConfigError
from tests.support import ROOT


def problems_of(raw: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(raw)
    return str(caught.value)


def test_defaults_alone_are_a_valid_experiment() -> None:
    assert parse_config({}) == ExperimentConfig()


def test_a_resolved_config_reads_back_as_itself() -> None:
    config = load_config({"strategy": {"name": "stacked", "ridge": 0.5}, "controls": ["fedavg"], "seed": 7})
    assert parse_config(parse_yaml(dump_yaml(to_mapping(config)))) == config
    assert to_json(config) == to_json(parse_config(to_mapping(config)))


def test_overrides_reach_into_sections_and_plugins(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("student:\n  model: cnn\nstrategy: {name: stacked}\n")
    config = load_config(
        path, ["clients.count=20", "strategy.ridge=1e-2", "clients.learning_rate=1e-3", "student.model.name=mlp"]
    )
    assert config.clients.count == 20
    assert config.clients.learning_rate == 1e-3
    assert config.strategy.options == {"ridge": 1e-2}
    assert config.student.model == Plugin("mlp")


def test_options_without_a_name_belong_to_the_default_plugin() -> None:
    assert load_config({}, ["strategy.ridge=0.5"]).strategy == Plugin("stacked", {"ridge": 0.5})


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("name=linear", "start=5", "end=1"), Plugin("linear", {"start": 5, "end": 1})),
        (("value=4.5",), Plugin("constant", {"value": 4.5})),
        (("name=constant",), Plugin("constant", {"value": 2.0})),
    ],
)
def test_overrides_reach_into_a_plugin_that_is_given_as_a_number(
    overrides: tuple[str, ...], expected: Plugin, tmp_path: Path
) -> None:
    (tmp_path / "base.yaml").write_text("distillation: {temperature: 2.0}")
    (tmp_path / "child.yaml").write_text("extends: base.yaml\nrounds: 1")
    changes = [f"distillation.temperature.{override}" for override in overrides]
    for source in (tmp_path / "base.yaml", tmp_path / "child.yaml", {"distillation": {"temperature": 2}}):
        assert load_config(source, changes).distillation.temperature == expected
    # The same keys in a file that extends the other.
    keys = ", ".join(override.replace("=", ": ") for override in overrides)
    (tmp_path / "child.yaml").write_text(f"extends: base.yaml\ndistillation: {{temperature: {{{keys}}}}}")
    assert load_config(tmp_path / "child.yaml").distillation.temperature == expected


@pytest.mark.parametrize(
    ("key", "value"), [("distillation.temperature", True), ("strategy", 2.0), ("distillation.balancer", 0.5)]
)
def test_a_number_is_short_for_a_temperature_only(key: str, value: object) -> None:
    section: Any = value
    for part in reversed(key.split(".")):
        section = {part: section}
    with pytest.raises(ConfigError, match=rf"{key}\.name: {key} is {value} and has no keys below it"):
        load_config(section, [f"{key}.name=linear"])
    with pytest.raises(ConfigError, match=f"1 problem .*\n.*{key}"):
        load_config({}, [f"{key}={str(value).lower()}"])


@pytest.mark.parametrize("name", ["quickstart", "quickstart.yaml", "configs/quickstart.yaml", "algorithms/fedmd"])
def test_shipped_configurations_load_by_name_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = load_config(ROOT / "configs" / f"{name.removeprefix('configs/').removesuffix('.yaml')}.yaml")
    monkeypatch.chdir(tmp_path)
    assert load_config(name) == load_config(Path(name)) == shipped
    # A file of one's own goes before a shipped one of the same name.
    Path(tmp_path, name).parent.mkdir(exist_ok=True)
    Path(tmp_path, name).write_text("rounds: 7", encoding="utf-8")
    assert load_config(name) == load_config({"rounds": 7})


def test_all_faults_are_told_at_once() -> None:
    text = problems_of(
        {
            "rounds": -1,
            "sed": 3,
            "data": {"partition": {"alpha": 0}},
            "clients": {"count": "many"},
            "strategy": {"name": "staked"},
            "distillation": {"balancer": {"name": "fixed", "valu": 0.5}},
        }
    )
    for part in (
        "6 problems",
        "rounds: input should be greater than or equal to 1, got -1",
        "sed: unknown key, got 3; did you mean 'seed'?",
        "data.partition.alpha: input should be greater than 0, got 0",
        "clients.count: input should be a valid integer, got 'many'; write a whole number",
        "strategy.name: unknown strategy 'staked'; did you mean 'stacked'?",
        "distillation.balancer.valu: unknown option of Fixed; did you mean 'value'?",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("raw", "parts"),
    [
        ({"data": {"public": {"size": 10, "labelled": 20}}}, ("data.public.labelled", "10", "20", "lower it")),
        (
            {"data": {"public": {"dataset": "digits", "labelled": 5}}},
            ("data.public.labelled", "must be 0", "5", "pseudo_labels"),
        ),
        ({"clients": {"count": 5, "min_reports": 6}}, ("clients.min_reports", "5", "6", "lower it")),
        ({"clients": {"count": 9}, "data": {"private_size": 10}}, ("clients.count", "18", "10", "fewer clients")),
        ({"clients": {"models": ["mlp", "cn"]}}, ("clients.models.1.name", "unknown model 'cn'", "did you mean 'cnn'")),
        ({"engine": {"resources": {"resnet8": {"threads": 2}}}}, ("engine.resources", "'resnet8'", "cnn", "remove it")),
        ({"clients": {"attackers": {"share": 1.0}}}, ("clients.attackers.share", "less than 1", "1.0")),
        (
            {"communication": {"uplink": {"name": "float32", "delta": True}}},
            ("communication.uplink", "set compress to zlib"),
        ),
        ({"controls": ["fedavg", "fedavg"]}, ("controls", "once", "fedavg", "remove")),
        ({"data": {"public": {"labelled": 0, "dataset": {"a": 1}}}}, ("data.public.dataset", "needs a 'name'")),
        ({"strategy": {"name": "stacked", "ridge": -1}}, ("strategy.ridge", "greater than 0", "-1")),
        ({"strategy": {"name": "nowhere:Thing"}}, ("strategy.name", "cannot import", "nowhere")),
        ({"strategy": {"name": "fedkd.core.messages:Teacher"}}, ("strategy.name", "subclass of LogitAggregator")),
        ({"distillation": {"learning_rate": float("nan")}}, ("distillation.learning_rate", "nan")),
    ],
)
def test_a_fault_names_key_rule_value_and_remedy(raw: dict[str, object], parts: tuple[str, ...]) -> None:
    text = problems_of(raw)
    assert "1 problem " in text
    for part in parts:
        assert part in text


@pytest.mark.parametrize(
    ("content", "part"), [("a: [", "not valid YAML"), ("- 1", "must hold keys and values"), ("\x00", "not valid YAML")]
)
def test_unreadable_files_are_explained(tmp_path: Path, content: str, part: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=part):
        load_config(path)


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize("override", ["clients.count", "=3", "seed.below=3", "seed=[", "strategy=5"])
def test_bad_overrides_are_refused(override: str) -> None:
    with pytest.raises(ConfigError):
        load_config({"seed": 1}, [override])


def test_every_key_is_documented() -> None:
    docs = list(describe_keys())
    assert len(docs) > 40
    assert all(doc.text for doc in docs), [doc.path for doc in docs if not doc.text]
    assert {"seed", "data.partition.alpha", "distillation.balancer", "engine.clients_per_node"} <= {
        doc.path for doc in docs
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rounds: yes", ["rounds: input should be a valid integer, got 'yes'; write a whole number", "line 1"]),
        ("clients: {count: 5.0, epochs: true}", ["clients.count", "got 5.0", "clients.epochs", "got True"]),
        ("seed: 1_000", ["seed: input should be a valid integer, got '1_000'"]),
        ("seed: 0\ndistillation:\n  mixed: yes", ["distillation.mixed", "got 'yes'; write true or false", "line 3"]),
        ("distillation: {mixed: 1}", ["distillation.mixed", "got 1; write true or false"]),
        ("clients: {learning_rate: true}", ["clients.learning_rate", "got True; write a number"]),
        ("clients: {learning_rate: '0.1'}", ["clients.learning_rate", "got '0.1'; write a number"]),
        ("data: {root: 7}", ["data.root", "got 7; put it in quotes"]),
        ("data: {client_validation: .nan}", ["data.client_validation", "got nan"]),
        ("privacy: {delta: .inf}", ["privacy.delta", "got inf"]),
        # Options of plug-ins are held to their types like all other keys.
        ("strategy: {name: stacked, folds: 5.0}", ["strategy.folds", "got 5.0; write a whole number"]),
        ("strategy: {name: stacked, folds: '5'}", ["strategy.folds", "got '5'; write a whole number"]),
        ("strategy: {name: stacked, folds: true}", ["strategy.folds", "got True"]),
        ("strategy: {name: stacked, cross_fit: yes}", ["strategy.cross_fit", "got 'yes'; write true or false"]),
        ("strategy: {name: stacked, ridge: .inf}", ["strategy.ridge", "finite", "inf"]),
        ("seed: 0\nstrategy: {name: staked}", ["strategy.name", "did you mean 'stacked'", "line 2"]),
        ("student: {rule: {name: distil, consensus: teachr}}", ["student.rule.consensus", "did you mean 'teacher'?"]),
        ("engine: {kind: inlin}", ["engine.kind", "did you mean 'inline'?"]),
        ("engine: {kind: RAY}", ["engine.kind", "did you mean 'ray'?"]),
        ("clients:\n  count: 2\nclients:\n  epochs: 3", ["line 3: clients is given a second time, first in line 1"]),
        ("rounds: 010", ["line 1: 010 begins with a zero"]),
        ("rounds: 3\nrouns: 3", ["rouns: unknown key", "did you mean 'rounds'?", "line 2"]),
        ("epochs: 3", ["epochs: unknown key", "did you mean 'clients.epochs'?"]),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_line(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refusal:
        load_config(path)
    for word in (*words, "mine.yaml"):
        assert word in str(refusal.value)


def test_the_line_told_is_that_of_the_file_that_has_the_value(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("seed: 1\nrounds: 0\nclients:\n  count: 0\n", encoding="utf-8")
    (tmp_path / "child.yaml").write_text("extends: base.yaml\n\nclients: {epochs: 0}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as refusal:
        load_config(tmp_path / "child.yaml", ["rounds=-1"])
    places = {problem.split(":")[0]: problem.rpartition("; ")[2] for problem in refusal.value.problems}
    assert "base.yaml, line 4" in places["clients.count"]
    assert "child.yaml, line 3" in places["clients.epochs"]
    # The file's value of it is not what is wrong.
    assert "line" not in places["rounds"]


def test_options_are_kept_as_their_types_have_them() -> None:
    one, other = (load_config({"strategy": {"name": "stacked", "ridge": value}}) for value in (1, 1.0))
    assert to_json(one) == to_json(other)
    assert repr(one.strategy.options) == "{'ridge': 1.0}"


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        ({"data": {"root": Path("/data")}}, "data.root: must be text"),
        ({"clients": {"models": {"cnn"}}}, "clients.models: must be text"),
        ({1: 2}, "1: a key must be a name"),
        ({"clients": {True: 2}}, "clients.True: a key must be a name"),
        ({"data": {"root": "\udcff"}}, "data.root: must be text of Unicode"),
        ({"\x1b[31m": 1}, r"\x1b[31m: a key must be a name"),
        ({"x" * 5000: 1}, "xxx…: a key must be a name"),
    ],
)
def test_a_mapping_that_no_file_could_hold_is_refused(raw: dict[Any, Any], word: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load_config(raw)
    assert word in str(refusal.value)
    assert len(str(refusal.value)) < 1000


def test_a_mapping_within_itself_is_refused() -> None:
    raw: dict[str, Any] = {}
    raw["data"] = raw
    with pytest.raises(ConfigError, match="levels deep"):
        load_config(raw)


def test_numbers_of_numpy_are_numbers() -> None:
    raw = {"rounds": np.int64(3), "clients": {"learning_rate": np.float32(0.5)}}
    config = load_config(raw)
    assert (type(config.rounds), config.rounds, config.clients.learning_rate) == (int, 3, 0.5)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "/" + "y/" * 3000])
def test_a_path_that_no_file_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load_config(name)
    assert len(str(refusal.value)) < 400
    (tmp_path / "child.yaml").write_text(f'extends: "{name[:4000]}"'.replace("\0", "\\0"), encoding="utf-8")
    with pytest.raises(ConfigError):
        load_config(tmp_path / "child.yaml")


@pytest.mark.parametrize("name", ["quickstrt", "Quickstart.yaml", "algorithms/fedmp", "configs/fashion_mnst.yaml"])
def test_a_shipped_name_that_is_nearly_right_is_told(name: str) -> None:
    with pytest.raises(ConfigError, match=r"did you mean '(quickstart|algorithms/fedmd|fashion_mnist)'"):
        load_config(name)


def test_a_source_of_another_type_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be a file, a name or a mapping, got 5"):
        load_config(5)  # type: ignore[arg-type]


@given(st.text(st.characters(exclude_categories=["Cs"])), st.floats(1e-30, 1e30), st.integers(0, 2**63 - 1))
@settings(max_examples=100, deadline=None)
def test_any_accepted_configuration_reads_back_as_itself(text: str, number: float, whole: int) -> None:
    raw = {"seed": whole, "data": {"root": text}, "clients": {"learning_rate": number}, "strategy": {"ridge": number}}
    config = load_config(raw)
    found = parse_config(parse_yaml(dump_yaml(to_mapping(config))))
    assert found == config
    assert to_json(found) == to_json(config)


def test_changes_are_a_list() -> None:
    with pytest.raises(ConfigError, match=r"overrides: must be a list of key\.path=value, got 'rounds=2'"):
        load_config({}, "rounds=2")
