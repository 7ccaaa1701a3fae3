"""One distillation from its configuration to its folder."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from fedkd.app.distil.checks import check
from fedkd.app.distil.heads import further_accuracies
from fedkd.app.distil.report import compression_report
from fedkd.app.distil.training import distil_student, train_alone, train_teacher
from fedkd.app.runs import Run
from fedkd.app.summary import versions
from fedkd.config.identity import run_digest
from fedkd.config.load import to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.core.compute import fixed_arithmetic, fixed_threads
from fedkd.core.faults import told_by_line
from fedkd.core.files import checked_path, replace_file, write_json
from fedkd.core.messages import parameter_digest
from fedkd.distillation.diagnosis import validate_student
from fedkd.distillation.heads import main_head, split
from fedkd.distillation.network import NetworkTeacher
from fedkd.experiment import Experiment
from fedkd.models import hit_rate, predict
from fedkd.results.lock import locked
from fedkd.results.logs import steps_table
from fedkd.results.observer import Observer, Silent
from fedkd.results.stages import Stages, claim
from fedkd.server.finished import ALONE, RESULT, STUDENT, TEACHER


@told_by_line("the distillation")
def distil_network(
    config: ExperimentConfig, out: str | Path, observer: Observer | None = None, *, resume: bool = False
) -> Run:
    """Train the teacher network, distil it into the student, and train the student without it, for comparison.

    That is the same architecture with the same initial weights and as many steps. ``result.json`` has what came of all
    three, ``compression.json`` what they cost.

    With ``resume`` networks that are finished in ``out`` are taken from there. Raises ``ConfigError`` or ``DataError``
    before anything is trained, ``ConfigError`` also where ``out`` holds something else, ``RunError`` where a file
    cannot be written.
    """
    out, observer = checked_path("out", Path(out)), observer or Silent()
    experiment, network = check(config)
    config, teacher = experiment.config, experiment.config.teacher
    run = run_digest(to_mapping(config))
    with locked(out):
        claim(out, config, run, resume=resume)
        stages = Stages(out, run)

        def taught(model: nn.Module) -> list[float]:
            if teacher is not None and teacher.epochs > 0:
                train_teacher(experiment, teacher, model, lambda *done: observer.progress("teacher", *done))
            return []

        def learned(model: nn.Module) -> list[float]:
            history, rows, choice = distil_student(
                experiment,
                NetworkTeacher(network, experiment.data.spec),
                model,
                lambda *done: observer.progress("distillation", *done),
            )
            replace_file(out / "distillation.csv", steps_table(rows).encode())
            if choice is not None:
                write_json(out / "temperature_choice.json", asdict(choice))
                observer.noticed(choice.text)
            return history

        def unaided(model: nn.Module) -> list[float]:
            return train_alone(experiment, model, lambda *done: observer.progress("student without teacher", *done))

        with fixed_arithmetic(experiment.device), fixed_threads(config.engine.server_threads):
            stages.network(TEACHER, network, taught)
            student = stages.network(STUDENT, experiment.initial_model(), learned)
            labelled = experiment.data.public.labelled.numel() > 0
            alone = stages.network(ALONE, experiment.initial_model(), unaided) if labelled else None
            networks = {TEACHER: network, STUDENT: student} | ({} if alone is None else {ALONE: alone})
            outputs = {name: predict(model, experiment.resident.test_inputs) for name, model in networks.items()}
            result = _result(experiment, network, student, outputs)
        report = compression_report(experiment, networks, outputs, observer.noticed)
        report.write(out, observer.noticed)
        seconds = {name: stage.seconds for name, stage in stages.done.items()}
        histories = {f"{name}_history": stage.history for name, stage in stages.done.items() if stage.history}
        result |= histories | {"compression": report.summary, "seconds": seconds, "versions": versions()}
        write_json(out / RESULT, result)
    return Run(out)


def _result(
    experiment: Experiment,
    teacher: nn.Module,
    student: nn.Module,
    outputs: Mapping[str, Float[Tensor, "tests outputs"]],
) -> dict[str, Any]:
    """Accuracies and agreement on the test samples, and what validation samples say of the student."""
    data = experiment.resident
    scores = {name: split(each, data.head_sizes)[0] for name, each in outputs.items()}
    held_out = data.public.validation
    report = None
    if bool(held_out.any()):
        inputs, told = data.public.inputs[held_out], data.public.told[held_out]
        seen, taught = (predict(main_head(model, data.head_sizes), inputs) for model in (student, teacher))
        report = validate_student(seen, taught.log_softmax(dim=-1), told)
    return {
        **{f"{name}_accuracy": hit_rate(each, data.test_labels) for name, each in scores.items()},
        "agreement": hit_rate(scores[STUDENT], scores[TEACHER].argmax(dim=-1)),
        **({"further_accuracies": further_accuracies(data, outputs)} if data.heads else {}),
        "validation": None if report is None else vars(report),
        "student_sha256": parameter_digest(student.state_dict()),
    }
