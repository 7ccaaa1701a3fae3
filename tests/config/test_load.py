"""Configurations: what is read, what is refused, and how the refusal reads."""

from pathlib import Path

import pytest
import yaml

from fedkd.config.describe import describe_keys
from fedkd.config.load import load_config, parse_config, to_json, to_mapping
from fedkd.config.schema import ExperimentConfig, Plugin
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
    assert parse_config(yaml.safe_load(yaml.safe_dump(to_mapping(config)))) == config
    assert to_json(config) == to_json(parse_config(to_mapping(config)))


def test_overrides_reach_into_sections_and_plugins(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("student:\n  model: cnn\nstrategy: {name: stacked}\n")
    config = load_config(
        path, ["clients.count=20", "strategy.ridge=1e-2", "clients.learning_rate=1e-3", "student.model.name=mlp"]
    )
    assert config.clients.count == 20
    assert config.clients.learning_rate == 1e-3
    assert config.strategy.options == {"ridge": "1e-2"}
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
    with pytest.raises(ConfigError, match=rf"{key}\.name: {key} is {value} and has no keys below it"):
        load_config({}, [f"{key}={str(value).lower()}", f"{key}.name=linear"])
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
        "clients.count: input should be a valid integer, unable to parse string as an integer, got 'many'; "
        "write a whole number",
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
