"""What a run shows, driven by hand-made events."""

import io
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console as RichConsole

from fedkd.app.cli.console import ConsoleObserver
from fedkd.results.records import Failure, Overview, RoundRecord, Summary

OVERVIEW = Overview(
    dataset="digits",
    classes=10,
    shape=(1, 8, 8),
    private_samples=1042,
    public_samples=400,
    labelled_samples=80,
    validation_samples=20,
    test_samples=100,
    clients=8,
    clients_per_round=8,
    smallest_client=73,
    largest_client=243,
    partition="dirichlet(0.3)",
    student="cnn",
    student_parameters=13706,
    teacher="stacked",
    balancer="energy_share",
    engine="ray",
    rounds=2,
    controls=("public_only",),
    out="runs/[mine]",
    behaviour="honest",
    attackers=(),
    attack="random",
)
RECORD = RoundRecord(
    round=1,
    student_accuracy=0.5,
    validation_accuracy=None,
    teacher_accuracy=None,
    mean_lambda=0.25,
    loss_dist=1.0,
    loss_cls=1.0,
    temperature=2.0,
    bytes_up=2_500_000,
    bytes_down=1,
    clients=(0, 1, 2),
)
SUMMARY = Summary(
    student_accuracy=0.5,
    teacher_accuracy=0.6,
    controls={"centralised": 0.9, "public_only": 0.4, "teacher_only": 0.55, "fedavg": 0.45, "local_only": 0.2},
    control_history={},
    bytes_up=5_000_000,
    bytes_down=1,
    epsilon=None,
    delta=1e-5,
    rounds=2,
    clients=8,
    attackers=(),
    failures=0,
    wall_seconds=3.0,
    student_sha256="",
)


def shown(
    width: int = 100,
    overview: Overview = OVERVIEW,
    record: RoundRecord = RECORD,
    changes: Sequence[str] = (),
    **summary: object,
) -> str:
    """What a run with one round prints into a file."""
    file = io.StringIO()
    rich = RichConsole(file=file, width=width, highlight=False, force_terminal=False)
    with ConsoleObserver(command=("fedkd", "run", "quickstart", *changes), rich=rich) as console:
        console.started(overview)
        for done in range(3):
            console.progress("clients", done, 2)
        console.round_ended(record, 1.5)
        console.control_ended("public_only", 0.4)
        console.finished(replace(SUMMARY, **summary), overview)  # type: ignore[arg-type]
    return file.getvalue()


def test_header_and_round_line() -> None:
    text = shown()
    for words in ("1×8×8", "400 samples", "1,042 private", "73 to 243", "13,706 parameters", "runs/[mine]"):
        assert words in text
    line = next(line for line in text.splitlines() if "1/2" in line)
    assert line.split() == ["1/2", "50.0%", "–", "–", "0.250", "2.50", "1.5"]


def test_the_header_says_who_attacks_and_what_cannot_be_had() -> None:
    assert "attackers" not in shown()
    text = shown(overview=replace(OVERVIEW, attackers=(1, 4), attack="lma", remarks=("few samples",)))
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines() if line.strip()}
    assert lines["attackers"] == "2 of 8 clients, lma: 1, 4"
    assert lines["note"] == "few samples"
    many = shown(overview=replace(OVERVIEW, clients=99, attackers=tuple(range(30)), behaviour="label_noise"))
    assert "17, 18, 19 and 10 more" in " ".join(many.split())
    assert "label_noise, of all other clients" in many


def test_an_algorithm_without_a_student_shows_its_clients() -> None:
    record = replace(RECORD, student_accuracy=None, mean_lambda=None, client_accuracy=0.875)
    text = shown(
        record=record, student_accuracy=None, student_sha256=None, client_accuracy=0.875, client_test_accuracy=0.25
    )
    line = next(line for line in text.splitlines() if "1/2" in line)
    assert line.split() == ["1/2", "–", "–", "87.5%", "–", "2.50", "1.5"]
    assert "standard error" not in text
    assert "87.5%; on the test set: 25.0%" in " ".join(text.split())
    assert not any("points" in line for line in text.splitlines() if line.startswith("public_only"))


def test_closing_table_is_in_the_fixed_order_with_the_difference_to_the_student() -> None:
    order = ("student", "teacher_only", "fedavg", "local_only", "public_only", "centralised")
    lines = [line for line in shown().splitlines() if line.startswith(order) and "%" in line]
    assert [line.split()[0] for line in lines] == list(order)
    assert "-10.0 points" in next(line for line in lines if line.startswith("public_only"))
    assert "+40.0 points" in next(line for line in lines if line.startswith("centralised"))


def test_the_difference_is_that_of_the_percentages_shown() -> None:
    # 84.16 − 78.74 is 5.42, but a reader subtracts 78.7 from 84.2.
    text = shown(student_accuracy=0.8416, controls={"public_only": 0.7874, "fedavg": 0.84161})
    lines = {line.split()[0]: line for line in text.splitlines() if "points" in line}
    assert "78.7%" in lines["public_only"]
    assert "-5.5 points" in lines["public_only"]
    assert "+0.0 points" in lines["fedavg"]


def test_standard_error_of_a_share() -> None:
    # √(0.5·0.5/100) = 0.05
    assert "5.0 points, on 100 test samples" in shown()


@pytest.mark.parametrize("bar", [0.5, 0.6])
def test_a_student_that_does_not_beat_the_labels_alone_is_told_so(bar: float) -> None:
    words = "does not beat the baseline public_only"
    assert words in shown(controls={"public_only": bar})
    assert words not in shown(controls={"public_only": 0.49})
    assert words not in shown(controls={})


def test_dropped_clients_are_named_with_their_reason() -> None:
    reports = (Failure(3, "logits hold NaN [x]"), Failure(4, "logits hold NaN [x]"), Failure(5, "wrong round"))
    text = shown(record=replace(RECORD, failures=reports))
    assert "2 clients dropped from round 1: logits hold NaN [x]" in text
    assert "client 5 dropped from round 1: wrong round" in text


def test_plots_and_next_commands_are_pointed_at(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "label_distribution.png").touch()
    text = shown(overview=replace(OVERVIEW, out=str(tmp_path)))
    assert str(tmp_path / "plots") in text
    assert "fedkd run quickstart strategy.name=mean_probabilities" in text


def test_advised_commands_can_be_repeated_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / "a run" / "plots").mkdir(parents=True)
    (tmp_path / "a run" / "plots" / "label_distribution.png").touch()
    changes = ("clients.models=[cnn, mlp]", "strategy={name: stacked, ridge: 1}", "data.partition.alpha=0.3")
    overview = replace(OVERVIEW, out=str(tmp_path / "a run"))
    advised = [
        line.split("   ")[1] for line in shown(overview=overview, changes=changes).splitlines() if "next" in line
    ]
    assert [shlex.split(command) for command in advised] == [
        ["fedkd", "report", str(tmp_path / "a run")],
        # What is changed takes the place of what was.
        ["fedkd", "run", "quickstart", changes[0], changes[2], "strategy.name=mean_probabilities"],
        ["fedkd", "run", "quickstart", *changes[:2], "data.partition.alpha=0.1"],
    ]


def test_nothing_is_advised_that_changes_nothing_or_proves_nothing() -> None:
    assert "alpha" not in shown(overview=replace(OVERVIEW, partition="iid"))
    assert "another strategy" in shown()
    assert "another strategy" in shown(overview=replace(OVERVIEW, privacy=("no formal privacy guarantee",)))
    hidden = ("no formal privacy guarantee", "the server sees the reports' sum alone")
    assert "another strategy" not in shown(overview=replace(OVERVIEW, privacy=hidden))
    assert "another strategy" not in shown(teacher_accuracy=None)


@pytest.mark.parametrize("width", [20, 40, 60, 80])
def test_narrow_terminals_lose_columns_not_lines(width: int) -> None:
    lines = shown(width).splitlines()
    line = next(line for line in lines if "1/2" in line)
    assert "50.0%" in line or width < 16
    assert len(line) <= width
    assert any("centralised" in line for line in lines)


def test_a_bar_is_taken_away_when_the_run_fails() -> None:
    file = io.StringIO()
    rich = RichConsole(file=file, width=80, force_terminal=True)

    def fail() -> None:
        with ConsoleObserver(rich=rich) as console:
            console.progress("clients", 1, 8)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    written = file.getvalue()
    assert "1/8" in written
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1
