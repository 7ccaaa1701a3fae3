"""Which parts of an algorithm fit together, and how those that do not are told."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fedkd import LogitAggregator, ReportStack, Teacher
from fedkd.app.checks import check, composition_faults, faults_elsewhere, notices
from fedkd.config.load import load_config
from fedkd.config.values import Plugin
from fedkd.core.errors import ConfigError
from fedkd.experiment import Experiment
from tests.support import SUPPORT
from tests.support.federations import SMALL

FITTING: list[tuple[str, ...]] = [
    (),
    ("clients.rule=own_model", "clients.models=[cnn, mlp]"),
    ("clients.rule={name: own_model, pretrain_epochs: 2}", "student.rule={name: distil, consensus: student}"),
    ("clients.rule=parameters", "student.rule=average"),
    ("clients.rule=parameters", "student.rule=average", "clients.models=[{name: mlp, hidden: [8]}]"),
    ("clients.rule=parameters", "student.rule=average_and_distil", "clients.models=[cnn, mlp]"),
    ("clients.rule=label_logits", "student.rule=label_means", "clients.models=[cnn, mlp]"),
    ("clients.rule=prototypes", "student.rule=label_means"),
    ("clients.rule=features", "student.rule=features"),
    ("clients.rule=selective",),
    ("clients.rule={name: selective, base: broadcast}",),
    # What is not used cannot be wrong.
    ("clients.rule=parameters", "student.rule=average", "strategy=stacked", "data.public.labelled=0"),
    ("clients.rule=features", "student.rule=features", "clients.attackers.behaviour=lma"),
    ("clients.rule=own_model", "clients.self_distillation=1"),
    ("distillation.temperature=auto",),
    ("clients.rule=parameters", "student.rule=average", "distillation.temperature=auto", "data.public.labelled=0"),
]

AVERAGING = ("clients.rule=parameters", "student.rule=average")
BAD: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "logits where parameters are needed": (
        ("clients.rule=own_model", "student.rule=average"),
        ("clients.rule: own_model sends logits", "student.rule average needs parameters", "exchange one"),
    ),
    "parameters where logits are needed": (
        ("clients.rule=parameters",),
        ("clients.rule: parameters sends parameters", "student.rule distil needs logits"),
    ),
    "means where features are needed": (
        ("clients.rule=prototypes", "student.rule=features"),
        ("prototypes sends label_means", "student.rule features needs features", "needs label_means of the server"),
    ),
    "a temperature that nothing can tell from others": (
        ("distillation.temperature=auto", "data.public.validation=0"),
        (
            "distillation.temperature: auto chooses on the server's validation samples, of which there are none",
            "data.public.validation = 0,",
            "raise these, or name a temperature",
        ),
    ),
    "something nobody sends": (
        ("clients.rule=broadcast", "student.rule=label_means"),
        ("clients.rule: broadcast needs parameters of the server", "student.rule label_means does not offer"),
    ),
    "a consensus where there is none": (
        ("clients.rule=own_model", "student.rule=features"),
        ("clients.rule: own_model needs consensus", "student.rule features does not offer"),
    ),
    "architectures where all start from the student": (
        ("clients.models=[cnn, {name: mlp, hidden: [8]}]",),
        ("clients.models", "clients.rule broadcast", "student.rule distil", "(mlp), got cnn", "clients.rule=own_model"),
    ),
    "architectures that cannot be averaged": (
        (*AVERAGING, "clients.models=[cnn, resnet8]"),
        ("clients.rule parameters", "student.rule average", "got cnn, resnet8", "student.rule=average_and_distil"),
    ),
    "a fitted teacher without labels": (
        ("strategy=stacked", "data.public.labelled=0"),
        ("strategy.name: stacked is fitted on labelled public samples", "data.public.labelled is 0", "raise it"),
    ),
    "forged logits where none are sent": (
        (*AVERAGING, "clients.attackers={share: 0.5, behaviour: lma}"),
        ("clients.attackers.behaviour: lma forges logits", "clients.rule parameters sends parameters"),
    ),
    "a colluder without a share": (
        ("clients.behaviour=hips",),
        ("clients.behaviour: hips is for attackers", "clients.attackers.behaviour", "clients.attackers.share"),
    ),
    "a mechanism on parameters": (
        (*AVERAGING, "privacy.mechanism=label_only"),
        ("privacy.mechanism", "clients.rule parameters sends parameters", "privacy.mechanism=none"),
    ),
    "a former self beside a loss of its own": (
        ("clients.rule=prototypes", "student.rule=label_means", "clients.self_distillation=2"),
        ("clients.self_distillation: it adds to the clients' cross-entropy", "prototypes trains by a loss", "got 2"),
    ),
    "a cache of parameters": (
        (*AVERAGING, "communication.cache_rounds=2"),
        ("communication.cache_rounds: it saves logits", "clients.rule parameters sends parameters, got 2"),
    ),
}


def faults(*overrides: str) -> list[str]:
    return composition_faults(Experiment.of(load_config(SMALL, overrides)))


@pytest.mark.parametrize("overrides", FITTING, ids=" ".join)
def test_parts_that_fit_are_not_complained_about(overrides: tuple[str, ...]) -> None:
    assert faults(*overrides) == []


@pytest.mark.parametrize("case", BAD)
def test_parts_that_do_not_fit_are_named_with_a_remedy(case: str) -> None:
    overrides, words = BAD[case]
    text = "\n".join(faults(*overrides))
    for word in words:
        assert word in text
    with pytest.raises(ConfigError):
        check(load_config(SMALL, overrides))


def test_all_misfits_are_told_at_once_with_what_the_data_refuse() -> None:
    overrides = (
        "clients.rule=parameters",
        "clients.models=[cnn]",
        "communication.cache_rounds=1",
        "data.private_size=9000",
    )
    with pytest.raises(ConfigError) as caught:
        check(load_config(SMALL, overrides))
    starts = [problem.split(":")[0] for problem in caught.value.problems]
    assert starts == ["clients.rule", "clients.models", "communication.cache_rounds", "data.private_size"]


class Scripted(LogitAggregator):
    """A strategy as people define it in the script that they run."""

    def aggregate(self, stack: ReportStack) -> Teacher:
        return Teacher.from_logits(stack.logits.mean(dim=0))


def test_what_the_running_script_defines_is_refused_where_other_processes_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "Scripted", Scripted, raising=False)
    config = load_config(SMALL, ["strategy=__main__:Scripted", "engine.kind=inline"])
    check(config)
    with pytest.raises(ConfigError, match=r"strategy\.name: Scripted .* of Flower cannot import") as refusal:
        check(config, own_engine=False)
    assert len(refusal.value.problems) == 1
    assert "strategies/scripted.py" in str(refusal.value)
    assert "engine.kind" not in str(refusal.value)


def test_such_a_class_is_found_in_options_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "Scripted", Scripted, raising=False)
    config = load_config(SMALL)
    rule = Plugin("selective", {"base": "__main__:Scripted"})
    config = replace(config, clients=replace(config.clients, rule=rule))
    assert len(faults_elsewhere(config, "Ray")) == 1


def test_a_file_that_hides_a_shipped_one_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert notices(load_config(SMALL, ["strategy=median"])) == []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strategies").mkdir()
    shutil.copy(SUPPORT / "sharper.py", tmp_path / "strategies/median.py")
    (notice,) = notices(load_config(SMALL, ["strategy=median"]))
    assert notice == f"strategy median: {tmp_path / 'strategies/median.py'} is used in place of the shipped one"
