"""What is added up over the rounds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fedkd.core.messages import Traffic
from fedkd.distillation.diagnosis import ValidationReport
from fedkd.results.records import ClientRecord, RoundRecord


@dataclass(frozen=True)
class Totals:
    """What the summary needs of all rounds so far, so that nothing has to be read back from the logs.

    ``last`` is the newest round's record and ``validation_before`` the validation of the round before it.
    ``client_test_accuracy`` and ``ensemble_accuracy`` are the newest round's, on the test set, and measured only when
    ``probed``: in a run's last round, where something asks for it. ``seconds`` is the wall time that was spent.
    """

    rounds: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    failures: int = 0
    sent: Traffic = field(default_factory=Traffic)
    received: Traffic = field(default_factory=Traffic)
    last: RoundRecord | None = None
    validation_before: ValidationReport | None = None
    client_test_accuracy: float | None = None
    ensemble_accuracy: float | None = None
    probed: bool = False
    seconds: float = 0.0

    def after(
        self,
        record: RoundRecord,
        clients: Sequence[ClientRecord],
        *,
        ensemble_accuracy: float | None,
        probed: bool,
        seconds: float,
    ) -> "Totals":
        """The tally with one more round; ``seconds`` is the wall time of all rounds."""
        tested = [row.test_accuracy for row in clients if row.test_accuracy is not None]
        return Totals(
            rounds=record.round,
            bytes_up=self.bytes_up + record.bytes_up,
            bytes_down=self.bytes_down + record.bytes_down,
            failures=self.failures + len(record.failures),
            sent=sum((row.sent for row in clients), self.sent),
            received=sum((row.received for row in clients), self.received),
            last=record,
            validation_before=None if self.last is None else self.last.validation,
            client_test_accuracy=sum(tested) / len(tested) if tested else None,
            ensemble_accuracy=ensemble_accuracy,
            probed=probed,
            seconds=seconds,
        )
