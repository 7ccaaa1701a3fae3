"""Figures: what each shows of a run."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from fedkd.results.report.figures import FIGURES
from fedkd.results.report.figures._lambda import running_median
from fedkd.results.report.figures.run_figures import (
    draw_accuracy,
    draw_classes,
    draw_decrease_curves,
    draw_fidelity,
    draw_gradients,
    draw_lambda,
    save_figures,
)
from fedkd.results.report.run_log import RunLog
from fedkd.results.report.style import LABELS, STUDENT, TEACHER
from tests.support.changed_runs import make_agree
from tests.support.figure_texts import texts


def set_steps(run: Path, rows: Sequence[Mapping[str, float | str]]) -> RunLog:
    """Replace distillation.csv; what a row does not give is blank."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with (run / "distillation.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    make_agree(run)
    return RunLog.read(run)


def fail(notice: str) -> None:
    """For figures that must all be drawn."""
    raise AssertionError(notice)


def xs(line: Line2D) -> list[float]:
    numbers: list[float] = np.asarray(line.get_xdata(), dtype=np.float64).tolist()
    return numbers


def ys(line: Line2D) -> list[float]:
    numbers: list[float] = np.asarray(line.get_ydata(), dtype=np.float64).tolist()
    return numbers


@pytest.mark.usefixtures("drawn_figures")
def test_every_figure_is_a_png_with_something_on_it_and_pyplot_stays_untouched(run: Path) -> None:
    backend, settings = matplotlib.get_backend(), dict(matplotlib.rcParams)
    paths = save_figures(run, fail)
    assert [path.relative_to(run).as_posix() for path in paths] == [f"plots/{name}.png" for name in FIGURES]
    for path in paths:
        image = matplotlib.image.imread(path)
        assert min(image.shape[:2]) > 400
        assert image[..., :3].std() > 0.02
    assert matplotlib.get_backend() == backend
    assert dict(matplotlib.rcParams) == settings


def test_classes_are_drawn_where_they_were_measured(run: Path) -> None:
    rows: list[dict[str, float | str]] = [
        {"round": 1, "step": 0, "cos_by_class": "0.5;-0.5;nan", "gap_by_class": "0.1;0.0;-0.1"},
        {"round": 1, "step": 1},
        {"round": 1, "step": 2, "cos_by_class": "1.0;nan;0.25", "gap_by_class": "0.0;0.0;0.0"},
    ]
    cosines, gaps = (axes for axes in draw_classes(set_steps(run, rows)).axes if axes.images)
    np.testing.assert_array_equal(pixels(cosines), [[0.5, 1.0], [-0.5, np.nan], [np.nan, 0.25]])
    np.testing.assert_array_equal(pixels(gaps), [[0.1, 0.0], [0.0, 0.0], [-0.1, 0.0]])
    assert [label.get_text() for label in cosines.get_xticklabels()] == ["0", "2"]
    empty = draw_classes(set_steps(run, [{"round": 1, "step": 0}]))
    assert not any(axes.images for axes in empty.axes)
    assert "measure_classes_every" in empty.axes[0].texts[0].get_text()


def test_a_run_measures_classes_when_it_was_asked_to(run: Path) -> None:
    log = RunLog.read(run)
    # Two rounds of eight steps, measured at every fourth of them.
    for name in ("cos_by_class", "gap_by_class"):
        values = log.steps.by_class[name]
        assert values.shape == (16, 10)
        assert np.isfinite(values).any(axis=1).tolist() == [step % 4 == 0 for step in range(16)]
        assert (np.abs(values[np.isfinite(values)]) <= 1).all()


def pixels(axes: Axes) -> NDArray[np.float64]:
    return np.ma.filled(np.ma.asarray(axes.images[0].get_array(), dtype=np.float64), np.nan)


def test_lambda_is_drawn_at_each_step_with_a_median_per_round(run: Path) -> None:
    weights = [0.1, 0.9, 0.2, 0.3, 0.8, 0.6, 0.6, 0.6]
    rows = [{"round": 1 + index // 5, "step": index % 5, "lambda": weight} for index, weight in enumerate(weights)]
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
        {"round": 1, "step": index, "predicted_decrease": predicted, "measured_decrease": measured}
        for index, (predicted, measured) in enumerate(pairs)
    ]
    rows.append({"round": 1, "step": 4, "predicted_decrease": 8.0})
    figure = draw_fidelity(set_steps(run, rows))
    panel, bar = figure.axes
    assert "median ratio 0.60, 4 steps" in texts(figure)
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
        assert f"median ratio {ratio}, 3 steps" in texts(figure)
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
    (run / "config.yaml").write_text(f"rounds: 2\ndistillation: {{geometry: {{mode: {mode}}}}}", encoding="utf-8")
    make_agree(run)
    log = RunLog.read(run)
    for draw in (draw_gradients, draw_decrease_curves):
        title = draw(log).axes[0].get_title(loc="left")
        assert words in title
        assert (", " in title) == bool(words)


def test_fidelity_says_when_nothing_was_measured(run: Path) -> None:
    rows = [{"round": 1, "step": 0, "predicted_decrease": 1.0}]
    assert "No decrease was measured" in texts(draw_fidelity(set_steps(run, rows)))


@pytest.mark.usefixtures("drawn_figures")
@pytest.mark.parametrize(("scale", "count"), [(1e15, 1), (1e-30, 3)])
def test_figures_bear_numbers_of_any_size(run: Path, scale: float, count: int) -> None:
    numbers = {"norm_dist": scale, "norm_cls": 2 * scale, "cos": -1.0, "lambda": 1.0, "predicted_decrease": scale}
    rows = [{"round": 1, "step": step, "measured_decrease": -scale, **numbers} for step in range(count)]
    set_steps(run, rows)
    assert all(path.stat().st_size > 5000 for path in save_figures(run, fail))


def test_accuracy_shows_student_teacher_and_every_control(run: Path) -> None:
    log = RunLog.read(run)
    assert log.summary is not None
    tested, elsewhere = draw_accuracy(log).axes
    lines = {str(line.get_label()): line for line in tested.lines}
    expected = [100 * record["student_accuracy"] for record in log.rounds]
    assert xs(lines["student"]) == [1, 2]
    assert ys(lines["student"]) == pytest.approx(expected)
    history = log.summary["control_history"]["public_only"]
    assert ys(lines["public_only"]) == pytest.approx([100 * share for share in history])
    assert set(ys(lines["local_only"])) == {100 * log.summary["controls"]["local_only"]}
    # Accuracies on other samples have axes of their own.
    assert "other samples" in elsewhere.get_title(loc="left")
    found = {line.get_label() for line in elsewhere.lines}
    assert {"teacher, public samples", "student, validation"} <= found
    assert not found & lines.keys()


def test_a_colour_stands_for_one_thing_in_all_figures_of_a_run(run: Path) -> None:
    log = RunLog.read(run)
    colours = {
        str(line.get_label()): line.get_color()
        for figure in (draw_accuracy(log), draw_gradients(log))
        for axes in figure.axes
        for line in axes.lines
    }
    assert colours["teacher, public samples"] == colours["‖∇L_dist‖, distillation"] == TEACHER
    assert colours["public_only"] == colours["‖∇L_cls‖, labels"] == LABELS
    assert colours["student"] == colours["student, validation"] == STUDENT
    (each, *_) = draw_lambda(log).axes[0].lines
    assert each.get_color() not in {TEACHER, LABELS, STUDENT}
