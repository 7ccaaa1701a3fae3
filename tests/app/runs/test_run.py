"""A run in Python: frames hold what files hold, networks are those that were measured, figures those of the report."""

import csv
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from IPython.core.formatters import PNGFormatter
from matplotlib.figure import Figure
from torch import nn

from fedkd import FedkdError, Run, analyse_run, load_config, load_run, run_experiment
from fedkd.app.distil import learn_in_sequence
from fedkd.core.messages import parameter_digest
from fedkd.models import accuracy
from fedkd.results.report.figures import FIGURES
from tests.app.runs.conftest import SMALL
from tests.support import ROOT

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return load_run(folder / "0")


def shown(figure: Figure) -> bytes:
    """What a notebook shows of a figure."""
    content: bytes = PNGFormatter()(figure)
    return content


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_an_experiment_ends_with_its_run(folder: Path, run: Run) -> None:
    again = run_experiment(load_config(SMALL), folder / "0", resume=True)
    assert isinstance(again, Run)
    assert again.summary == run.summary
    assert again.config == run.config == load_config(folder / "0/config.yaml")
    assert again.summary.student_sha256 == json.loads((folder / "0/summary.json").read_text())["student_sha256"]


def test_rounds_have_every_number_of_their_file(run: Run) -> None:
    records = [json.loads(line) for line in (run.folder / "rounds.jsonl").read_text().splitlines()]
    frame = run.rounds
    assert list(frame["round"]) == [1, 2]
    for name in ("student_accuracy", "teacher_accuracy", "mean_lambda", "loss_dist", "bytes_up"):
        assert list(frame[name]) == [record[name] for record in records]
    assert list(frame["validation.accuracy"]) == [record["validation"]["accuracy"] for record in records]
    assert list(frame["clients"]) == [3, 3]
    assert (frame["seconds"] > 0).all()
    assert run.failures.empty
    assert list(run.failures.columns) == ["round", "client", "reason"]


def test_steps_and_clients_have_every_number_of_their_files(run: Run) -> None:
    steps = rows(run.folder / "distillation.csv")
    assert list(run.steps["lambda"]) == [float(row["lambda"]) for row in steps]
    assert list(run.steps["step"]) == [int(row["step"]) for row in steps]
    blank = [row["measured_decrease"] == "" for row in steps]
    assert any(blank)
    assert list(run.steps["measured_decrease"].isna()) == blank
    by_class = [[float(cell) for cell in row["gap_by_class"].split(";")] for row in steps if row["gap_by_class"]]
    assert run.steps["gap_by_class_9"].dropna().tolist() == [row[9] for row in by_class]
    clients = rows(run.folder / "clients.csv")
    assert list(run.clients["up_logits"]) == [int(row["up_logits"]) for row in clients]
    assert list(run.clients["validation_accuracy"]) == [float(row["validation_accuracy"]) for row in clients]


def test_controls_have_a_row_a_round(run: Run) -> None:
    frame = run.controls
    for name, history in run.summary.control_history.items():
        mine = frame[frame["control"] == name]
        assert list(mine["accuracy"]) == history
        assert mine["round"].iloc[-1] == 2


def test_the_student_and_the_ensemble_are_those_that_were_measured(run: Run) -> None:
    data, student = run.experiment.data, run.student()
    assert not student.training
    assert parameter_digest(student.state_dict()) == run.summary.student_sha256
    assert accuracy(student, data.test_inputs, data.test_labels) == run.summary.student_accuracy
    teacher = run.teacher()
    assert accuracy(teacher, data.test_inputs, data.test_labels) == run.summary.controls["teacher_only"]
    assert torch.allclose(teacher(data.test_inputs[:5]).exp().sum(dim=1), torch.ones(5))
    alone = run.student_without_teacher()
    assert accuracy(alone, data.test_inputs, data.test_labels) == run.summary.controls["public_only"]
    # A change to a copy is nobody else's.
    nn.init.zeros_(next(student.parameters()))
    assert parameter_digest(run.student().state_dict()) == run.summary.student_sha256


@pytest.mark.usefixtures("drawn_figures")
def test_every_figure_of_the_report_is_a_method(run: Run) -> None:
    pictures = {f"{name}.png" for name in FIGURES} | {"label_distribution.png"}
    assert {path.name for path in (run.folder / "plots").glob("*.png")} == pictures
    methods = {"lambda": "balance"}
    for name in pictures:
        stem = name.removesuffix(".png")
        figure = getattr(run.plot, methods.get(stem, stem))()
        # What a notebook shows is the file of the report.
        assert shown(figure) == (run.folder / "plots" / name).read_bytes()


def test_a_figure_is_saved_by_its_own_means(run: Run, tmp_path: Path) -> None:
    run.plot.gradients().savefig(tmp_path / "gradients.svg")
    text = (tmp_path / "gradients.svg").read_text(encoding="utf-8")
    assert "mathdefault" not in text


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("audit_roc", r"has no audit; fedkd audit .*makes it"),
        ("compression", r"compression\.json cannot be read.*fedkd distill"),
        ("continual", r"no tasks were learned in sequence"),
    ],
)
def test_a_figure_without_data_says_what_it_needs(name: str, reason: str, run: Run) -> None:
    with pytest.raises(FedkdError, match=reason):
        getattr(run.plot, name)()


def test_what_was_not_measured_is_not_drawn(folder: Path, tmp_path: Path) -> None:
    changes = ["rounds=1", "distillation.measure_classes_every=0", "distillation.measure_every=0", "controls=[]"]
    plain = run_experiment(load_config(SMALL, changes), tmp_path / "run")
    with pytest.raises(FedkdError, match=r"nothing to draw: .*distillation\.measure_classes_every"):
        plain.plot.classes()
    with pytest.raises(FedkdError, match="nothing to draw: No decrease was measured"):
        plain.plot.taylor_fidelity()
    with pytest.raises(FedkdError, match="add public_only to controls"):
        plain.student_without_teacher()
    averaged = ["clients.rule=parameters", "student.rule=average", "controls=[]", "rounds=1"]
    average = run_experiment(load_config(SMALL, averaged), tmp_path / "average")
    assert average.rounds["teacher_accuracy"].isna().all()
    with pytest.raises(FedkdError, match="has no teacher: this algorithm makes none"):
        average.teacher()


class _Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data)


def texts_of(html: str) -> list[str]:
    parser = _Texts()
    parser.feed(html)
    return parser.texts


def test_a_notebook_shows_the_result_as_a_table(run: Run, distilled: Run) -> None:
    shown = texts_of(run._repr_html_())
    share = run.summary.student_accuracy
    assert share is not None
    assert shown[shown.index("student") + 1] == f"{100 * share:.1f}%"
    assert shown[shown.index("MB up") + 1] == f"{run.summary.bytes_up / 1e6:.2f}"
    assert {"public_only", "local_only", "no formal privacy guarantee"} <= set(shown)
    assert "student without teacher" in texts_of(distilled._repr_html_())
    assert repr(run) == f"<Run {run.folder}: 2 of 2 rounds are recorded>"


def test_a_run_is_a_path(run: Run) -> None:
    found = analyse_run(run, {"calibration": {"samples": 50}})
    assert set(found.findings) == {"calibration"}
    assert (Path(run) / "analysis.json").is_file()


def test_a_distillation_of_one_network_is_a_run(distilled: Run) -> None:
    found, data = load_run(distilled), distilled.experiment.data
    assert found.result == distilled.result == json.loads((distilled.folder / "result.json").read_text())
    networks = {
        "teacher": found.teacher(),
        "student": found.student(),
        "student_without_teacher": found.student_without_teacher(),
    }
    for name, network in networks.items():
        assert accuracy(network, data.test_inputs, data.test_labels) == found.result[f"{name}_accuracy"]
    frame = found.compression.set_index("network")
    assert frame.loc["student", "accuracy"] == found.result["student_accuracy"]
    assert len(found.steps) == 16
    assert shown(found.plot.compression()).startswith(PNG)
    for name in ("rounds", "clients", "controls", "log"):
        with pytest.raises(FedkdError, match="distillation of one network, which has no rounds of clients"):
            getattr(found, name)
    with pytest.raises(FedkdError, match=r"run\.result has what came of it"):
        found.summary  # noqa: B018


def test_tasks_learned_in_sequence_are_a_run(tmp_path: Path) -> None:
    tasks = [
        "data.tasks={count: 2}",
        "distillation.steps=2",
        "data.tasks.rehearsed=2",
        "distillation.measure_classes_every=0",
    ]
    learned = learn_in_sequence(load_config(SMALL, tasks), tmp_path / "run")
    found = load_run(tmp_path / "run")
    assert len(found.result["tasks"]) == 2
    assert shown(found.plot.continual()).startswith(PNG)
    assert parameter_digest(found.student().state_dict()) == parameter_digest(learned.student.state_dict())
    with pytest.raises(FedkdError, match="has no teacher"):
        found.teacher()


def test_loading_a_run_imports_neither_pandas_nor_matplotlib(run: Run) -> None:
    code = "import sys, fedkd; fedkd.load_run(sys.argv[1]).summary; print({'pandas', 'matplotlib'} & set(sys.modules))"
    command = [sys.executable, "-c", code, str(run.folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
