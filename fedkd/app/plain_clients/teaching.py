"""What the server makes of a round's reports: a teacher, and a student that has learned from it."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor, nn

from fedkd.core.compute import fixed_threads
from fedkd.core.messages import ClientReport, Consensus
from fedkd.distillation.diagnosis import ValidationReport
from fedkd.distillation.distiller import DistillationResult
from fedkd.distillation.validation import Validation
from fedkd.experiment import Experiment
from fedkd.server.evaluation import validation_of
from fedkd.server.setup import new_distiller, new_strategy, teacher_of
from fedkd.server.target_cache import Targets


@dataclass(frozen=True)
class Lesson:
    """A round's targets, what clients may be sent of them, how the student learned, and how it does since."""

    targets: Targets
    consensus: Consensus
    distilled: DistillationResult
    validation: ValidationReport | None


class Teaching:
    """The aggregation strategy and the trainer of one run; the student is trained in place."""

    def __init__(self, experiment: Experiment, student: nn.Module) -> None:
        self.experiment, self.student = experiment, student
        self.strategy = new_strategy(experiment)
        self._distiller = new_distiller(experiment, student)

    def positions(self, round: int) -> Int[Tensor, " asked"]:
        """Sorted positions of the public samples of a round."""
        config = self.experiment.config
        return self.experiment.data.public.subset(config.data.public.round_size, config.seed, round)

    def learn(self, reports: Sequence[ClientReport], positions: Int[Tensor, " asked"], round: int) -> Lesson:
        """Valid reports, sorted by client id, on the public samples at ``positions``."""
        experiment = self.experiment
        public = experiment.data.public
        with fixed_threads(experiment.config.engine.server_threads):
            teacher = teacher_of(experiment, self.strategy, reports, labels=public.labels[positions], round=round)
            held_out = public.validation[positions]
            distilled = self._distiller.distil(
                teacher,
                public.inputs[positions],
                public.labels[positions],
                round=round,
                validation=Validation(held_out, public.told[positions][held_out]),
            )
            targets = Targets(positions, teacher)
            validation = validation_of(experiment, self.student, targets, distilled.temperature)
        own = teacher.client_log_probabilities
        personal = {} if own is None else dict(zip((report.client for report in reports), own, strict=True))
        consensus = Consensus(positions, teacher.log_probabilities, teacher.sample_weight > 0, personal)
        return Lesson(targets, consensus, distilled, validation)
