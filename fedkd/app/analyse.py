"""Looking into the networks of a finished run, from its folder to its ``analysis.json``."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from fedkd.analysis import Analysis, Finding, NotKnown, Subject
from fedkd.analysis.last_round import LastRound
from fedkd.analysis.subject import ALONE, STUDENT, TEACHER
from fedkd.config.identity import run_digest
from fedkd.config.load import to_mapping
from fedkd.core import plugins
from fedkd.core.compute import fixed_arithmetic, fixed_threads
from fedkd.core.documents import write_document
from fedkd.core.errors import ConfigError, PluginError
from fedkd.core.faults import told_by_line
from fedkd.core.files import replace_file
from fedkd.core.returned import returned
from fedkd.privacy.secure_noise import SecureNoise
from fedkd.results.lock import locked
from fedkd.results.observer import Observer, Silent
from fedkd.results.report import page
from fedkd.results.report.analysis_section import ANALYSIS, PAGE, analysis_parts, picture_of, read_analysis
from fedkd.results.report.figures import attempt_figure
from fedkd.results.report.run_log import read_steps
from fedkd.server.finished import Finished
from fedkd.server.setup import private_part_of


@dataclass(frozen=True)
class Analysed:
    """What came of it: findings by analysis, and why others were left out."""

    folder: Path
    findings: Mapping[str, Finding]
    skipped: Mapping[str, str]


@told_by_line("the analysis")
def analyse_run(
    folder: str | PathLike[str],
    analyses: Mapping[str, Mapping[str, Any]] | None = None,
    observer: Observer | None = None,
) -> Analysed:
    """Look into the networks of the finished run in ``folder``; write ``analysis.json``, pictures and a page.

    ``analyses`` are the names of those wanted, with their options; all there are where None. What others found before
    is kept. Raises ``ConfigError`` for analyses that do not exist, or cannot be made here, ``FolderError`` for a folder
    without a finished run, or one whose files are not as they were written.
    """
    folder, observer = Path(folder), observer or Silent()
    chosen = built_analyses(analyses)
    finished = Finished.of(folder)
    experiment = finished.experiment
    if experiment.config.data.tasks is not None:
        raise ConfigError(["data.tasks: a sequence of tasks has several students; analyse a run without it"])
    begun = time.monotonic()
    run = run_digest(to_mapping(experiment.config))
    with (
        locked(folder),
        fixed_arithmetic(experiment.device),
        fixed_threads(experiment.config.engine.server_threads),
    ):
        before = read_analysis(folder, run) or {}
        subject = subject_of(finished, observer)
        findings: dict[str, Finding] = {}
        skipped: dict[str, str] = {}
        for done, (name, analysis) in enumerate(chosen.items()):
            observer.progress("analyses", done, len(chosen))
            try:
                findings[name] = returned(analysis.measure(subject), Finding, analysis, "measure")
            except NotKnown as reason:
                skipped[name] = str(reason)
            else:
                _draw(findings[name], picture_of(folder, name), observer)
        observer.progress("analyses", len(chosen), len(chosen))
        analysed = Analysed(folder, findings, skipped)
        _write(analysed, run, before, time.monotonic() - begun)
    return analysed


def built_analyses(wanted: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Analysis]:
    """The analyses with these names and options; all of them, as they are, where None.

    Raises ``ConfigError`` with everything that is wrong with them.
    """
    names = {name: {} for name in plugins.names(plugins.ANALYSIS)} if wanted is None else wanted
    built: dict[str, Analysis] = {}
    problems = []
    for name, options in names.items():
        try:
            built[name] = plugins.build(plugins.ANALYSIS, name, options)
        except PluginError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(problems)
    return built


def subject_of(finished: Finished, observer: Observer) -> Subject:
    """The run's networks, and what does the last round of its clients again, when an analysis asks for it."""
    loaded = {STUDENT: finished.student(), ALONE: finished.student_without_teacher(), TEACHER: finished.teacher()}
    networks = {name: network for name, network in loaded.items() if network is not None}
    taught_at = read_steps(finished.folder / "distillation.csv")["temperature"]
    known = taught_at[np.isfinite(taught_at)]
    return Subject(
        finished.experiment,
        networks,
        None if finished.of_one_network else partial(last_round, finished, observer),
        temperature=float(known[-1]) if known.size else 1.0,
    )


def last_round(finished: Finished, observer: Observer) -> LastRound:
    """The clients as they were; raises ``NotKnown`` where what they sent cannot be made again."""
    experiment = finished.experiment
    if experiment.config.privacy.entropy == "system" and private_part_of(experiment) is not None:
        raise NotKnown("its noise came from the operating system, and cannot be drawn again")
    if isinstance(experiment.mechanism, SecureNoise):
        raise NotKnown("clients added noise within a secure sum, which cannot be drawn again")
    try:
        return LastRound(experiment, finished.server(finished.summary.rounds - 1), observer.progress)
    except ValueError as error:
        raise NotKnown(str(error)) from error


def _draw(finding: Finding, path: Path, observer: Observer) -> None:
    draw = finding.draw
    if draw is None:
        return

    def save_picture() -> None:
        from fedkd.results.report.style import drawing, save

        with drawing():
            save(draw(), path)

    attempt_figure(path.stem, save_picture, observer.noticed)


def _write(done: Analysed, run: str, before: Mapping[str, Any], seconds: float) -> None:
    """``analysis.json``, in which what other analyses found before stays, and the page."""
    found = {
        name: {"figures": finding.figures, "sentences": finding.sentences, "caption": finding.caption}
        for name, finding in done.findings.items()
    }
    asked = {*done.findings, *done.skipped}
    content = {
        kind: {name: each for name, each in before.get(kind, {}).items() if name not in asked} | dict(new)
        for kind, new in (("findings", found), ("skipped", done.skipped))
    }
    write_document(done.folder / ANALYSIS, {**content, "seconds": round(seconds, 3)}, run)
    title = f"Analysis of {done.folder.resolve().name}"
    replace_file(done.folder / PAGE, page.document(title, analysis_parts(done.folder, run)))
