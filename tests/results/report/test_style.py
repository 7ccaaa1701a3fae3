"""Figures depend on nothing but what they show: no backend, no settings of the user's, no sign that a text holds."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from fedkd.results.report.figures import attempt_figure
from fedkd.results.report.style import drawing, dress, new_figure, png, save, short
from tests.support import ROOT

DRAW = """
import os, sys
from pathlib import Path
from typing import Any
from fedkd.results.report.style import drawing, dress, new_figure, save

with drawing():
    figure = new_figure()
    dress(figure.add_subplot(), "$5", "x", "y")
    save(figure, Path(sys.argv[1]))
import matplotlib
print(os.environ["MPLBACKEND"], matplotlib.rcParams._get("backend"), "matplotlib.pyplot" in sys.modules, sep="|")
"""


@pytest.mark.parametrize(
    ("backend", "kept"),
    [
        ("module://matplotlib_inline.backend_inline", None),
        ("svg", "svg"),
        ("no such backend", None),
    ],
)
def test_no_backend_keeps_a_figure_from_being_drawn_and_the_users_own_choice_stays(
    backend: str, kept: str | None, tmp_path: Path
) -> None:
    found = subprocess.run(
        [sys.executable, "-c", DRAW, str(tmp_path / "figure.png")],
        env=os.environ | {"MPLBACKEND": backend, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    kept_in_environment, setting, pyplot = found.stdout.strip().split("|")
    assert (kept_in_environment, pyplot) == (backend, "False")
    assert kept is None or setting == kept


def test_texts_are_drawn_as_they_are() -> None:
    with drawing():
        figure = new_figure()
        axes = figure.add_subplot()
        dress(axes, "under $5^_ or $x_$", "<b>&x</b>", r"\frac{$")
        (line,) = axes.plot([0, 1], [1, 1000])
        axes.set_yscale("log")
        figure.legend([line, line], ["_hidden$^$", short("é\n\U000f0000" * 99)])
        assert png(figure).startswith(b"\x89PNG")
        ticks = [label.get_text() for label in axes.get_yticklabels()]
        names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"10⁰", "10¹", "10²"} <= set(ticks)
    assert not any(text.get_parse_math() for text in (axes.title, axes.xaxis.label, *figure.legends[0].get_texts()))
    assert names[0] == "_hidden$^$"
    assert names[1].startswith(r"é\n\U000f0000é\n")
    assert names[1].endswith("…")
    assert len(names[1]) == 48


@pytest.mark.parametrize(("decades", "minor"), [(2, True), (6, False)])
def test_an_axis_of_many_decades_has_ticks_at_powers_of_ten_alone(decades: int, minor: bool) -> None:
    with drawing():
        figure = new_figure()
        axes = figure.add_subplot()
        axes.set_yscale("log")
        axes.set_ylim(1, 10**decades)
        png(figure)
    assert len(axes.yaxis.get_majorticklocs()) >= decades
    assert bool(len(axes.yaxis.get_minorticklocs())) is minor


@pytest.mark.usefixtures("drawn_figures")
def test_the_users_settings_have_no_say_and_stay_as_they_are(tmp_path: Path) -> None:
    figures = []
    of_the_users: Any = ({}, {"text.usetex": True, "savefig.dpi": 10, "lines.linewidth": 9, "axes.titlesize": 40})
    for settings in of_the_users:
        with matplotlib.rc_context(settings):
            before = dict(matplotlib.rcParams)
            with drawing():
                figure = new_figure()
                axes = figure.add_subplot()
                dress(axes, "title", "x", "y")
                axes.plot([0, 1])
                save(figure, tmp_path / "figure.png")
            assert dict(matplotlib.rcParams) == before
        figures.append((tmp_path / "figure.png").read_bytes())
    assert figures[0] == figures[1]


def test_a_figure_that_fails_is_told_of_and_an_interruption_is_not_kept_back() -> None:
    told: list[str] = []

    def fail() -> None:
        raise ValueError("no such font")

    assert not attempt_figure("accuracy", fail, told.append)
    assert told == ["the figure accuracy could not be drawn and is left out (ValueError: no such font)"]
    assert attempt_figure("accuracy", lambda: None, told.append)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt_figure("accuracy", interrupt, told.append)
    assert len(told) == 1
