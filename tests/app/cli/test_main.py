"""The command line: what people type, and what it answers to mistakes."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from fedkd.app.cli import main as cli
from fedkd.app.cli.interruption import EXIT_SIGNALLED
from fedkd.config.describe import describe_keys

SMALL = (
    "engine.kind=inline",
    "rounds=1",
    "clients.count=2",
    "clients.epochs=1",
    "data.private_size=60",
    "data.public.size=40",
    "data.public.labelled=20",
    "distillation.steps=3",
    "student.model=mlp",
    "controls=[public_only]",
)


def fedkd(*arguments: str, cwd: Path | None = None, width: int = 120) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "from fedkd.app.cli.main import main; main()", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(width),
        timeout=300,
        check=False,
    )


def environment(width: int = 120) -> dict[str, str]:
    root = Path(cli.__file__).parent.parent
    return os.environ | {"PYTHONPATH": str(root), "COLUMNS": str(width), "PYTHONIOENCODING": "utf-8"}


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Runs ``fedkd run`` in this process, expects it to fail as bad input without writing, and returns its message."""

    def run(*arguments: str, config: str = "strategy: stacked") -> str:
        folder = tmp_path / "work"
        folder.mkdir(exist_ok=True)
        (tmp_path / "config.yaml").write_text(config, encoding="utf-8")
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["fedkd", "run", str(tmp_path / "config.yaml"), *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        assert stopped.value.code == cli.EXIT_BAD_INPUT
        assert "Traceback" not in captured.err
        assert not list(folder.iterdir()), "a refused run must write nothing"
        return captured.err

    return run


# Overrides, and what the message must name: the key, the value, and the rule or remedy.
WRONG = {
    "unknown key": (["clients.cuont=3"], ["clients.cuont", "unknown key", "3", "count"]),
    "wrong type": (["rounds=many"], ["rounds", "whole number", "many"]),
    "alpha not positive": (["data.partition.alpha=0"], ["data.partition.alpha", "greater than 0", "0"]),
    "more labels than public samples": (
        ["data.public.size=50", "data.public.labelled=80"],
        ["data.public.labelled", "data.public.size = 50", "80", "lower"],
    ),
    "more samples than the data set has": (
        ["data.public.size=400", "data.private_size=5000"],
        ["data.private_size", "5000", "digits"],
    ),
    "unknown strategy": (["strategy.name=staked"], ["strategy", "staked", "did you mean 'stacked'"]),
    "bad strategy option": (["strategy.fold=3"], ["strategy.fold", "unknown option", "folds"]),
    "more clients than samples": (
        ["clients.count=90", "data.private_size=60"],
        ["clients.count", "90", "60", "fewer clients"],
    ),
    "negative rounds": (["rounds=-1"], ["rounds", "greater than or equal to 1", "-1"]),
    "no such option value, but one like it": (["engine.kind=inlin"], ["engine.kind", "did you mean 'inline'"]),
    "more than there can be": (["rounds=1000000000000"], ["rounds", "less than or equal to 1000000"]),
    "more clients than memory": (["clients.count=10000000000"], ["clients.count", "less than or equal to 1000000"]),
    "a list without brackets": (["controls=public_only,fedavg"], ["controls", "controls=[public_only,fedavg]"]),
    "no value": (["rounds="], ["rounds", "has no value", "null"]),
    "an output folder of no file system": (["--out", "x" * 5000], ["--out", "xxx…", "can be no path", "another"]),
    "no such option value": (["engine.kind=cluster"], ["engine.kind", "cluster", "ray", "inline"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_configuration_is_refused_at_once_with_key_rule_value_and_remedy(refused, case: str) -> None:  # type: ignore[no-untyped-def]
    overrides, words = WRONG[case]
    message = refused(*overrides)
    for word in words:
        assert word in message


def test_a_gpu_is_refused_exactly_where_there_is_none(refused, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    if torch.cuda.is_available():
        assert fedkd("run", "quickstart", "engine.device=cuda", *SMALL, "--out", str(tmp_path / "run")).returncode == 0
    else:
        message = refused("engine.device=cuda")
        for word in ("engine.device", "GPU", "'cuda'", "engine.device=cpu"):
            assert word in message


def test_all_faults_are_shown_together(refused) -> None:  # type: ignore[no-untyped-def]
    message = refused("rounds=0", "strategy.name=nobody", "clients.cuont=3", "data.partition.alpha=-1")
    assert "4 problems" in message
    for path in ("rounds", "strategy.name", "clients.cuont", "data.partition.alpha"):
        assert re.search(rf"^  - {re.escape(path)}: ", message, re.MULTILINE)


def test_a_missing_file_a_file_that_is_no_yaml_and_a_malformed_override_are_refused(refused, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    assert "is not valid YAML" in refused(config="a: [")
    assert "key.path=value" in refused("clients.count")
    monkeypatch.setattr(sys, "argv", ["fedkd", "run", "no_such_config"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == cli.EXIT_BAD_INPUT


def test_help_of_run_explains_every_configuration_key() -> None:
    text = CliRunner().invoke(cli.app, ["run", "--help"], env={"COLUMNS": "250"}).output
    lines = text.splitlines()
    keys = list(describe_keys())
    assert len(keys) > 40
    for key in keys:
        line = next(line for line in lines if line.startswith(f"{key.path} "))
        assert key.text
        assert f" {key.default} " in line
        assert key.text.split()[0] in line


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys, fedkd.app.cli.main as command\n"
        "command.app(['--help'], standalone_mode=False); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), capture_output=True)


def test_a_run_leaves_plain_lines_in_a_file_and_its_results_in_a_fresh_folder(tmp_path: Path) -> None:
    (tmp_path / "runs/quickstart-1").mkdir(parents=True)
    done = fedkd("run", "quickstart", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "runs/quickstart-2" in done.stdout
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", done.stdout), "control characters do not belong into a file"
    assert done.stdout.count("1/1") == 1
    summary = json.loads((tmp_path / "runs/quickstart-2/summary.json").read_text(encoding="utf-8"))
    assert f"{100 * summary['student_accuracy']:.1f}%" in done.stdout
    assert f"{100 * summary['controls']['public_only']:.1f}%" in done.stdout


def test_a_folder_that_holds_something_is_not_overwritten(refused, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine", encoding="utf-8")
    message = refused(*SMALL, "--out", str(tmp_path / "taken"))
    assert "--out" in message
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["thesis.txt"]


def test_ctrl_c_keeps_the_finished_rounds_and_says_where(tmp_path: Path) -> None:
    out = tmp_path / "run"
    endless = [each.replace("rounds=1", "rounds=100000") for each in SMALL]
    arguments = ["run", "quickstart", *endless, "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-c", "from fedkd.app.cli.main import main; main()", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    rounds = out / "rounds.jsonl"
    while process.poll() is None and not (rounds.is_file() and rounds.read_text(encoding="utf-8").count("\n") >= 2):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == EXIT_SIGNALLED + signal.SIGINT
    kept = rounds.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["round"] for line in kept] == list(range(1, len(kept) + 1))
    assert f"{len(kept)} finished rounds are kept in {out}" in message
    assert "Traceback" not in message


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    environ = environment(70) | {"TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-c", "from fedkd.app.cli.main import main; main()", "run", "quickstart", *SMALL],
        stdout=slave,
        stderr=slave,
        stdin=slave,
        cwd=tmp_path,
        env=environ,
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(master)
    assert process.wait() == 0
    text = shown.decode("utf-8")
    assert "starting the engine" in text
    assert "\x1b[2K" in text, "the bar must be erased"
    assert text.rstrip().endswith("every key)")
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h"), "the cursor must be visible again"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("strategies", ["mean_probabilities", "stacked", "ridge = None"]),
        ("balancers", ["energy_share", "fixed", "value = 0.5"]),
        ("behaviours", ["honest"]),
        ("mechanisms", ["none"]),
        ("datasets", ["digits", "found here"]),
        # LeNet-5's 61,706 parameters are the textbook's number.
        ("models", ["lenet5", "1×28×28", "61,706 parameters", "MFLOPs", "MB"]),
    ],
)
def test_list_names_every_plug_in_with_its_options(kind: str, expected: list[str]) -> None:
    from fedkd.core import plugins

    output = CliRunner().invoke(cli.app, ["list", kind], env={"COLUMNS": "200"}).output
    for word in expected:
        assert word in output
    names = next(plugins.names(found) for found in plugins.KINDS if found.plural == kind)
    assert [line for line in output.splitlines() if line and not line.startswith(" ")] == names


def test_help_of_list_names_every_kind() -> None:
    output = CliRunner().invoke(cli.app, ["list", "--help"], env={"COLUMNS": "300"}).output
    sentence = " ".join(output.split()).partition("KIND is one of ")[2].partition(".")[0]
    assert set(sentence.split(", ")) == {kind.value for kind in cli.Kind}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list", "wizards"], "there is no kind 'wizards'; choose from strategies"),
        (["list", "strategis"], "did you mean 'strategies'?"),
        (["rnu", "quickstart"], "No such command 'rnu'. Did you mean 'run'?"),
        (["sweep", "quickstart", "--out", "o", "--sedes", "1"], "Did you mean '--seeds'?"),
        (["sweep", "quickstart", "--out", "o", "--seeds", "0-9"], "write each of them, as in 0,1,2"),
        (["sweep", "quickstart", "--out", "o", "--seeds", "1_0"], "must be whole numbers from 0 on, got '1_0'"),
        (["sweep", "quickstart", "--out", "o", "--grid", "strategy.nam=a"], "did you mean 'name'?"),
        (["sweep", "quickstart", "--out", "o", "--grid", "strategy.name=staked"], "did you mean 'stacked'?"),
        (["run", "quickstrt"], "did you mean 'quickstart'?"),
    ],
)
def test_a_name_that_is_nearly_right_is_told(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fedkd", *arguments])
    monkeypatch.setenv("COLUMNS", "250")
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == cli.EXIT_BAD_INPUT
    assert words.lower() in " ".join(capsys.readouterr().err.split()).lower()


QUITTING = """
import sys
from dataclasses import dataclass
from fedkd import LogitAggregator
{imported}

@dataclass
class Mine(LogitAggregator):
    def __post_init__(self):
        {made}

    def aggregate(self, stack):
        {aggregated}
"""


@pytest.mark.parametrize(("where", "line", "status"), [("imported", 5, 2), ("made", 10, 2), ("aggregated", 13, 1)])
@pytest.mark.parametrize("what", ["sys.exit(0)", "1 / 0", "raise SystemExit"])
def test_a_plug_in_that_ends_the_process_is_no_good_end(
    where: str,
    line: int,
    status: int,
    what: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parts = {"imported": "", "made": "pass", "aggregated": "pass"} | {where: what}
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies/mine.py").write_text(QUITTING.format(**parts), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fedkd", "run", "quickstart", *SMALL, "strategy.name=mine", "--out", "run"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    message = capsys.readouterr().err
    assert stopped.value.code == status
    assert f"{tmp_path / 'strategies/mine.py'}, line {line}: " in message
    assert "Traceback" not in message
    assert (tmp_path / "run").exists() == (status == 1)
    if status == 1:
        kept = (tmp_path / "run/traceback.txt").read_text(encoding="utf-8")
        assert f"line {line}, in aggregate" in kept
        # There is nothing to go on with.
        assert "--resume" not in message


def test_doctor_reports_versions_and_data() -> None:
    done = fedkd("doctor")
    assert done.returncode == 0, done.stderr
    assert torch.__version__.split("+")[0] in done.stdout
    for word in ("cores", "memory", "GPU", "digits", "ray"):
        assert word in done.stdout


def test_version() -> None:
    from fedkd import __version__

    assert fedkd("--version").stdout.strip() == f"fedkd {__version__}"


def test_data_that_are_not_there_are_bad_input(refused, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "empty").write_text("no folder")
    assert "emnist is not in data.root" in refused(config=f"data: {{dataset: emnist, root: {tmp_path / 'empty'}}}")


def test_of_very_many_faults_the_first_are_told(refused) -> None:  # type: ignore[no-untyped-def]
    message = refused(config=f"distillation: {{balancer: {{name: step, values: {[2] * 500}}}}}")
    assert "501 problems in the configuration" in message
    assert "values.0: " in message
    assert "values.40: " not in message
    assert message.rstrip().endswith("and 471 more; correct these first")
    options = {f"k{index}": 1 for index in range(300)}
    message = refused(config=f"clients: {{rule: {{name: selective, base_options: {options}}}}}")
    assert "k29: unknown option" in message
    assert "and 270 more; correct these first" in message


@pytest.mark.parametrize(
    ("section", "rule"),
    [
        *[
            (f"privacy: {{mechanism: {{name: gaussian_logits, target_epsilon: {value}}}}}", "target_epsilon must lie")
            for value in ("5.0e-324", "0.0", "1.0e-300", "1.0e+300")
        ],
        ("strategy: {name: gaussian_mean, target_epsilon: 1.0e-300}", "target_epsilon must lie between 1e-09"),
        ("strategy: {name: gnmax, noise: 1.0e-300}", "noise must lie between 1e-09 and 1e+09"),
        ("strategy: {name: gaussian_mean, noise: 1.0, clip: 1.0e+300}", "clip must lie between"),
        *[
            (
                f"privacy: {{mechanism: {{name: {name}, noise_multiplier: {value}}}}}",
                "noise_multiplier must lie between",
            )
            for name in ("gaussian_logits", "dp_sgd")
            for value in ("1.0e-300", "1.0e+300")
        ],
        ("privacy: {mechanism: {name: dp_sgd, noise_multiplier: 1.0, clip_norm: -0.0}}", "clip_norm must lie between"),
        ("privacy: {mechanism: {name: top_k, k: 0}}", "privacy.mechanism.k"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_with_a_remedy(refused, section: str, rule: str) -> None:  # type: ignore[no-untyped-def]
    message = refused(config=section)
    assert rule in message
    assert "; " in message
