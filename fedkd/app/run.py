"""The composition root: an experiment from its configuration to its run directory."""

import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from fedkd.app import controls
from fedkd.app.audit import _audit, audit_run
from fedkd.app.checks import check, notices
from fedkd.app.model_checks import model_remarks
from fedkd.app.resume import check_changes, check_contents, contents_of
from fedkd.app.runs import Run
from fedkd.app.sharing import ALONE, Found, Keep, Means, Sharing
from fedkd.app.summary import overview_of, summarise, versions
from fedkd.client.setup import keeps_memory, keeps_state
from fedkd.client.state import check_states, require_state_here, state_digests
from fedkd.config.given import pinned
from fedkd.config.identity import run_digest_of
from fedkd.config.load import parse_config, to_json, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.core.compute import fixed_arithmetic, fixed_threads
from fedkd.core.errors import ConfigError, FolderError, RunError
from fedkd.core.faults import told_by_line
from fedkd.core.files import checked_path, replace_file, writing
from fedkd.core.messages import Job, Reply
from fedkd.data import partition_file
from fedkd.engines import Engine
from fedkd.engines.building import EngineBuilder, build_engine, over_grid, ray_size
from fedkd.engines.ray.shared import RaySize, SharedRay
from fedkd.experiment import Experiment
from fedkd.privacy.private import Private
from fedkd.privacy.secure_sum.identities import Directory
from fedkd.results.cache import Cache
from fedkd.results.checkpoint import Checkpoint, Origin
from fedkd.results.control_network import save_control
from fedkd.results.directory import AUDIT, ControlResult, RunDirectory
from fedkd.results.lock import locked
from fedkd.results.logs import round_lines
from fedkd.results.observer import Observer, Silent
from fedkd.results.records import Summary
from fedkd.results.report.analysis_section import remove_analysis
from fedkd.results.report.figures import are_wanted, draw_figures, draw_label_distribution, figure_files, is_whole
from fedkd.results.totals import Totals
from fedkd.results.tracebacks import Tracebacks, keep_cause
from fedkd.results.tracking import Tracking
from fedkd.server.evaluation import asks_for_tests
from fedkd.server.reports import names_client
from fedkd.server.server import Server

PARTITION = "partition.json"
"""In the run's folder: who has which samples, for other runs to be given; nothing reads it in this one."""

__all__ = [
    "EngineBuilder",
    "Means",
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


@told_by_line("the run")
def run_experiment(
    config: ExperimentConfig,
    out: str | Path,
    observer: Observer | None = None,
    *,
    verbose: bool = False,
    resume: bool = False,
    means: Means = ALONE,
    engine: EngineBuilder | None = None,
    directory: Directory | None = None,
) -> Run:
    """Run the experiment and write its directory; with ``resume`` go on with the run that is there, if there is one.

    ``means`` are what a sweep gives the runs of its cells.

    Raises ``ConfigError`` or ``DataError`` before anything starts, ``RunError`` when it cannot go on. On any way out,
    finished rounds are on disk and the engine's processes are gone. A resumed run ends with what it would have ended
    with uninterrupted; ``ConfigError`` if ``config`` differs from its own in what influences results, ``FolderError``
    if its files are not those that it wrote and it cannot go on without what was in them. One that is
    finished is left alone. Of the rounds asked for there may be more than before. The clients' work is done by what
    ``engine`` builds instead of by ``engine.kind``, where one is given; ``directory`` has the public keys of clients
    with keys of their own.
    """
    if not isinstance(config, ExperimentConfig):
        raise ConfigError(
            [f"config: must be an ExperimentConfig, got {type(config).__name__}; make one with fedkd.load_config"]
        )
    # More threads than have work would wait for it, busily; and workers are forked before others are started.
    with fixed_threads(1):
        out, observer = checked_path("out", Path(out)), observer or Silent()
        resume = resume and RunDirectory.holds_run(out)
        if resume:
            config = pinned(config)
            if (summary := _finished(directory_of(out, config), config, observer, verbose)) is not None:
                return Run(out, summary)
        # Nobody but this process tells trackers anything, and nodes need not have their code.
        experiment = check(replace(config, tracking=()), own_engine=engine is None)
        config = pinned(config)
        for notice in (*notices(config), *model_remarks(experiment)):
            observer.noticed(notice)
        memory = RunDirectory(out).client_state

        def own_engine(experiment: Experiment) -> Engine:
            address = means.ray_address
            return build_engine(experiment, verbose=verbose, ray_address=address, memory=memory, inline=means.inline)

        if resume and engine is None:
            require_state_here(RunDirectory(out).client_state)
        with locked(out):
            folder = directory_of(out, config) if resume else RunDirectory.create(out, config)
            tracking = Tracking(config.tracking, observer.noticed)
            run = _Run(experiment, folder, observer, tracking, directory, means.cache)
            if resume:
                run.resume_from(config)
            try:
                with told_by_line("the run"), fixed_arithmetic(experiment.device):
                    kind = "flower" if engine is not None else "inline" if means.inline else config.engine.kind
                    return Run(out, run.finish(engine or own_engine, kind, verbose=verbose))
            except RunError as error:
                raise RunError(f"{error}{keep_cause(out, error)}{run.advice(local=engine is None)}") from error


def directory_of(out: Path, config: ExperimentConfig) -> RunDirectory:
    """The run that is there, by its own configuration; by ``config`` where somebody removed the file."""
    directory = RunDirectory(out)
    return directory if directory.has_config else RunDirectory(out, config)


def _finished(directory: RunDirectory, config: ExperimentConfig, observer: Observer, verbose: bool) -> Summary | None:
    """The summary of a run that has nothing left to do; None for any other."""
    if directory.has_config:
        directory.check_config()
    check_changes(directory.path, directory.config, config, done=directory.rounds_done)
    summary = directory.result(config, observer.noticed)
    if summary is None:
        return None
    if not directory.has_config:
        directory.write_config(config)
    _draw(directory.path, Experiment.of(config), observer)
    if config.privacy.audit.attacks and not directory.is_audited(observer.noticed):
        audit_run(directory.path, config.privacy.audit, observer, verbose=verbose)
        return summary
    observer.noticed(
        f"{directory.path} is finished, {_rounds(summary.rounds)}; nothing to do (a larger rounds=N goes on with it)"
    )
    return summary


def _draw(folder: Path, experiment: Experiment, observer: Observer) -> None:
    """Those figures of a finished run that are not there."""
    if not are_wanted():
        return
    draw_label_distribution(experiment, folder, observer.noticed)
    by_class = experiment.config.distillation.measure_classes_every > 0
    if not all(is_whole(path) for path in figure_files(folder, by_class=by_class)):
        draw_figures(folder, observer.noticed)


class _Run:
    """One run in its directory, from where it is to its end."""

    def __init__(
        self,
        experiment: Experiment,
        directory: RunDirectory,
        observer: Observer,
        tracking: Tracking,
        keys: Directory | None,
        cache: Cache | None,
    ) -> None:
        self._experiment, self._directory = experiment, directory
        self._observer, self._tracking = observer, tracking
        state_dir = str(directory.client_state.resolve()) if keeps_state(experiment) else None
        self._server = Server.build(experiment, state_dir=state_dir, directory=keys, keep=directory.save_ledger)
        self._totals = Totals()
        self._tests = asks_for_tests(experiment, self._server.rule.student)
        self._states: dict[int, str] = {}
        self._started = time.monotonic()
        self._spent_before = 0.0
        self._tracebacks = Tracebacks(directory.path)
        self._origin = Origin(versions(), torch.backends.cpu.get_cpu_capability(), contents_of(experiment))
        self._sharing = Sharing(cache, experiment, self._origin)

    def resume_from(self, config: ExperimentConfig) -> None:
        """Go on from the newest checkpoint that can be used; raises ``RunError`` or ``ConfigError``."""
        directory, notice = self._directory, self._observer.noticed
        # Before anything is touched: what cannot be read refunds nothing.
        charges = directory.charges(private=self._server.private is not None)
        checkpoint = directory.resume_from(config.rounds, notice, self._fits, probe=self._tests)
        if checkpoint is not None:
            self._restore(checkpoint)
        before = directory.config if checkpoint is None else parse_config(checkpoint.record.config)
        for remark in check_changes(directory.path, before, config, done=self._totals.rounds):
            notice(remark)
        if charges is not None:
            self._server.ledger.load_state_dict(charges)
        directory.unfinish()
        with writing(directory.path / "plots"):
            for found in (*figure_files(directory.path, by_class=True), directory.path / AUDIT):
                found.unlink(missing_ok=True)
            remove_analysis(directory.path)
        directory.write_config(config)
        done, rounds = self._totals.rounds, config.rounds
        where = "after the last round" if done == rounds else f"with round {done + 1} of {rounds}"
        notice(f"resuming {directory.path}: {_rounds(done)} done, going on {where}")

    def advice(self, *, local: bool) -> str:
        """How to go on once the cause is mended, if there is anything to go on with."""
        if self._totals.rounds == 0:
            return ""
        out = self._directory.path
        again = (
            f"fedkd run --resume --out {shlex.quote(str(out))}"
            if local
            else f"the same, with out={out} and resume=true"
        )
        return f"\nResume with: {again}"

    def finish(self, build: EngineBuilder, kind: str, *, verbose: bool) -> Summary:
        """Everything that is left to do, on the engine that ``build`` makes, which is of that kind, and the summary."""
        directory, experiment, observer = self._directory, self._experiment, self._observer
        overview = replace(overview_of(experiment, directory.path), engine=kind)
        observer.started(overview)
        if (partition := partition_file(experiment.data)) is not None:
            replace_file(directory.path / PARTITION, partition.encode())
        if self._totals.rounds == 0:
            if self._server.private is not None:
                # From now on it is known to be there.
                directory.save_ledger(self._server.ledger.state_dict())
            directory.commit(self._server.state_dict(), self._totals, self._origin)
        with self._tracking as tracking:
            with self._sharing.engine(build(experiment), inline=kind == "inline") as engine:
                tracking.begin(directory.path, to_mapping(directory.config))
                for round in range(self._totals.rounds + 1, experiment.config.rounds + 1):
                    self._round(engine, round)
                finished = self._controls(engine, self._possible(kind))
            summary = summarise(experiment, self._server, self._totals, finished, self._seconds())
            directory.finish(summary)
            _draw(directory.path, experiment, observer)
            tracking.end(directory.path, summary, finished)
        observer.finished(summary, overview)
        if experiment.config.privacy.audit.attacks:
            _audit(directory, experiment, experiment.config.privacy.audit, observer, verbose)
        return summary

    def _fits(self, checkpoint: Checkpoint) -> None:
        """Take up a checkpoint; raises ``FolderError`` where code, data, weights or the clients' files do not fit."""
        check_contents(checkpoint.record.origin, self._origin)
        try:
            self._server.load_state_dict(checkpoint.server)
        except Exception as error:  # a plug-in of the user's own raises what it likes
            raise FolderError(
                f"the checkpoint of round {checkpoint.round} does not fit the code that reads it "
                f"({type(error).__name__}: {error})"
            ) from error
        experiment, accepted = self._experiment, self._server.accepted
        if kept := {client: accepted[client] for client in accepted if keeps_memory(experiment, client)}:
            run = run_digest_of(to_json(experiment.config))
            check_states(self._directory.client_state, run, kept, checkpoint.record.states)

    def _restore(self, checkpoint: Checkpoint) -> None:
        record = checkpoint.record
        self._totals, self._states = record.totals, dict(record.states)
        self._spent_before = record.totals.seconds
        now = self._origin.versions
        for package, version in record.origin.versions.items():
            if now.get(package) != version:
                self._observer.noticed(
                    f"{package}: {version} until now, {now.get(package)} from here; the result may differ in its last "
                    "digits from that of a run without a change"
                )

    def _round(self, engine: Engine, round: int) -> None:
        begun = time.monotonic()
        server, observer = self._server, self._observer
        probe = round == self._experiment.config.rounds and self._tests
        job = server.job(round, probe=probe)
        kept: list[int] = []
        try:
            result = server.run_round(
                job,
                lambda job, clients: self._observed(engine, job, clients, kept),
                lambda done, total: observer.progress("distillation", done, total),
            )
        except RunError as error:
            if not kept:
                raise
            raise RunError(f"{error}; {self._where(kept)}") from error.__cause__ or error
        seconds = time.monotonic() - begun
        self._totals = self._totals.after(
            result.record,
            result.clients,
            ensemble_accuracy=result.ensemble_accuracy,
            probed=probe,
            seconds=self._seconds(),
        )
        lines = round_lines(result.record, result.clients, result.rows, seconds)
        self._states |= state_digests(self._directory.client_state, server.accepted, round)
        self._directory.commit(server.state_dict(), self._totals, self._origin, lines, self._states)
        observer.round_ended(result.record, seconds)
        self._tracking.round_ended(result.record, result.rows)
        if kept:
            observer.noticed(f"  {self._where(kept)}")

    def _possible(self, kind: str) -> tuple[str, ...]:
        """The listed controls, but for what the nodes of a Flower app take no part in."""
        listed, left_out = self._experiment.config.controls, {}
        if kind == "flower":
            left_out["local_only"] = "is measured by clients on the test samples, and the nodes of a Flower app measure"
            if isinstance(self._experiment.mechanism, Private):
                left_out["fedavg"] = "has clients send parameters without protection, and the nodes of a Flower app do"
        for name, reason in left_out.items():
            if name in listed:
                self._observer.noticed(f"controls: {name} {reason} no such thing; left out, fedkd run computes it")
        return tuple(name for name in listed if name not in left_out)

    def _controls(self, engine: Engine, names: tuple[str, ...]) -> dict[str, ControlResult]:
        """The controls of these names, each kept as soon as it has ended."""
        rounds = self._experiment.config.rounds
        finished = self._directory.controls(rounds, self._observer.noticed)
        self._spent_before += sum(result.seconds for result in finished.values())
        for name in self._sharing.in_turn(names):
            if name not in finished:
                begun = time.monotonic()
                history, bar = self._control(name, engine)
                if not history:
                    continue
                finished[name] = ControlResult(history, bar, time.monotonic() - begun)
                self._directory.save_controls(rounds, finished)
            self._observer.control_ended(name, finished[name].history[-1])
        return finished

    def _control(self, name: str, engine: Engine) -> Found:
        """A control's test accuracy after every round, the last being its result; of public_only also on validation."""
        ensemble, config = self._totals.ensemble_accuracy, self._experiment.config
        if name == "teacher_only":
            return ([] if ensemble is None else [ensemble]), None

        def progress(done: int, total: int) -> None:
            self._observer.progress(name, done, total)

        def work(experiment: Experiment, run: controls.RunJob, keep: Keep) -> Found:
            match name:
                case "public_only":
                    return controls.public_only(experiment, progress, keep)
                case "centralised":
                    return controls.centralised(experiment, progress), None
                case "fedavg":
                    return controls.fedavg(experiment, run, progress), None
                case _:
                    return controls.local_only(experiment, run, progress), None

        keep = partial(save_control, self._directory.path, run_digest_of(to_json(config)), config.rounds)
        return self._sharing.control(name, work, partial(self._replies, engine), keep)

    def _observed(self, engine: Engine, job: Job, asked: Sequence[int], kept: list[int]) -> Iterator[Reply]:
        """The replies, told to the observer; ``kept`` gets the clients whose traceback is kept."""
        self._observer.progress("clients", 0, len(asked))
        for done, reply in enumerate(self._replies(engine, job, asked, kept), start=1):
            self._observer.progress("clients", done, len(asked))
            yield reply

    def _replies(
        self, engine: Engine, job: Job, asked: Sequence[int], kept: list[int] | None = None
    ) -> Iterator[Reply]:
        """The replies, with the tracebacks of failed ones kept in the run's folder."""
        for reply in engine.run(job, asked):
            if not names_client(reply):
                yield reply  # for the server to refuse
                continue
            if self._tracebacks.keep(job, reply) and kept is not None:
                kept.append(reply.client)
            yield replace(reply, traceback="")

    def _where(self, kept: Sequence[int]) -> str:
        whose = f"traceback of client {kept[0]} is" if len(kept) == 1 else f"tracebacks of {len(kept)} clients are"
        return f"the {whose} in {self._tracebacks.folder}"

    def _seconds(self) -> float:
        """Wall time spent on what is kept."""
        return self._spent_before + time.monotonic() - self._started


def _rounds(count: int) -> str:
    return "1 round" if count == 1 else f"{count} rounds"
