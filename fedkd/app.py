"""The composition root: an experiment from its configuration to its run directory."""

import importlib.util
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version

from fedkd import __version__, controls, plugins
from fedkd.aggregation import LogitAggregator
from fedkd.config import ExperimentConfig, to_json
from fedkd.engines import Engine
from fedkd.engines.inline import InlineEngine
from fedkd.errors import ConfigError
from fedkd.evaluation import diagnose
from fedkd.local.workspace import Workspace, workspace
from fedkd.models import profile
from fedkd.observer import Observer, Silent
from fedkd.privacy import LogitMechanism
from fedkd.records import Overview, RoundRecord, Summary
from fedkd.records.directory import RunDirectory, parameter_digest
from fedkd.report.label_distribution import save_label_distribution
from fedkd.report.observatory import save_observatory
from fedkd.server import Server
from fedkd.types import Job, Outcome


def check(config: ExperimentConfig) -> Workspace:
    """Load what the experiment needs; raises ``ConfigError`` or ``DataError`` for what cannot work."""
    problems = []
    teacher: type[LogitAggregator] = plugins.resolve(plugins.TEACHER, config.teacher.name)
    if teacher.needs_labels and config.data.public.labelled == 0:
        problems.append(
            f"teacher.name: {config.teacher.name} is fitted on labelled public samples and data.public.labelled is 0; "
            "raise it, or choose another teacher"
        )
    if config.engine.kind == "ray" and importlib.util.find_spec("ray") is None:
        problems.append(
            "engine.kind: 'ray' needs the package ray, which is not installed; "
            "pip install 'fedkd[ray]', or set engine.kind=inline"
        )
    try:
        place = workspace(to_json(config))
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from error
    if problems:
        raise ConfigError(problems)
    return place


def build_engine(place: Workspace, *, verbose: bool = False) -> Engine:
    """The engine of ``engine.kind``, not yet started; clients are expected to cost as much as they have samples."""
    config = place.config
    if config.engine.kind == "inline":
        return InlineEngine()
    from fedkd.engines.simulation import RayEngine

    costs = {client: float(data.train.numel()) for client, data in enumerate(place.data.clients)}
    return RayEngine(config.engine, config.clients.count, verbose=verbose, costs=costs)


def run_experiment(
    config: ExperimentConfig, out: Path, observer: Observer | None = None, *, verbose: bool = False
) -> Summary:
    """Run the experiment and write its directory.

    Raises ``ConfigError`` or ``DataError`` before anything starts, ``RunError`` when it cannot go on. On any way out,
    finished rounds are on disk and the engine's processes are gone.
    """
    started = time.monotonic()
    watch: Observer = Silent() if observer is None else observer
    place = check(config)
    directory = RunDirectory.create(out, config)
    save_label_distribution(place.data, out / "plots" / "label_distribution.png")
    overview = _overview(place, out)
    watch.started(overview)
    server = Server.build(place)
    directory.save_checkpoint(0, server.state_dict())
    records: list[RoundRecord] = []
    ensemble: float | None = None
    with build_engine(place, verbose=verbose) as engine:
        for round in range(1, config.rounds + 1):
            begun = time.monotonic()
            asked = server.sampled(round)
            job = server.job(round, probe=round == config.rounds and "teacher_only" in config.controls)
            result = server.finish_round(
                job,
                _watched(engine, job, asked, watch),
                lambda done, total: watch.progress("distillation", done, total),
            )
            ensemble = result.ensemble_accuracy
            seconds = time.monotonic() - begun
            directory.save_checkpoint(round, server.state_dict())
            directory.end_round(result.record, result.rows, seconds)
            records.append(result.record)
            watch.round_ended(result.record, seconds)
        history, bar = _controls(place, engine, server, ensemble, watch)
    seconds = time.monotonic() - started
    summary = _summary(place, server, records, history, bar, seconds)
    directory.finish(summary)
    save_observatory(out)
    watch.finished(summary, overview)
    return summary


def _watched(engine: Engine, job: Job, asked: Sequence[int], watch: Observer) -> Iterator[Outcome]:
    watch.progress("clients", 0, len(asked))
    for done, outcome in enumerate(engine.run(job, asked), start=1):
        watch.progress("clients", done, len(asked))
        yield outcome


def _controls(
    place: Workspace, engine: Engine, server: Server, ensemble: float | None, watch: Observer
) -> tuple[dict[str, list[float]], float | None]:
    """Each listed control's test accuracy, after every round where it has rounds; the last value is its result.

    Also the accuracy of public_only on the validation samples, where it is known.
    """
    history: dict[str, list[float]] = {}
    bar: float | None = None
    for name in place.config.controls:

        def progress(done: int, total: int, stage: str = name) -> None:
            watch.progress(stage, done, total)

        match name:
            case "public_only":
                history[name], bar = controls.public_only(place, progress)
            case "centralised":
                history[name] = controls.centralised(place, progress)
            case "fedavg":
                history[name] = controls.fedavg(place, engine.run, server.sampled, progress)
            case "local_only":
                history[name] = controls.local_only(place, engine.run, progress)
            case "teacher_only":
                history[name] = [] if ensemble is None else [ensemble]
        watch.control_ended(name, history[name][-1])
    return history, bar


def _overview(place: Workspace, out: Path) -> Overview:
    config, data = place.config, place.data
    sizes = [client.train.numel() + client.validation.numel() for client in data.clients]
    partition = config.data.partition
    detail = f"{partition.scheme}({partition.alpha:g})" if partition.scheme in {"dirichlet", "quantity"} else None
    return Overview(
        dataset=config.data.dataset.name,
        classes=data.classes,
        shape=data.shape,
        private_samples=sum(sizes),
        public_samples=data.public.labels.numel(),
        labelled_samples=data.public.labelled.numel(),
        validation_samples=int(data.public.validation.sum()),
        test_samples=data.test_labels.numel(),
        clients=len(sizes),
        clients_per_round=config.clients.per_round,
        smallest_client=min(sizes),
        largest_client=max(sizes),
        partition=detail or partition.scheme,
        student=config.student.model.name,
        student_parameters=profile(place.initial_student(), data.shape).parameters,
        teacher=config.teacher.name,
        balancer=config.distillation.balancer.name,
        engine=config.engine.kind,
        rounds=config.rounds,
        controls=config.controls,
        out=str(out),
    )


def _summary(
    place: Workspace,
    server: Server,
    records: Sequence[RoundRecord],
    history: dict[str, list[float]],
    bar: float | None,
    seconds: float,
) -> Summary:
    config, last = place.config, records[-1]
    diagnosis = last.diagnosis
    if last.validation is not None:
        before = records[-2].validation if len(records) > 1 else None
        diagnosis = diagnose(last.validation, public_only=bar, previous=before, classes=place.data.classes)
    mechanism: LogitMechanism = plugins.build(
        plugins.MECHANISM, config.privacy.mechanism.name, config.privacy.mechanism.options
    )
    return Summary(
        student_accuracy=last.student_accuracy,
        teacher_accuracy=last.teacher_accuracy,
        controls={name: values[-1] for name, values in history.items()},
        control_history=history,
        bytes_up=sum(record.bytes_up for record in records),
        bytes_down=sum(record.bytes_down for record in records),
        epsilon=mechanism.epsilon(releases=config.rounds, delta=config.privacy.delta),
        delta=config.privacy.delta,
        rounds=len(records),
        clients=config.clients.count,
        failures=sum(len(record.failures) for record in records),
        wall_seconds=round(seconds, 3),
        student_sha256=parameter_digest(server.distiller.student.state_dict()),
        versions=versions(),
        validation=last.validation,
        diagnosis=diagnosis,
    )


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    found = {"fedkd": __version__, "python": python_version()}
    for package in ("torch", "torchvision", "numpy", "flwr", "ray"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
