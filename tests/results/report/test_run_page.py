"""The report of a run: finished, unfinished, damaged, and hostile."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from fedkd.app.cli import main as cli
from fedkd.core.errors import FolderError
from fedkd.results.report.comparisons import COMPARISONS
from fedkd.results.report.figures import FIGURES, run_figures
from fedkd.results.report.figures.run_figures import draw_lambda
from fedkd.results.report.run_log import RunLog
from fedkd.results.report.run_page import write_report
from tests.support.changed_runs import make_agree
from tests.support.figure_texts import texts
from tests.support.html_pages import assert_contained, page


def test_the_report_is_one_file_that_refers_to_nothing(run: Path) -> None:
    path = write_report(run)
    assert path == run / "report.html"
    found = page(path)
    assert found.tags.count("img") == len(FIGURES) + 1
    assert_contained(path)


def test_the_report_holds_results_rounds_versions_and_the_configuration(run: Path) -> None:
    found = page(write_report(run))
    log = RunLog.read(run)
    assert log.summary is not None
    student = log.summary["student_accuracy"]
    for name, share in log.summary["controls"].items():
        shown = float(f"{100 * share:.1f}") - float(f"{100 * student:.1f}")
        assert f"{name} {100 * share:.1f}% {shown:+.1f} points {COMPARISONS[name]}" in found.text
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
    shutil.rmtree(unfinished / "checkpoints")
    (unfinished / "rounds.jsonl").write_text("", encoding="utf-8")
    (unfinished / "timings.jsonl").unlink()
    header = (unfinished / "distillation.csv").read_text(encoding="utf-8").splitlines()[0]
    (unfinished / "distillation.csv").write_text(f"{header}\n", encoding="utf-8")
    found = page(write_report(unfinished))
    assert "not finished: 0 of 2 rounds" in found.text
    assert "No round is finished" in found.text
    # The label distribution alone is known; figures without anything in them are left out.
    assert found.tags.count("img") == 1
    assert "λ and geometry" not in found.text
    assert "No distillation step is recorded" in texts(draw_lambda(RunLog.read(unfinished)))


def test_dropped_clients_are_listed_with_their_reason(run: Path) -> None:
    records = [json.loads(line) for line in (run / "rounds.jsonl").read_text(encoding="utf-8").splitlines()]
    records[1]["failures"] = [{"client": client, "reason": "not finite"} for client in (3, 5)]
    records[1]["failures"].append({"client": 4, "reason": "late"})
    (run / "rounds.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    make_agree(run)
    text = page(write_report(run)).text
    assert "2 3, 5 not finite" in text
    assert "2 4 late" in text


def test_markup_in_a_run_is_shown_and_not_obeyed(run: Path) -> None:
    evil = "<script>alert('&amp;')</script><img src=x onerror=alert(1)>"
    records = [json.loads(line) for line in (run / "rounds.jsonl").read_text(encoding="utf-8").splitlines()]
    records[0]["failures"] = [{"client": 1, "reason": evil}]
    (run / "rounds.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    (run / "config.yaml").write_text(f"seed: {json.dumps(evil)}\nrounds: 2\n", encoding="utf-8")
    make_agree(run, versions={evil: evil}, student_sha256=evil, controls={evil: 0.5})
    # A file name holds no slash.
    folder = run.rename(run.with_name(evil.replace("/", "")))
    clean = page(write_report(folder))
    assert clean.tags.count("script") == 1
    assert_contained(folder / "report.html")
    # This configuration measures no classes; the label distribution is there as well.
    assert clean.tags.count("img") == len(FIGURES) - 1 + 1
    # Failure, version twice, digest, control, header, configuration.
    assert clean.text.count(evil) == 7
    assert folder.name in clean.text


def test_a_folder_without_a_run_is_refused_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        monkeypatch.setattr(sys, "argv", ["fedkd", "report", str(folder)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == cli.EXIT_BAD_INPUT
        message = capsys.readouterr().err
        assert f"{folder} holds no run" in message
        assert "fedkd run" in message
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_are_named(run: Path) -> None:
    rounds = run / "rounds.jsonl"
    whole = rounds.read_text(encoding="utf-8")
    for text, words in (
        ("{oops\n" + whole, "line 1 is not as a run writes it"),
        (whole.replace('"bytes_up": ', '"bytes_up": 1' + 40 * "0"), "line 1 is not as a run writes it"),
        (whole.replace('"round": 2', '"round": 3'), "line 2 is of round 3"),
        (whole.partition("\n")[2], "line 1 is of round 2"),
    ):
        rounds.write_text(text, encoding="utf-8")
        with pytest.raises(FolderError, match=r"rounds\.jsonl was changed"):
            write_report(run)
        make_agree(run)
        with pytest.raises(FolderError, match=rf"rounds\.jsonl: {words}"):
            write_report(run)
    rounds.write_text(whole, encoding="utf-8")
    for name, value in (("student_accuracy", 0.75), ("rounds", 3)):
        make_agree(run, **{name: value})
        with pytest.raises(FolderError, match=rf"summary\.json has {name} = {value}, and "):
            write_report(run)
    (run / "summary.json").write_text("{", encoding="utf-8")
    with pytest.raises(FolderError, match=r"summary\.json is damaged"):
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


def test_a_figure_that_cannot_be_drawn_is_named_and_the_report_written(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(log: RunLog) -> None:
        raise ValueError("no such <font>")

    monkeypatch.setitem(run_figures._DRAWN_BY, "lambda", fail)
    found = page(write_report(run))
    assert found.tags.count("img") == len(FIGURES)
    assert "the figure lambda could not be drawn and is left out (ValueError: no such <font>)" in found.text


def test_figures_of_a_run_are_files_for_a_paper(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["fedkd", "report", str(run), "--figures", str(run / "paper"), "--format", "pdf"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    names = {f"{name}.pdf" for name in (*FIGURES, "label_distribution")}
    assert {path.name for path in (run / "paper").iterdir()} == names
    assert len(capsys.readouterr().out.split()) == 1 + len(names)
