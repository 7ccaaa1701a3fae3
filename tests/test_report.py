"""The observatory and the report of a run: finished, unfinished, damaged, and hostile."""

import csv
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fedkd import cli
from fedkd.app import run_experiment
from fedkd.config import parse_config
from fedkd.errors import RunError
from fedkd.report.comparisons import COMPARISONS
from fedkd.report.html import write_report
from fedkd.report.observatory import (
    FIGURES,
    draw_accuracy,
    draw_decrease_curves,
    draw_fidelity,
    draw_gradients,
    draw_lambda,
    save_observatory,
)
from fedkd.report.observatory._lambda import running_median
from fedkd.report.run_log import RunLog

SMALL = {
    "rounds": 2,
    "data": {"private_size": 60, "public": {"size": 40, "labelled": 20}},
    "clients": {"count": 2},
    "student": {"model": {"name": "mlp"}},
    "distillation": {"steps": 8, "measure_every": 2},
    "controls": ["public_only", "local_only"],
    "engine": {"kind": "inline"},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "real"
    run_experiment(parse_config(SMALL), out)
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def unfinished(run: Path) -> Path:
    """As after an interruption in the middle of writing down the second round."""
    (run / "summary.json").unlink()
    rounds = (run / "rounds.jsonl").read_text(encoding="utf-8")
    first, second = rounds.splitlines()
    (run / "rounds.jsonl").write_text(f"{first}\n{second[:40]}", encoding="utf-8")
    return run


def set_steps(run: Path, rows: Sequence[Mapping[str, float | str]]) -> RunLog:
    """Replace distillation.csv; what a row does not give is blank."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with (run / "distillation.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return RunLog.read(run)


def texts(figure: Figure) -> str:
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    found += [axes.get_title(loc="left") for axes in figure.axes]
    found += [label for axes in figure.axes for label in (axes.get_xlabel(), axes.get_ylabel())]
    return "\n".join(found)


def xs(line: Line2D) -> list[float]:
    numbers: list[float] = np.asarray(line.get_xdata(), dtype=np.float64).tolist()
    return numbers


def ys(line: Line2D) -> list[float]:
    numbers: list[float] = np.asarray(line.get_ydata(), dtype=np.float64).tolist()
    return numbers


class Page(HTMLParser):
    """The text of a page, its tags, and whatever it refers to."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in {"meta", "img", "link"}:
            self.open.append(tag)
        self.references += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "data", "action"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


# Figures


def test_every_figure_is_a_png_with_something_on_it_and_pyplot_stays_untouched(run: Path) -> None:
    backend, settings = matplotlib.get_backend(), dict(matplotlib.rcParams)
    paths = save_observatory(run)
    assert [path.relative_to(run).as_posix() for path in paths] == [f"plots/{name}.png" for name in FIGURES]
    for path in paths:
        image = matplotlib.image.imread(path)
        assert min(image.shape[:2]) > 400
        assert image[..., :3].std() > 0.02
    assert matplotlib.get_backend() == backend
    assert dict(matplotlib.rcParams) == settings


def test_lambda_is_drawn_at_each_step_with_a_median_per_round(run: Path) -> None:
    weights = [0.1, 0.9, 0.2, 0.3, 0.8, 0.6, 0.6, 0.6]
    rows = [{"round": 1 + place // 5, "step": place % 5, "lambda": weight} for place, weight in enumerate(weights)]
    figure = draw_lambda(set_steps(run, rows))
    raw, first, second = (line for line in figure.axes[0].lines if len(xs(line)) > 2)
    assert ys(raw) == weights
    # Windows of three steps: the medians of {1, 9}, {1, 9, 2}, {9, 2, 3}, {2, 3, 8} and {3, 8} tenths.
    assert ys(first) == pytest.approx([0.5, 0.2, 0.3, 0.3, 0.55])
    assert ys(second) == pytest.approx([0.6, 0.6, 0.6])
    assert xs(second) == [5, 6, 7]
    assert "round 1\n2\n" in texts(figure)


def test_the_running_median_keeps_the_length_and_ignores_single_spikes() -> None:
    spiky = np.array([1.0, 1.0, 50.0, 1.0, -9.0, 1.0, 1.0])
    for width in (3, 4, 5, 20):
        assert running_median(spiky, width).tolist() == [1.0] * 7


def test_gradients_are_drawn_where_they_were_taken_and_vanished_ones_leave_the_log_scale(run: Path) -> None:
    rows: list[dict[str, float | str]] = [
        {"round": 1, "step": 0, "norm_dist": 2.0, "norm_cls": 0.5, "cos": 0.25},
        {"round": 1, "step": 1},
        {"round": 1, "step": 2, "norm_dist": 1.0, "norm_cls": 0.0, "cos": 0.0},
    ]
    above, below = draw_gradients(set_steps(run, rows)).axes
    cosine = next(line for line in above.lines if xs(line) == [0, 2])
    assert ys(cosine) == [0.25, 0.0]
    lines = {str(line.get_label()).split(", ")[-1]: line for line in below.lines}
    assert ys(lines["distillation"]) == [2.0, 1.0]
    assert ys(lines["labels"]) == [0.5]
    assert below.get_yscale() == "log"


def test_curves_of_q_show_the_lambda_used_and_the_minimum(run: Path) -> None:
    # Norms 1 and 2, orthogonal: q(λ) = λ² + 4(1−λ)², least at λ = 0.8 with 0.8.
    rows = [
        {"round": round, "step": step, "lambda": 0.5, "norm_dist": 1, "norm_cls": 2, "cos": 0}
        for round in (1, 2, 3)
        for step in range(9)
    ]
    figure = draw_decrease_curves(set_steps(run, rows))
    assert [axes.get_title(loc="left").split(":")[0] for axes in figure.axes] == ["Round 1", "Round 3"]
    for axes in figure.axes:
        curves = [line for line in axes.lines if len(xs(line)) > 100]
        assert [line.get_label() for line in curves] == ["start", "quarter", "half", "three quarters", "end"]
        for line in curves:
            assert xs(line)[:: len(xs(line)) - 1] == [0.0, 1.0]
            assert ys(line)[:: len(xs(line)) - 1] == pytest.approx([4.0, 1.0])
        points = {
            (marker, round(xs(line)[0], 6), round(ys(line)[0], 6))
            for line in axes.lines
            if len(xs(line)) == 1 and (marker := line.get_marker()) in {"o", "v"}
        }
        assert points == {("o", 0.5, 1.25), ("v", 0.8, 0.8)}


def test_curves_use_the_nearest_step_whose_gradients_were_taken(run: Path) -> None:
    rows: list[dict[str, float | str]] = [{"round": 1, "step": step, "lambda": 0.5} for step in range(9)]
    rows[1] |= {"norm_dist": 3, "norm_cls": 2, "cos": 1}
    (axes,) = draw_decrease_curves(set_steps(run, rows)).axes
    (curve,) = (line for line in axes.lines if len(xs(line)) > 100)
    # Aligned gradients of norms 2 and 3: q(λ) = (2 + λ)².
    assert ys(curve) == pytest.approx([(2 + weight) ** 2 for weight in xs(curve)])


def test_fidelity_states_the_median_ratio_of_the_measured_steps(run: Path) -> None:
    pairs = [(1.0, 0.5), (2.0, 1.2), (4.0, 3.0), (0.0, 0.1)]
    rows: list[dict[str, float | str]] = [
        {"round": 1, "step": place, "predicted_decrease": predicted, "measured_decrease": measured}
        for place, (predicted, measured) in enumerate(pairs)
    ]
    rows.append({"round": 1, "step": 4, "predicted_decrease": 8.0})
    figure = draw_fidelity(set_steps(run, rows))
    panel, bar = figure.axes
    assert "median of measured/predicted: 0.60, 4 steps" in texts(figure)
    assert np.asarray(panel.collections[0].get_offsets()).tolist() == [list(pair) for pair in pairs]
    assert panel.get_xscale() == "symlog"
    assert panel.get_xlim() == panel.get_ylim()
    assert "step" in bar.get_ylabel()


def test_fidelity_of_each_loss_and_the_learning_rate_are_shown_where_recorded(run: Path) -> None:
    row = {"round": 1, "predicted_decrease": 1.0, "measured_decrease": 1.0}
    more = {"predicted_decrease_dist": 2.0, "measured_decrease_dist": 1.0}
    more |= {"predicted_decrease_cls": -1.0, "measured_decrease_cls": -2.0}
    rows = [row | more | {"step": step, "learning_rate": 0.1 / (step + 1)} for step in range(3)]
    figure = draw_fidelity(set_steps(run, rows))
    assert [axes.get_title(loc="left") for axes in figure.axes[:3]] == ["Total loss", "Distillation loss", "Label loss"]
    assert [axes.get_xscale() for axes in figure.axes[:3]] == ["log", "log", "symlog"]
    for ratio in ("1.00", "0.50", "2.00"):
        assert f"median of measured/predicted: {ratio}, 3 steps" in texts(figure)
    assert figure.axes[3].get_ylabel() == "learning rate"


def test_fidelity_of_a_real_run_shows_its_measured_steps(finished: Path) -> None:
    log = RunLog.read(finished)
    figure = draw_fidelity(log)
    assert texts(figure).count(", 8 steps") == 3, "two rounds of eight steps, every second one measured"
    assert [axes.get_title(loc="left") for axes in figure.axes[:3]] == ["Total loss", "Distillation loss", "Label loss"]
    dots = np.asarray(figure.axes[0].collections[0].get_offsets())
    assert dots[:, 1].tolist() == log.steps["measured_decrease"][::2].tolist()


@pytest.mark.parametrize(("mode", "words"), [("exact", ""), ("last_layer", "last layer only"), ("logits", "logits")])
def test_titles_say_where_the_gradients_were_taken(run: Path, mode: str, words: str) -> None:
    (run / "config.yaml").write_text(f"distillation: {{geometry: {{mode: {mode}}}}}", encoding="utf-8")
    log = RunLog.read(run)
    for draw in (draw_gradients, draw_decrease_curves):
        title = draw(log).axes[0].get_title(loc="left")
        assert words in title
        assert (", " in title) == bool(words)


def test_fidelity_says_when_nothing_was_measured(run: Path) -> None:
    rows = [{"round": 1, "step": 0, "predicted_decrease": 1.0}]
    assert "No decrease was measured" in texts(draw_fidelity(set_steps(run, rows)))


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e15])
@pytest.mark.parametrize("count", [1, 3])
def test_figures_bear_numbers_of_any_size(run: Path, scale: float, count: int) -> None:
    numbers = {"norm_dist": scale, "norm_cls": 2 * scale, "cos": -1.0, "lambda": 1.0, "predicted_decrease": scale}
    rows = [{"round": 1, "step": step, "measured_decrease": -scale, **numbers} for step in range(count)]
    set_steps(run, rows)
    assert all(path.stat().st_size > 5000 for path in save_observatory(run))


def test_accuracy_shows_student_teacher_and_every_control(run: Path) -> None:
    log = RunLog.read(run)
    assert log.summary is not None
    (axes,) = draw_accuracy(log).axes
    lines = {str(line.get_label()): line for line in axes.lines}
    expected = [100 * record["student_accuracy"] for record in log.rounds]
    assert xs(lines["student"]) == [1, 2]
    assert ys(lines["student"]) == pytest.approx(expected)
    history = log.summary["control_history"]["public_only"]
    assert ys(lines["public_only (control)"]) == pytest.approx([100 * share for share in history])
    level = set(ys(lines["local_only (control)"]))
    assert level == {100 * log.summary["controls"]["local_only"]}
    assert {"teacher, on public samples", "student, on validation"} <= lines.keys()


# The report


def test_the_report_is_one_file_that_refers_to_nothing(run: Path) -> None:
    path = write_report(run)
    assert path == run / "report.html"
    found = page(path)
    assert found.tags.count("img") == len(FIGURES) + 1
    assert all(reference.startswith("data:image/png;base64,") for reference in found.references)
    assert not {"script", "link", "iframe"} & set(found.tags)
    source = path.read_text(encoding="utf-8")
    assert "http" not in source
    assert "url(" not in source
    assert not found.open


def test_the_report_holds_results_rounds_versions_and_the_configuration(run: Path) -> None:
    found = page(write_report(run))
    log = RunLog.read(run)
    assert log.summary is not None
    student = log.summary["student_accuracy"]
    for name, share in log.summary["controls"].items():
        assert f"{name} {100 * share:.1f}% {100 * (student - share):+.1f} points {COMPARISONS[name]}" in found.text
    for record in log.rounds:
        assert f"{record['mean_lambda']:.3f}" in found.text
        assert f"{100 * record['student_accuracy']:.1f}%" in found.text
    for name, version in log.summary["versions"].items():
        assert f"{name} {version}" in found.text
    assert (run / "config.yaml").read_text(encoding="utf-8") in found.words
    assert log.summary["student_sha256"] in found.text
    assert "not finished" not in found.text
    assert "No client's report was dropped" in found.text


def test_an_unfinished_run_gets_a_report_that_says_so(unfinished: Path) -> None:
    found = page(write_report(unfinished))
    accuracy = json.loads((unfinished / "rounds.jsonl").read_text(encoding="utf-8").splitlines()[0])["student_accuracy"]
    assert "not finished: 1 of 2 rounds" in found.text
    assert f"After round 1 the student's test accuracy is {100 * accuracy:.1f}%" in found.text
    assert found.tags.count("img") == len(FIGURES) + 1


def test_a_run_stopped_before_its_first_round_gets_a_report(unfinished: Path) -> None:
    (unfinished / "rounds.jsonl").write_text("", encoding="utf-8")
    (unfinished / "timings.jsonl").unlink()
    header = (unfinished / "distillation.csv").read_text(encoding="utf-8").splitlines()[0]
    (unfinished / "distillation.csv").write_text(f"{header}\n", encoding="utf-8")
    found = page(write_report(unfinished))
    assert "not finished: 0 of 2 rounds" in found.text
    assert "No round is finished" in found.text
    assert "No distillation step is recorded" in texts(draw_lambda(RunLog.read(unfinished)))


def test_dropped_clients_are_listed_with_their_reason(run: Path) -> None:
    records = [json.loads(line) for line in (run / "rounds.jsonl").read_text(encoding="utf-8").splitlines()]
    records[1]["failures"] = [{"client": client, "reason": "not finite"} for client in (3, 5)]
    records[1]["failures"].append({"client": 4, "reason": "late"})
    (run / "rounds.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    text = page(write_report(run)).text
    assert "2 3, 5 not finite" in text
    assert "2 4 late" in text


def test_markup_in_a_run_is_shown_and_not_obeyed(run: Path) -> None:
    evil = "<script>alert('&amp;')</script><img src=x onerror=alert(1)>"
    records = [json.loads(line) for line in (run / "rounds.jsonl").read_text(encoding="utf-8").splitlines()]
    records[0]["failures"] = [{"client": evil, "reason": evil}]
    (run / "rounds.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    summary |= {"versions": {evil: evil}, "student_sha256": evil, "controls": {evil: 0.5}}
    (run / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    (run / "config.yaml").write_text(f"seed: {json.dumps(evil)}\nrounds: 2\n", encoding="utf-8")
    # A file name holds no slash.
    folder = run.rename(run.with_name(evil.replace("/", "")))
    clean = page(write_report(folder))
    assert "script" not in clean.tags
    assert clean.tags.count("img") == len(FIGURES) + 1
    assert all(reference.startswith("data:") for reference in clean.references)
    # Failure twice, version twice, digest, control, header, configuration.
    assert clean.text.count(evil) == 8
    assert folder.name in clean.text


def test_a_folder_without_a_run_is_refused_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        monkeypatch.setattr(sys, "argv", ["fedkd", "report", str(folder)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == cli.EXIT_RUN_FAILED
        message = capsys.readouterr().err
        assert f"{folder} holds no run" in message
        assert "fedkd run" in message
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_are_named(run: Path) -> None:
    rounds = run / "rounds.jsonl"
    whole = rounds.read_text(encoding="utf-8")
    rounds.write_text("{oops\n" + whole, encoding="utf-8")
    with pytest.raises(RunError, match=r"rounds\.jsonl: line 1 is not valid JSON"):
        write_report(run)
    rounds.write_text(whole, encoding="utf-8")
    (run / "summary.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match=r"summary\.json cannot be read"):
        write_report(run)


def test_the_command_prints_where_the_report_is(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fedkd", "report", str(run)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 0
    assert capsys.readouterr().out.split() == [str(run / "report.html")]
    assert (run / "report.html").is_file()
    # Again, over the first.
    assert write_report(run).is_file()
    assert not (run / "report.html.partial").exists()
