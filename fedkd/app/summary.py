"""What is said of a run before and after it."""

from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version

from fedkd import __version__
from fedkd.app.data_checks import home_lines
from fedkd.app.secure_checks import secure_lines
from fedkd.core.errors import RunError
from fedkd.core.messages import parameter_digest
from fedkd.distillation.diagnosis import diagnose
from fedkd.experiment import STUDENT, Experiment
from fedkd.privacy.preview import smallest_release
from fedkd.results.directory import ControlResult
from fedkd.results.records import Overview, Summary
from fedkd.results.totals import Totals
from fedkd.server.privacy_budget import plan_of, privacy_lines
from fedkd.server.server import Server


def overview_of(experiment: Experiment, out: Path) -> Overview:
    """What is known before the first round."""
    config, data = experiment.config, experiment.data
    sizes = [client.train.numel() + client.validation.numel() for client in data.clients] or None
    partition = config.data.partition
    detail = f"{partition.scheme}({partition.alpha:g})" if partition.scheme in {"dirichlet", "quantity"} else None
    if partition.path is not None:
        detail = f"{partition.scheme}({Path(partition.path).name})"
    return Overview(
        dataset=config.data.dataset.name,
        classes=data.classes,
        shape=data.shape,
        private_samples=None if sizes is None else sum(sizes),
        public_samples=data.public.labels.numel(),
        labelled_samples=data.public.labelled.numel(),
        validation_samples=int(data.public.validation.sum()),
        test_samples=data.test_labels.numel(),
        clients=config.clients.count,
        clients_per_round=config.clients.per_round,
        smallest_client=None if sizes is None else min(sizes),
        largest_client=None if sizes is None else max(sizes),
        partition=detail or partition.scheme,
        student=config.student.model.name,
        student_parameters=experiment.parameter_counts[STUDENT],
        teacher=config.strategy.name,
        balancer=config.distillation.balancer.name,
        engine=config.engine.kind,
        rounds=config.rounds,
        controls=config.controls,
        out=str(out),
        behaviour=config.clients.behaviour.name,
        attackers=tuple(sorted(experiment.attackers)),
        attack=config.clients.attackers.behaviour.name,
        privacy=(*privacy_lines(experiment), *secure_lines(experiment), *home_lines(experiment)),
        remarks=tuple(_remarks(experiment)),
    )


def _remarks(experiment: Experiment) -> Iterator[str]:
    """What was asked for and is not to be had with these data."""
    share = experiment.config.data.client_validation
    without = sum(client.validation.numel() == 0 for client in experiment.data.clients)
    if share > 0 and without:
        yield (
            f"data.client_validation: {share:g} makes, rounded, no validation sample of {without} of the "
            f"{len(experiment.data.clients)} clients, which have few samples; how these do on their own is not measured"
        )


def summarise(
    experiment: Experiment, server: Server, totals: Totals, controls: Mapping[str, ControlResult], seconds: float
) -> Summary:
    """The result of a run whose rounds and controls are all done; ``seconds`` is the wall time it took."""
    config, last, student = experiment.config, totals.last, server.rule.student
    if last is None:
        raise RunError("no round was run, and there is nothing to sum up; set rounds to at least 1")
    diagnosis = last.diagnosis
    if diagnosis is not None:
        bar = controls["public_only"].validation_accuracy if "public_only" in controls else None
        diagnosis = diagnose(
            last.validation,
            public_only=bar,
            previous=totals.validation_before,
            classes=experiment.data.classes,
            circumstances=last.circumstances,
        )
    private, delta = server.private, config.privacy.delta
    # In the order of the configuration, whatever order they ended in.
    histories: dict[str, list[float]] = {name: controls[name].history for name in config.controls if name in controls}
    return Summary(
        student_accuracy=last.student_accuracy,
        teacher_accuracy=last.teacher_accuracy,
        client_accuracy=last.client_accuracy,
        client_test_accuracy=totals.client_test_accuracy,
        controls={name: history[-1] for name, history in histories.items()},
        control_history=histories,
        bytes_up=totals.bytes_up,
        bytes_down=totals.bytes_down,
        traffic={"up": totals.sent, "down": totals.received},
        epsilon=None if private is None else server.ledger.epsilon(delta),
        delta=delta,
        rounds=totals.rounds,
        clients=config.clients.count,
        attackers=tuple(sorted(experiment.attackers)),
        failures=totals.failures,
        wall_seconds=round(seconds, 3),
        student_sha256=None if student is None else parameter_digest(student.state_dict()),
        versions=versions(),
        validation=last.validation,
        diagnosis=diagnosis,
        guarantee=None if private is None else private.guarantee(smallest_release(plan_of(experiment))),
        client_epsilon={} if private is None else server.ledger.per_client_bounds(delta),
        node_epsilon=server.accountant.told,
    )


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    found = {"fedkd": __version__, "python": python_version()}
    for package in ("torch", "torchvision", "numpy", "flwr", "ray", "dp-accounting"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
