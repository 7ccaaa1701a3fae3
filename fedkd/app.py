"""The composition root: an experiment from its configuration to its run directory."""

import importlib.util
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fedkd import controls, plugins
from fedkd.composition import composition_faults
from fedkd.config import AuditOptions, ExperimentConfig, to_json
from fedkd.devices import fixed_arithmetic
from fedkd.engines import Engine
from fedkd.engines.building import EngineBuilder, build_engine, over_grid, ray_size
from fedkd.engines.shared_ray import RaySize, SharedRay
from fedkd.errors import ConfigError, RunError
from fedkd.local.perform import keeps_state
from fedkd.local.store import require_state_here
from fedkd.local.workspace import Workspace, workspace
from fedkd.observer import Observer, Silent
from fedkd.records import Summary
from fedkd.records.checkpoint import Checkpoint
from fedkd.records.directory import AUDIT, ControlResult, RunDirectory
from fedkd.records.files import writing
from fedkd.records.lock import locked
from fedkd.records.logs import round_lines
from fedkd.records.tally import Tally
from fedkd.report.lazily import draw_label_distribution, draw_observatory, observatory_files
from fedkd.resuming import check_changes
from fedkd.secure_rules import check_secure_sum
from fedkd.server import Server
from fedkd.spending import with_noise
from fedkd.students import StudentRule
from fedkd.summaries import overview_of, summarise, versions
from fedkd.types import Job, Outcome

if TYPE_CHECKING:
    from fedkd.attacks import AuditReport

__all__ = [
    "EngineBuilder",
    "RaySize",
    "SharedRay",
    "audit_run",
    "build_engine",
    "check",
    "over_grid",
    "ray_size",
    "run_experiment",
    "versions",
]


def check(config: ExperimentConfig, *, own_engine: bool = True) -> Workspace:
    """Load what the experiment needs; raises ``ConfigError`` or ``DataError`` for what cannot work.

    In the configuration of what is returned, a mechanism's target ε is replaced by the noise that meets it. Without
    ``own_engine`` that of ``engine.kind`` will not be started, and need not work.
    """
    problems = composition_faults(config)
    if own_engine and config.engine.kind == "ray" and importlib.util.find_spec("ray") is None:
        problems.append(
            "engine.kind: 'ray' needs the package ray, which is not installed; "
            "pip install 'fedkd[ray]', or set engine.kind=inline"
        )
    student: type[StudentRule] = plugins.resolve(plugins.STUDENT_RULE, config.student.rule.name)
    if "teacher_only" in config.controls and not student.teaches:
        problems.append(
            f"controls: student.rule {config.student.rule.name} has no teacher to measure, got teacher_only; "
            "leave it out"
        )
    try:
        place = workspace(to_json(config))
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from error
    if problems:
        raise ConfigError(problems)
    place = with_noise(place)
    check_secure_sum(place)
    return place


def run_experiment(
    config: ExperimentConfig,
    out: Path,
    observer: Observer | None = None,
    *,
    verbose: bool = False,
    resume: bool = False,
    ray_address: str | None = None,
    engine: EngineBuilder | None = None,
) -> Summary:
    """Run the experiment and write its directory; with ``resume`` go on with the run that is there, if there is one.

    ``ray_address`` is a running Ray to use where the configuration asks for one and names none.

    Raises ``ConfigError`` or ``DataError`` before anything starts, ``RunError`` when it cannot go on. On any way out,
    finished rounds are on disk and the engine's processes are gone. A resumed run ends with what it would have ended
    with uninterrupted; ``ConfigError`` if ``config`` differs from its own in what influences results. One that is
    finished is left alone. Of the rounds asked for there may be more than before. The clients' work is done by what
    ``engine`` builds instead of by ``engine.kind``, where one is given.
    """
    watch: Observer = Silent() if observer is None else observer
    resume = resume and RunDirectory.holds_run(out)
    if resume and (summary := _finished(RunDirectory(out), config, watch, verbose)) is not None:
        return summary
    place = check(config, own_engine=engine is None)
    build = engine or (lambda place: build_engine(place, verbose=verbose, ray_address=ray_address))
    if resume and engine is None:
        require_state_here(RunDirectory(out).client_state)
    with locked(out):
        run = _Run(place, RunDirectory(out) if resume else RunDirectory.create(out, config), watch)
        if resume:
            run.take_up(config)
        try:
            with fixed_arithmetic(place.device):
                return run.finish(build, config.engine.kind if engine is None else "flower", verbose=verbose)
        except RunError as error:
            again = f"fedkd run --resume --out {out}" if engine is None else f"the same, with out={out} and resume=true"
            raise RunError(f"{error}\nGo on with: {again}") from error


def audit_run(
    folder: Path,
    options: AuditOptions | None = None,
    observer: Observer | None = None,
    *,
    verbose: bool = False,
) -> "AuditReport":
    """Attack the finished run in ``folder`` and write its ``audit.json``.

    ``options`` are those of ``privacy.audit`` in the run's own configuration where not given; all attacks are run where
    none are named. Raises ``ConfigError`` for what cannot be audited, ``RunError`` for a folder without a finished run.
    """
    if not RunDirectory.holds_run(folder):
        raise RunError(f"{folder} holds no run, and there is nothing to audit; name the folder of a finished one")
    directory = RunDirectory(folder)
    chosen = directory.config.privacy.audit if options is None else options
    with locked(folder):
        return _audit(directory, check(directory.config), chosen, Silent() if observer is None else observer, verbose)


def _audit(
    directory: RunDirectory, place: Workspace, options: AuditOptions, watch: Observer, verbose: bool
) -> "AuditReport":
    # Statistics and figures, for which no run without an audit should wait.
    from fedkd.attacks.audit import audit
    from fedkd.engines.audits import AuditEngine

    with AuditEngine(place, options, verbose) as engine:
        report = audit(directory, place, options, engine.run, watch.progress)
    where = directory.path / AUDIT
    if report.attacks:
        best = max(report.attacks, key=lambda each: each.auc)
        watch.noticed(f"audit: {best.attack} from {best.observation} does best, AUC {best.auc:.3f}; all in {where}")
    else:
        watch.noticed(f"audit: {where}")
    return report


def _finished(directory: RunDirectory, config: ExperimentConfig, watch: Observer, verbose: bool) -> Summary | None:
    """The summary of a run that has nothing left to do; None for any other."""
    before, summary = directory.config, directory.summary
    check_changes(directory.path, before, config, done=directory.rounds_done)
    if summary is None or summary.rounds != config.rounds or before.controls != config.controls:
        return None
    if not all(path.is_file() for path in observatory_files(directory.path)):
        with writing(directory.path / "plots"):
            draw_observatory(directory.path)
    if config.privacy.audit.attacks and not (directory.path / AUDIT).is_file():
        audit_run(directory.path, config.privacy.audit, watch, verbose=verbose)
        return summary
    watch.noticed(
        f"{directory.path} is finished, {_rounds(summary.rounds)}; nothing to do (a larger rounds=N goes on with it)"
    )
    return summary


class _Run:
    """One run in its directory, from where it is to its end."""

    def __init__(self, place: Workspace, directory: RunDirectory, watch: Observer) -> None:
        self._place, self._directory, self._watch = place, directory, watch
        state_dir = str(directory.client_state.resolve()) if keeps_state(place) else None
        self._server = Server.build(place, state_dir=state_dir)
        self._tally = Tally()
        self._started = time.monotonic()
        self._spent_before = 0.0

    def take_up(self, config: ExperimentConfig) -> None:
        """Go on from the newest checkpoint that can be used; raises ``RunError`` or ``ConfigError``."""
        directory, notice, before = self._directory, self._watch.noticed, self._directory.config
        for remark in check_changes(directory.path, before, config, done=directory.rounds_done):
            notice(remark)
        checkpoint = directory.take_up(config.rounds, notice)
        if checkpoint is not None:
            self._restore(checkpoint)
        if (charges := directory.ledger) is not None:
            self._server.ledger.load_state_dict(charges)
        directory.unfinish()
        with writing(directory.path / "plots"):
            for figure in (*observatory_files(directory.path), directory.path / AUDIT):
                figure.unlink(missing_ok=True)
        if before != config:
            directory.write_config(config)
        done, rounds = self._tally.rounds, config.rounds
        where = "after the last round" if done == rounds else f"with round {done + 1} of {rounds}"
        notice(f"resuming {directory.path}: {_rounds(done)} done, going on {where}")

    def finish(self, build: EngineBuilder, kind: str, *, verbose: bool) -> Summary:
        """Everything that is left to do, on the engine that ``build`` makes, which is of that kind, and the summary."""
        directory, place, watch = self._directory, self._place, self._watch
        overview = replace(overview_of(place, directory.path), engine=kind)
        watch.started(overview)
        if self._tally.rounds == 0:
            directory.commit(self._server.state_dict(), self._tally, versions())
        with build(place) as engine:
            for round in range(self._tally.rounds + 1, place.config.rounds + 1):
                self._round(engine, round)
                with writing(directory.path / "plots"):
                    draw_label_distribution(place.data, directory.path)
            finished = self._controls(engine)
        summary = summarise(place, self._server, self._tally, finished, self._seconds())
        directory.finish(summary)
        with writing(directory.path / "plots"):
            draw_label_distribution(place.data, directory.path)
            draw_observatory(directory.path)
        watch.finished(summary, overview)
        if place.config.privacy.audit.attacks:
            _audit(directory, place, place.config.privacy.audit, watch, verbose)
        return summary

    def _restore(self, checkpoint: Checkpoint) -> None:
        try:
            self._server.load_state_dict(checkpoint.server)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(
                f"{self._directory.path}: the checkpoint of round {checkpoint.round} does not fit the code that reads "
                f"it ({type(error).__name__}: {error}); go on with the code that wrote it, or start a new run"
            ) from error
        self._tally = checkpoint.tally
        self._spent_before = checkpoint.tally.seconds
        now = versions()
        for package, version in checkpoint.versions.items():
            if now.get(package) != version:
                self._watch.noticed(
                    f"{package}: {version} until now, {now.get(package)} from here; the result may differ in its last "
                    "digits from that of a run without a change"
                )

    def _round(self, engine: Engine, round: int) -> None:
        begun = time.monotonic()
        server, watch, probe = self._server, self._watch, round == self._place.config.rounds
        job = server.job(round, probe=probe)
        server.charge(round)
        if server.private is not None:
            # On disk before a client is asked, for what is released cannot be taken back.
            self._directory.save_ledger(server.ledger.state_dict())
        result = server.play(
            job,
            lambda job, clients: _watched(engine, job, clients, watch),
            lambda done, total: watch.progress("distillation", done, total),
        )
        seconds = time.monotonic() - begun
        self._tally = self._tally.after(
            result.record,
            result.clients,
            ensemble_accuracy=result.ensemble_accuracy,
            probed=probe,
            seconds=self._seconds(),
        )
        lines = round_lines(result.record, result.clients, result.rows, seconds)
        self._directory.commit(server.state_dict(), self._tally, versions(), lines)
        watch.round_ended(result.record, seconds)

    def _controls(self, engine: Engine) -> dict[str, ControlResult]:
        """The listed controls, each kept as soon as it has ended."""
        rounds = self._place.config.rounds
        finished = self._directory.controls(rounds)
        self._spent_before += sum(result.seconds for result in finished.values())
        for name in self._place.config.controls:
            if name not in finished:
                begun = time.monotonic()
                history, bar = self._control(name, engine)
                if not history:
                    continue
                finished[name] = ControlResult(history, bar, time.monotonic() - begun)
                self._directory.save_controls(rounds, finished)
            self._watch.control_ended(name, finished[name].history[-1])
        return finished

    def _control(self, name: str, engine: Engine) -> tuple[list[float], float | None]:
        """A control's test accuracy after every round, the last being its result; of public_only also on validation."""
        place, ensemble = self._place, self._tally.ensemble_accuracy

        def progress(done: int, total: int) -> None:
            self._watch.progress(name, done, total)

        match name:
            case "public_only":
                return controls.public_only(place, progress)
            case "centralised":
                return controls.centralised(place, progress), None
            case "fedavg":
                return controls.fedavg(place, engine.run, progress), None
            case "local_only":
                return controls.local_only(place, engine.run, progress), None
            case _:
                return [] if ensemble is None else [ensemble], None

    def _seconds(self) -> float:
        """Wall time spent on what is kept."""
        return self._spent_before + time.monotonic() - self._started


def _watched(engine: Engine, job: Job, asked: Sequence[int], watch: Observer) -> Iterator[Outcome]:
    watch.progress("clients", 0, len(asked))
    for done, outcome in enumerate(engine.run(job, asked), start=1):
        watch.progress("clients", done, len(asked))
        yield outcome


def _rounds(count: int) -> str:
    return "1 round" if count == 1 else f"{count} rounds"
