"""Algorithms that never ask about public samples do without any, and what needs some says so."""

from pathlib import Path

import pytest
from flwr.app.user_config import UserConfig

from fedkd.app.audit import audit_run
from fedkd.app.checks import check
from fedkd.app.run import run_experiment
from fedkd.config.load import load_config, to_mapping
from fedkd.config.schema import AuditConfig
from fedkd.config.values import Plugin
from fedkd.core.errors import ConfigError
from fedkd.engines.building import over_grid
from fedkd.results.records import Summary
from fedkd.results.report.run_page import write_report
from tests.support import ROOT
from tests.support.federations import SMALL
from tests.support.local_grid import LocalGrid

NONE = ("data.public.size=0", "data.public.labelled=0", "data.transform=scale")
AVERAGING = ("clients.rule=parameters", "student.rule=average")


def run(out: Path, *overrides: str, resume: bool = False) -> Summary:
    return run_experiment(load_config(SMALL, [*NONE, *overrides]), out, resume=resume).summary


@pytest.mark.parametrize(
    ("client", "student"),
    [
        ("parameters", "average"),
        ("prototypes", "label_means"),
        ("label_logits", "label_means"),
        ("features", "features"),
    ],
)
def test_a_run_without_public_samples_is_whole_and_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: str, student: str
) -> None:
    monkeypatch.setenv("FEDKD_FIGURES", "1")
    rules = (f"clients.rule={client}", f"student.rule={student}", "controls=[fedavg,centralised,local_only]")
    run(tmp_path / "resumed", *rules, "rounds=1")
    resumed = run(tmp_path / "resumed", *rules, "rounds=2", resume=True)
    at_once = run(tmp_path / "run", *rules, "rounds=2")
    assert (resumed.student_sha256, resumed.controls) == (at_once.student_sha256, at_once.controls)
    assert at_once.failures == 0
    assert at_once.teacher_accuracy is None
    assert (tmp_path / "run" / "plots" / "accuracy.png").is_file()
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "nan" not in page.lower().split()


@pytest.mark.parametrize("way", ["privacy.mechanism={name: dp_sgd, noise_multiplier: 1.0}", "clients.proximal=0.1"])
def test_local_training_of_every_kind_does_without(tmp_path: Path, way: str) -> None:
    assert run(tmp_path / "run", *AVERAGING, way, "rounds=1").failures == 0


def test_a_model_beyond_all_bounds_is_left_out_without_public_samples(tmp_path: Path) -> None:
    huge = "clients.attackers={share: 0.25, behaviour: 'tests.support.odd_clients:Huge'}"
    assert run(tmp_path / "run", *AVERAGING, "rounds=1", huge).failures == 1


@pytest.mark.usefixtures("task_identity")
def test_ray_and_flower_give_the_inline_engines_student(tmp_path: Path) -> None:
    inline = run(tmp_path / "inline", *AVERAGING, "rounds=1")
    ray = run(tmp_path / "ray", *AVERAGING, "rounds=1", "engine.kind=ray", "engine.workers=2")
    config = load_config(SMALL, [*NONE, *AVERAGING, "rounds=1"])
    nodes: list[UserConfig] = [
        {"partition-id": node, "num-partitions": 2, "state-dir": str(tmp_path / str(node))} for node in range(2)
    ]
    grid = LocalGrid(2, node_configs=nodes)
    flower = run_experiment(config, tmp_path / "flower", engine=over_grid(grid, join=5.0)).summary
    assert ray.student_sha256 == flower.student_sha256 == inline.student_sha256


def problems(*overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        check(load_config(to_mapping(load_config(SMALL, [*NONE, *AVERAGING])), overrides))
    return caught.value.problems


@pytest.mark.parametrize(
    ("overrides", "starts"),
    [
        (
            ("clients.rule=parameters", "student.rule=average_and_distil"),
            ["data.public.size: student.rule average_and"],
        ),
        (
            ("clients.rule=broadcast", "student.rule=distil"),
            ["data.public.size: student.rule distil teaches", "data.public.size: clients.rule broadcast answers"],
        ),
        (("data.public.labelled=5",), ["data.public.labelled: must not exceed data.public.size = 0"]),
        (("controls=[public_only]",), ["controls: public_only"]),
        (("controls=[teacher_only]",), ["controls: student.rule average has no teacher"]),
        (("data.transform=standardise",), ["data.transform: standardise takes mean and deviation"]),
        (("data.public.round_size=3",), ["data.public.round_size: must not exceed the 0"]),
        (("data.public.dataset=fashion_mnist",), ["data.public.dataset: names where public samples"]),
        (("privacy.mechanism=label_only",), ["privacy.mechanism: it protects logits"]),
        (("privacy.audit.attacks=[loss_threshold]",), ["privacy.audit.attacks: attacks put"]),
    ],
)
def test_what_needs_public_samples_says_so(overrides: tuple[str, ...], starts: list[str]) -> None:
    found = problems(*overrides)
    assert len(found) == len(starts)
    for problem, start in zip(found, starts, strict=True):
        assert problem.startswith(start)
        assert ";" in problem


def test_a_finished_run_without_public_samples_cannot_be_audited(tmp_path: Path) -> None:
    run(tmp_path / "run", *AVERAGING, "rounds=1")
    with pytest.raises(ConfigError, match=r"data\.public\.size: attacks put their candidates"):
        audit_run(tmp_path / "run", AuditConfig(attacks=(Plugin("loss_threshold"),)))


def test_the_shipped_federated_averaging_can_do_without(tmp_path: Path) -> None:
    """As its file says; the digits stand in for its data."""
    small = ("data.dataset=digits", "data.private_size=100", "clients.count=3", "rounds=1", "engine.kind=inline")
    config = load_config(ROOT / "configs/algorithms/fedavg.yaml", [*NONE, *small])
    assert run_experiment(config, tmp_path / "run").summary.failures == 0
