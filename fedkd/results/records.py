"""What a run records."""

from dataclasses import dataclass, field

from fedkd.core.messages import Traffic
from fedkd.distillation.diagnosis import Circumstances, Diagnosis, ValidationReport
from fedkd.distillation.temperature_choice import TemperatureChoice
from fedkd.privacy.guarantee import Guarantee


@dataclass(frozen=True)
class Failure:
    """A client dropped from a round, and why."""

    client: int
    reason: str


@dataclass(frozen=True)
class SecureDropout:
    """A client and a step of a secure sum: where it dropped out, or a message of it was refused, and why."""

    client: int
    phase: str
    reason: str


@dataclass(frozen=True)
class SecureRecord:
    """A round's secure sum: over whom, how few would have done, who dropped out when, which messages were refused.

    A client that drops out once its masked report is in stays among the ``survivors``. ``error_bound`` is the most by
    which a number of the decoded sum differs from that of the clients' own numbers. Sums of one round whose clients
    added other noise differ in ``attempt``, counted from 1.
    """

    threshold: int
    survivors: tuple[int, ...]
    dropouts: tuple[SecureDropout, ...]
    rejected: tuple[SecureDropout, ...]
    error_bound: float
    attempt: int = 1


@dataclass(frozen=True)
class RoundRecord:
    """One row of ``rounds.jsonl``. Accuracies are shares in [0, 1]; None where there is nothing to measure on.

    ``student_accuracy`` is on the test set, None for an algorithm without a server's model; ``validation_accuracy`` on
    the server's validation samples; ``teacher_accuracy`` on the public samples whose labels the server does not train
    on (the simulator knows them); ``client_accuracy`` is the mean, over the round's clients, of their models' accuracy
    on their own validation samples, which are as skewed as their training samples: not comparable with the student's.
    What belongs to distillation is None where there is none.
    ``validation`` compares student and teacher on the validation samples, ``circumstances`` is what else is known, and
    ``diagnosis`` says what all that means. ``temperature_choice`` is there in a round in which one was chosen.
    Under secure aggregation ``secure`` tells of the sum, and nothing is known of single clients: ``client_accuracy`` is
    None.
    Wall time is not here but in ``timings.jsonl``, so that equal runs have equal rounds.
    """

    round: int
    student_accuracy: float | None
    validation_accuracy: float | None
    teacher_accuracy: float | None
    mean_lambda: float | None
    loss_dist: float | None
    loss_cls: float | None
    temperature: float | None
    bytes_up: int
    bytes_down: int
    clients: tuple[int, ...]
    failures: tuple[Failure, ...] = ()
    client_accuracy: float | None = None
    validation: ValidationReport | None = None
    diagnosis: Diagnosis | None = None
    circumstances: Circumstances | None = None
    secure: SecureRecord | None = None
    attempts: int | None = None
    temperature_choice: TemperatureChoice | None = None


@dataclass(frozen=True)
class ClientRecord:
    """One row of ``clients.csv``: what one client did in a round, what it cost, and how well it does for itself.

    ``sent`` and ``received`` are the bytes serialised for it, without the envelopes of messages.
    ``behaviour`` names how it behaves, attacker or not. ``validation_accuracy`` is that of its model on its own
    validation samples, ``test_accuracy`` on the test set (in the last round).
    """

    round: int
    client: int
    model: str
    sent: Traffic
    received: Traffic
    behaviour: str
    validation_accuracy: float | None = None
    test_accuracy: float | None = None


@dataclass(frozen=True)
class Summary:
    """``summary.json``: the result of a run. ``control_history`` holds a control's accuracy after each round.

    ``client_accuracy`` is the last round's mean on the clients' own validation samples, ``client_test_accuracy`` on the
    test set, where something asks for that; ``traffic`` divides ``bytes_up`` and ``bytes_down`` into logits, parameters
    and other.

    ``attackers`` are the clients that behave as ``clients.attackers`` says.

    ``validation`` and ``diagnosis`` are the last round's; the diagnosis also knows how the control public_only does on
    the validation samples, where that control was asked for.

    ``epsilon`` is the largest of any client after all rounds that were begun, None where nothing is proved;
    ``guarantee`` is what it means, for the client with the fewest samples; ``client_epsilon`` holds each client's, up
    to 1 % too large. ``node_epsilon`` is what nodes say that have private data and a ledger of their own.
    """

    student_accuracy: float | None
    teacher_accuracy: float | None
    controls: dict[str, float]
    control_history: dict[str, list[float]]
    bytes_up: int
    bytes_down: int
    epsilon: float | None
    delta: float
    rounds: int
    clients: int
    attackers: tuple[int, ...]
    failures: int
    wall_seconds: float
    student_sha256: str | None
    versions: dict[str, str] = field(default_factory=dict)
    client_accuracy: float | None = None
    client_test_accuracy: float | None = None
    traffic: dict[str, Traffic] = field(default_factory=dict)
    validation: ValidationReport | None = None
    diagnosis: Diagnosis | None = None
    guarantee: Guarantee | None = None
    client_epsilon: dict[int, float] = field(default_factory=dict)
    node_epsilon: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Overview:
    """What is known before the first round, for the header a user sees.

    How many private samples there are is None where they are at home, and the server does not know.
    ``attackers`` are the clients that behave as ``attack`` says, the others as ``behaviour``; ``privacy`` is what the
    header should say of that, and ``remarks`` what else a user should know.
    """

    dataset: str
    classes: int
    shape: tuple[int, ...]
    private_samples: int | None
    public_samples: int
    labelled_samples: int
    validation_samples: int
    test_samples: int
    clients: int
    clients_per_round: int
    smallest_client: int | None
    largest_client: int | None
    partition: str
    student: str
    student_parameters: int
    teacher: str
    balancer: str
    engine: str
    rounds: int
    controls: tuple[str, ...]
    out: str
    behaviour: str
    attackers: tuple[int, ...]
    attack: str
    privacy: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
