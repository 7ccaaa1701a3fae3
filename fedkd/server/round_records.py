"""The rows of ``rounds.jsonl`` and ``clients.csv`` that a round leaves."""

from collections.abc import Mapping

import numpy as np

from fedkd.core.messages import Measurement, Traffic
from fedkd.distillation.diagnosis import Circumstances, Diagnosis, ValidationReport
from fedkd.experiment import Experiment
from fedkd.results.records import ClientRecord, RoundRecord
from fedkd.server.evaluation import teacher_accuracy
from fedkd.server.student_rule import ServerUpdate


def round_record(
    experiment: Experiment,
    round: int,
    update: ServerUpdate,
    rows: tuple[ClientRecord, ...],
    *,
    student_accuracy: float | None,
    validation: ValidationReport | None,
    diagnosis: Diagnosis | None,
    circumstances: Circumstances | None,
) -> RoundRecord:
    """What became of a round, of whose clients ``rows`` tell."""
    distilled = update.distilled
    own = [row.validation_accuracy for row in rows if row.validation_accuracy is not None]
    return RoundRecord(
        round=round,
        student_accuracy=student_accuracy,
        validation_accuracy=None if validation is None else validation.accuracy,
        teacher_accuracy=None if update.targets is None else teacher_accuracy(experiment, update.targets),
        client_accuracy=float(np.mean(own)) if own else None,
        mean_lambda=None if distilled is None else distilled.mean_lambda,
        loss_dist=None if distilled is None else distilled.loss_dist,
        loss_cls=None if distilled is None else distilled.loss_cls,
        temperature=None if distilled is None else distilled.temperature,
        bytes_up=sum(row.sent.total for row in rows),
        bytes_down=sum(row.received.total for row in rows),
        clients=tuple(row.client for row in rows),
        validation=validation,
        diagnosis=diagnosis,
        circumstances=circumstances,
        temperature_choice=None if distilled is None else distilled.choice,
    )


def client_records(
    experiment: Experiment,
    round: int,
    received: Mapping[int, Traffic],
    sent: Mapping[int, Traffic],
    measured: Mapping[int, Measurement],
) -> tuple[ClientRecord, ...]:
    """One row for every client asked, which are those that ``received`` something.

    ``sent`` is what each sent that counts, nothing where its report was dropped.
    """
    rows = []
    for client, traffic in sorted(received.items()):
        own = measured.get(client, Measurement())
        rows.append(
            ClientRecord(
                round=round,
                client=client,
                model=experiment.architectures[experiment.architecture_of(client)].name,
                sent=sent.get(client, Traffic()),
                received=traffic,
                behaviour=experiment.behaviour_spec_of(client).name,
                validation_accuracy=own.validation_accuracy,
                test_accuracy=own.test_accuracy,
            )
        )
    return tuple(rows)
