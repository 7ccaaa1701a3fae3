"""Trackers get what the run has on disk, once; what happens to them is no affair of the run's."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fedkd import FedkdError, Run, distil_network, load_config, load_run, run_experiment
from fedkd.config.identity import run_digest
from fedkd.config.load import to_mapping
from fedkd.results.observer import Silent
from fedkd.results.records import RoundRecord
from tests.support.drawn_figures import figures_drawn

SMALL = {
    "rounds": 2,
    "data": {"private_size": 60, "public": {"size": 40, "labelled": 20}},
    "clients": {"count": 2, "epochs": 1},
    "student": {"model": {"name": "mlp", "hidden": [8]}},
    "distillation": {"steps": 6, "measure_every": 2},
    "controls": ["public_only", "teacher_only"],
    "engine": {"kind": "inline"},
}
FAILING = [
    f"{{name: 'tests.support.trackers:Failing', at: {at}}}" for at in ("begin", "curves", "table", "figure", "end")
]


class Listener(Silent):
    """Keeps what is noticed, and ends the run as soon as a round is on disk."""

    def __init__(self, last: int = 0) -> None:
        self.texts: list[str] = []
        self._last = last

    def noticed(self, text: str) -> None:
        self.texts.append(text)

    def round_ended(self, record: RoundRecord, seconds: float) -> None:
        if record.round == self._last:
            raise KeyboardInterrupt


def events(run: Path) -> EventAccumulator:
    found = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0, "tensors": 0})
    found.Reload()
    return found


def store(run: Path) -> tuple[MlflowClient, str]:
    client = MlflowClient(f"sqlite:///{run.parent / 'mlflow.db'}")
    return client, (run / "mlflow_run.txt").read_text(encoding="utf-8").strip()


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Interrupted when its last round was on disk and nobody had been told of it, and resumed."""
    out = tmp_path_factory.mktemp("runs") / "followed"
    config = load_config(SMALL, ["tracking=[tensorboard, mlflow]"])
    with pytest.raises(KeyboardInterrupt):
        run_experiment(config, out, Listener(2))
    client, run = store(out)
    assert client.get_run(run).info.status == "KILLED"
    assert [each.step for each in client.get_metric_history(run, "round/student_accuracy")] == [1]
    listener = Listener()
    with figures_drawn():
        found = run_experiment(config, out, listener, resume=True)
    assert not [text for text in listener.texts if "tracking" in text]
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_experiment(load_config(SMALL), tmp_path_factory.mktemp("runs") / "plain")


def test_tensorboard_has_every_number_once(followed: Run) -> None:
    found = events(followed.folder)
    for name in ("student_accuracy", "teacher_accuracy", "bytes_up"):
        curve = found.Scalars(f"round/{name}")
        assert [each.step for each in curve] == [1, 2]
        assert [each.value for each in curve] == pytest.approx(list(followed.rounds[name]), rel=1e-6)
    curve = found.Scalars("step/lambda")
    assert [each.step for each in curve] == list(range(12))
    assert [each.value for each in curve] == pytest.approx(list(followed.steps["lambda"]), rel=1e-6)
    measured = followed.steps["measured_decrease"].dropna()
    assert [each.step for each in found.Scalars("step/measured_decrease")] == list(measured.index)
    control = found.Scalars("control/teacher_only")
    assert [(each.step, each.value) for each in control] == [
        (2, pytest.approx(followed.summary.controls["teacher_only"]))
    ]
    pictures = {f"figures/{path.stem}" for path in (followed.folder / "plots").glob("*.png")}
    assert set(found.Tags()["images"]) == pictures
    texts = {
        name: str(found.Tensors(f"{name}/text_summary")[0].tensor_proto.string_val[0])
        for name in ("configuration", "summary")
    }
    assert "private_size: 60" in texts["configuration"]
    assert str(followed.summary.student_sha256) in texts["summary"]


def test_mlflow_has_every_number_once(followed: Run) -> None:
    client, run = store(followed.folder)
    found = client.get_run(run)
    assert found.info.status == "FINISHED"
    assert len(client.search_runs([found.info.experiment_id])) == 1
    for key, frame, column in (
        ("round/student_accuracy", followed.rounds, "student_accuracy"),
        ("step/lambda", followed.steps, "lambda"),
    ):
        curve = sorted(client.get_metric_history(run, key), key=lambda each: each.step)
        assert [each.value for each in curve] == list(frame[column])
    assert found.data.params["data.private_size"] == "60"
    files = {each.path for folder in ("figures", "tables") for each in client.list_artifacts(run, folder)}
    assert {"figures/accuracy.png", "tables/clients.csv", "tables/controls.csv", "tables/summary.csv"} <= files
    path = client.download_artifacts(run, "tables/clients.csv")
    rows = list(csv.DictReader(io.StringIO(Path(path).read_text(encoding="utf-8"))))
    assert [(row["round"], row["client"]) for row in rows] == [("2", "0"), ("2", "1")]


def test_a_run_that_is_followed_is_the_run_that_is_not(followed: Run, plain: Run) -> None:
    for name in ("rounds.jsonl", "clients.csv", "distillation.csv"):
        assert (followed.folder / name).read_bytes() == (plain.folder / name).read_bytes()
    assert followed.summary.student_sha256 == plain.summary.student_sha256
    digests = {run_digest(to_mapping(run.config)) for run in (followed, plain)}
    assert len(digests) == 1
    assert load_run(followed.folder).config.tracking[0].name == "tensorboard"


def test_who_follows_later_is_told_from_the_beginning(plain: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_experiment(load_config(SMALL, ["rounds=1"]), out)
    later = run_experiment(load_config(SMALL, ["tracking=tensorboard"]), out, resume=True)
    assert [each.step for each in events(out).Scalars("round/student_accuracy")] == [1, 2]
    assert [each.step for each in events(out).Scalars("step/lambda")] == list(range(12))
    assert later.summary.student_sha256 == plain.summary.student_sha256


def told(out: Path, tracking: Sequence[str]) -> tuple[Run, list[str]]:
    listener = Listener()
    changes = [f"tracking=[{', '.join(tracking)}]", "rounds=1", "controls=[]"]
    return run_experiment(load_config(SMALL, changes), out, listener), listener.texts


@pytest.mark.usefixtures("drawn_figures")
def test_trackers_that_fail_are_told_of_once_and_end_nothing(tmp_path: Path) -> None:
    nowhere = "{name: tensorboard, folder: /proc/fedkd}"
    run, (first, *texts) = told(tmp_path / "run", [nowhere, *FAILING, "tensorboard"])
    assert run.finished
    assert first.startswith("tracking: tensorboard failed and is left out from here; the run goes on")
    assert "/proc/fedkd" in first
    assert len(texts) == len(FAILING)
    assert all(text.startswith("tracking: tests.support.trackers:Failing failed") for text in texts)
    assert sum("No space left on device" in text for text in texts) == 4
    assert [each.step for each in events(run.folder).Scalars("round/student_accuracy")] == [1]


def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedkd.results.tracker.find_spec", lambda name: None)
    _, texts = told(tmp_path / "run", ["tensorboard", "mlflow"])
    assert "tensorboard not installed; pip install 'fedkd[tensorboard]'" in texts[0]
    assert "mlflow, sqlalchemy, alembic not installed; pip install 'fedkd[mlflow]'" in texts[1]


def test_trackers_are_named_as_every_plug_in(tmp_path: Path) -> None:
    assert load_config({"tracking": "tensorboard"}) == load_config({"tracking": ["tensorboard"]})
    with pytest.raises(
        FedkdError, match=r"tracking\.0\.name: unknown tracker 'tensorbord'; did you mean 'tensorboard'"
    ):
        load_config({"tracking": "tensorbord"})
    with pytest.raises(
        FedkdError, match=r"tracking\.0\.experimnt: unknown option of MLflow.*did you mean 'experiment'"
    ):
        load_config({"tracking": [{"name": "mlflow", "experimnt": "x"}]})
    with pytest.raises(FedkdError, match="tracking: follows the rounds of `fedkd run`"):
        distil_network(load_config({"tracking": "tensorboard", "teacher": {"model": "mlp"}}), tmp_path / "run")
