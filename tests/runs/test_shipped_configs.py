"""Every shipped configuration runs from its first round to its summary, with little of everything.

On the digits, but for the examples of other data.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
from studies.given_work import write_files

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.core import plugins
from fedkd.data.datasets.word_lists import WordLists
from fedkd.results.report.run_log import RunLog
from fedkd.server.student_rule import StudentRule
from tests.support import ROOT

CONFIGS = ROOT / "configs"
FILES = sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent.name not in ("toolkit", "tuned"))
"""Those of ``tuned`` are those of ``algorithms`` with other numbers."""
LITTLE = (
    *("engine.kind=inline", "rounds=2", "controls=[]", "data.dataset=digits", "data.private_size=160"),
    *("data.public.size=60", "data.public.dataset=null", "clients.epochs=1", "distillation.steps=4"),
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS).with_suffix("")))
def test_it_runs(path: Path, tmp_path: Path) -> None:
    shipped = load_config(path)
    less = [f"data.public.labelled={min(30, shipped.data.public.labelled)}"]
    if shipped.clients.per_round == shipped.clients.count:
        less.append(f"clients.count={min(4, shipped.clients.count)}")
    if shipped.data.public.round_size is not None:
        less.append("data.public.round_size=20")
    if shipped.data.public.size == 0:
        less.append("data.public.size=0")
    if path.parent.name == "examples":
        dataset = shipped.data.dataset.name
        if dataset == "word_lists" and not WordLists().available(tmp_path):
            pytest.skip("needs Debian's word lists")
        less.append(f"data.dataset.name={dataset}")
    less += given_files(path, less, tmp_path)
    config = load_config(path, [*without_repetition(LITTLE, less), *less])
    summary = run_experiment(config, tmp_path / "run").summary
    rule: type[StudentRule] = plugins.resolve(plugins.STUDENT_RULE, config.student.rule.name)
    assert (summary.rounds, summary.failures) == (2, 0)
    assert summary.bytes_up > 0
    assert (summary.teacher_accuracy is not None) == rule.teaches
    assert summary.clients == config.clients.count
    assert (tmp_path / "run" / "summary.json").is_file()


def without_repetition(words: Sequence[str], others: Sequence[str]) -> list[str]:
    set_elsewhere = {word.partition("=")[0].removesuffix(".name") for word in others}
    return [word for word in words if word.partition("=")[0] not in set_elsewhere]


def given_files(path: Path, less: Sequence[str], folder: Path) -> list[str]:
    """Where the files are that a configuration is given, of a size that fits."""
    changes = [*without_repetition(LITTLE, less), *less]
    if load_config(path).data.partition.scheme != "given":
        return []
    files = [f"data.partition.path={folder / 'partition.json'}", f"student.init={folder / 'init.pt'}"]
    write_files(load_config(path, [*changes, *files]), samples=160, alpha=0.5, seed=0)
    return files


def test_there_are_configurations() -> None:
    assert {path.parent.name for path in FILES} >= {"configs", "algorithms", "reproductions", "benchmarks", "examples"}


def test_scarlet_asks_less_than_ds_fl_and_sends_back_what_is_new(tmp_path: Path) -> None:
    few = ["rounds=3", "data.public.labelled=10", "data.public.round_size=40", "clients.count=3"]
    sent = {}
    for name in ("ds_fl", "scarlet"):
        config = load_config(CONFIGS / f"algorithms/{name}.yaml", [*without_repetition(LITTLE, few), *few])
        run_experiment(config, tmp_path / name)
        sent[name] = [(row["bytes_up"], row["bytes_down"]) for row in RunLog.read(tmp_path / name).rounds]
    # In the first round nothing is known; later, most of each round's forty of fifty samples are.
    assert sent["scarlet"][0][0] == sent["ds_fl"][0][0]
    for scarlet, ds_fl in zip(sent["scarlet"][1:], sent["ds_fl"][1:], strict=True):
        assert scarlet[0] < 0.6 * ds_fl[0]
    assert sent["scarlet"][2][1] < 0.6 * sent["ds_fl"][2][1]
