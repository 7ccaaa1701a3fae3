"""The teacher that clients made in a run's last round."""

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from fedkd.analysis import NotKnown
from fedkd.analysis.last_round import LastRound
from fedkd.app.analyse import last_round
from fedkd.core.compute import fixed_arithmetic, fixed_threads
from fedkd.core.errors import FolderError
from fedkd.results.observer import Observer
from fedkd.server.finished import Finished


class Ensemble(nn.Module):
    """What the strategy makes of the clients' answers about any samples, as it did in the last round; no parameters.

    Samples that are asked about together stand beside the public samples, and noise that is part of the answers is
    drawn for them anew. What this tells of clients is for whoever runs the simulation: no ε is about it.
    """

    def __init__(self, last: LastRound) -> None:
        super().__init__()
        self._last = last

    @classmethod
    def of(cls, finished: Finished, observer: Observer) -> "Ensemble":
        """Does the clients' part of the last round again; raises ``FolderError`` where that cannot be done."""
        experiment = finished.experiment
        try:
            with fixed_arithmetic(experiment.device), fixed_threads(experiment.config.engine.server_threads):
                last = last_round(finished, observer)
        except NotKnown as reason:
            raise FolderError(f"{finished.folder}: its teacher cannot be made again: {reason}") from reason
        if not (last.teaches and last.answers_samples):
            raise FolderError(f"{finished.folder} has no teacher: this algorithm makes none of the clients' answers")
        ensemble: Ensemble = cls(last).eval()
        return ensemble

    def forward(self, samples: Shaped[Tensor, "samples ..."]) -> Float[Tensor, "samples classes"]:
        """Log-probabilities of the main task's classes."""
        experiment = self._last.experiment
        with fixed_arithmetic(experiment.device), fixed_threads(experiment.config.engine.server_threads):
            return self._last.teacher(samples)
