"""What runs share: the same results with it as without, and nothing that could differ."""

import json
from pathlib import Path
from typing import Any

import pytest

import fedkd.app.run
from fedkd.app.run import Means, run_experiment
from fedkd.config.load import load_config
from fedkd.core.errors import RunError
from fedkd.results.cache import Cache

BASE: dict[str, Any] = {
    "rounds": 2,
    "data": {"private_size": 80, "public": {"size": 60, "labelled": 30}},
    "clients": {"count": 3},
    "student": {"model": {"name": "mlp", "hidden": [8]}},
    "distillation": {"steps": 4, "warmup": 2},
    "controls": ["public_only", "local_only", "fedavg", "centralised", "teacher_only"],
    "engine": {"kind": "inline"},
}
OWN_RULE = "from fedkd import ClientRule, Upload\n\n\nclass Own(ClientRule):\n    def respond(self, context):\n" + (
    "        model = context.train(context.experiment.initial_model())\n        return Upload(context.answer(model))\n"
)


class Counting(Cache):
    """Counts what was there and what was not, by kind."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 10**9)
        self.found: dict[str, int] = {}
        self.missed: dict[str, int] = {}

    def load(self, key: str) -> dict[str, Any] | None:
        content, kind = super().load(key), key.partition("-")[0]
        counts = self.missed if content is None else self.found
        counts[kind] = counts.get(kind, 0) + 1
        return content


def results(folder: Path) -> dict[str, Any]:
    names = ("config.yaml", "rounds.jsonl", "distillation.csv", "clients.csv", "public_only.pt")
    found: dict[str, Any] = {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    del summary["wall_seconds"]
    return found | {"summary": summary}


def run(out: Path, cache: Path | None, *overrides: str) -> tuple[dict[str, Any], Counting | None]:
    counting = None if cache is None else Counting(cache)
    run_experiment(load_config(BASE, overrides), out, means=Means(cache=counting))
    return results(out), counting


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("clients.attackers.share=0.4", "clients.attackers.behaviour=label_noise", "communication.uplink=quantise"),
        ("clients.logit_adjustment=1", "clients.self_distillation=1", "data.public.round_size=10"),
        ("student.model=cnn", "clients.fraction=0.7"),
    ],
    ids=["plain", "attackers", "adjusted", "sampled"],
)
def test_results_are_those_of_a_run_without_it(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    alone, _ = run(tmp_path / "alone", None, *overrides)
    cold, first = run(tmp_path / "cold", tmp_path / "cache", *overrides)
    warm, second = run(tmp_path / "warm", tmp_path / "cache", *overrides)
    assert alone == cold == warm
    assert first is not None
    assert second is not None
    assert first.found == {}
    assert first.missed["control"] == 4
    assert first.missed["client"] in {4, 6}
    assert (second.found, second.missed) == (first.missed, {})


def test_other_strategies_and_balancers_share_the_first_round_and_the_controls(tmp_path: Path) -> None:
    run(tmp_path / "first", tmp_path / "cache")
    other = ("strategy.name=median", "distillation.balancer.name=fixed", "distillation.temperature=1.5")
    shared, cache = run(tmp_path / "second", tmp_path / "cache", *other)
    assert cache is not None
    assert cache.found == {"client": 3, "control": 4}
    assert cache.missed == {"client": 3}
    assert shared == run(tmp_path / "alone", None, *other)[0]


@pytest.mark.parametrize(
    "override",
    ["seed=1", "clients.epochs=2", "data.partition.alpha=0.2", "data.public.labelled=29", "student.model.hidden=[9]"],
)
def test_nothing_is_shared_where_clients_differ(tmp_path: Path, override: str) -> None:
    run(tmp_path / "first", tmp_path / "cache")
    _, cache = run(tmp_path / "second", tmp_path / "cache", override)
    assert cache is not None
    assert cache.found == {}


@pytest.mark.parametrize("what", ["versions", "cpu", "processor"])
def test_nothing_is_shared_across_versions_and_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    run(tmp_path / "first", tmp_path / "cache")
    match what:
        case "versions":
            before = fedkd.app.run.versions()
            monkeypatch.setattr(fedkd.app.run, "versions", lambda: before | {"torch": "1.0"})
        case "cpu":
            monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "another")
        case _:
            monkeypatch.setattr("fedkd.app.sharing._processor", lambda: "another")
    _, cache = run(tmp_path / "second", tmp_path / "cache")
    assert cache is not None
    assert cache.found == {}


@pytest.mark.parametrize(
    "overrides",
    [
        ("clients.rule=own_model",),
        ("communication.uplink={name: quantise, delta: true, compress: zlib}",),
        ("privacy.mechanism={name: gaussian_logits, noise_multiplier: 1.0}",),
        ("privacy.mechanism={name: dp_sgd, noise_multiplier: 1.0}",),
        ("privacy.secure_aggregation={}", "strategy=mean_probabilities"),
        ("privacy.entropy=system",),
        ("engine.vectorise=always",),
        ("clients.rule=own",),
    ],
    ids=["memory", "differences", "noise", "dp_sgd", "secure sum", "system", "stacked", "own rule"],
)
def test_clients_share_nothing_that_does_not_follow_from_their_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clients/rules").mkdir(parents=True)
    (tmp_path / "clients/rules/own.py").write_text(OWN_RULE, encoding="utf-8")
    _, cache = run(tmp_path / "run", tmp_path / "cache", *overrides, "controls=[]")
    assert cache is not None
    assert cache.missed == cache.found == {}


def test_a_control_in_which_a_client_failed_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fedkd.client import round as client_round

    local = client_round._local

    def failing(experiment: Any, job: Any, client: int, trainer: Any) -> Any:
        if client == 1:
            raise RunError("out of memory")
        return local(experiment, job, client, trainer)

    monkeypatch.setattr(client_round, "_local", failing)
    run(tmp_path / "first", tmp_path / "cache", "controls=[local_only]")
    monkeypatch.undo()
    mended, cache = run(tmp_path / "second", tmp_path / "cache", "controls=[local_only]")
    assert cache is not None
    assert "control" in cache.missed
    assert mended == run(tmp_path / "alone", None, "controls=[local_only]")[0]
