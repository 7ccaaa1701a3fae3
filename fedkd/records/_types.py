"""What a run records."""

from dataclasses import dataclass, field

from fedkd.evaluation import Diagnosis, ValidationReport


@dataclass(frozen=True)
class Failure:
    """A client dropped from a round, and why."""

    client: int
    reason: str


@dataclass(frozen=True)
class RoundRecord:
    """One row of ``rounds.jsonl``. Accuracies are shares in [0, 1]; None where there is nothing to measure on.

    ``student_accuracy`` is on the test set; ``validation_accuracy`` on the server's validation samples;
    ``teacher_accuracy`` on the public samples whose labels the server does not train on (the simulator knows them).
    ``validation`` compares student and teacher on the validation samples, ``diagnosis`` says what that means.
    Wall time is not here but in ``timings.jsonl``, so that equal runs have equal rounds.
    """

    round: int
    student_accuracy: float
    validation_accuracy: float | None
    teacher_accuracy: float | None
    mean_lambda: float
    loss_dist: float
    loss_cls: float
    temperature: float
    bytes_up: int
    bytes_down: int
    clients: tuple[int, ...]
    failures: tuple[Failure, ...] = ()
    validation: ValidationReport | None = None
    diagnosis: Diagnosis | None = None


@dataclass(frozen=True)
class Summary:
    """``summary.json``: the result of a run. ``control_history`` holds a control's accuracy after each round.

    ``validation`` and ``diagnosis`` are the last round's; the diagnosis also knows how the control public_only does on
    the validation samples, where that control was asked for.
    """

    student_accuracy: float
    teacher_accuracy: float | None
    controls: dict[str, float]
    control_history: dict[str, list[float]]
    bytes_up: int
    bytes_down: int
    epsilon: float | None
    delta: float
    rounds: int
    clients: int
    failures: int
    wall_seconds: float
    student_sha256: str
    versions: dict[str, str] = field(default_factory=dict)
    validation: ValidationReport | None = None
    diagnosis: Diagnosis | None = None


@dataclass(frozen=True)
class Overview:
    """What is known before the first round, for the header a user sees."""

    dataset: str
    classes: int
    shape: tuple[int, int, int]
    private_samples: int
    public_samples: int
    labelled_samples: int
    validation_samples: int
    test_samples: int
    clients: int
    clients_per_round: int
    smallest_client: int
    largest_client: int
    partition: str
    student: str
    student_parameters: int
    teacher: str
    balancer: str
    engine: str
    rounds: int
    controls: tuple[str, ...]
    out: str
