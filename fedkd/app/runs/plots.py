"""A run's figures, as matplotlib has them. Matplotlib is imported with the first."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from fedkd.core.errors import FolderError

if TYPE_CHECKING:
    from fedkd.app.runs.run import Run
    from fedkd.results.report.style import Figure


class Plots:
    """The figures of a run's report, one method each, drawn anew at every call; a notebook shows them.

    ``figure.savefig(path)`` writes one to a file. Each raises ``FolderError``, with the reason, where the run has
    nothing to show in it.
    """

    def __init__(self, run: "Run") -> None:
        self._run = run

    def accuracy(self) -> "Figure":
        """Accuracy of student, teacher, clients and controls after each round."""
        return self._of_log("accuracy")

    def balance(self) -> "Figure":
        """λ, the weight of distillation, at each step."""
        return self._of_log("lambda")

    def gradients(self) -> "Figure":
        """The two gradients at each measured step: the cosine of their angle, and their norms."""
        return self._of_log("gradients")

    def decrease_curves(self) -> "Figure":
        """What each λ would have gained to first order, at some steps of the first and of the last round."""
        return self._of_log("decrease_curves")

    def taylor_fidelity(self) -> "Figure":
        """The decrease of the loss that was measured against the one that was predicted."""
        return self._of_log("taylor_fidelity")

    def classes(self) -> "Figure":
        """The two losses class by class; needs ``distillation.measure_classes_every``."""
        return self._of_log("classes")

    def label_distribution(self) -> "Figure":
        """How many private samples of each class each client holds."""
        run = self._run

        def draw() -> "Figure":
            from fedkd.results.report.figures._label_distribution import LabelCounts, draw_label_distribution

            return draw_label_distribution(LabelCounts.of(run.experiment.data))

        run.log  # noqa: B018  # which says whether there are clients
        return self._drawn(draw)

    def audit_roc(self) -> "Figure":
        """The ROC of each attack of an audit, under the ceiling of the claim; needs ``fedkd audit``."""
        run = self._run

        def draw() -> "Figure":
            from fedkd.results.report.audits import read_audit
            from fedkd.results.report.figures.roc import draw_roc

            if (audit := read_audit(run.log)) is None:
                raise FolderError(f"{run.log.path} has no audit; fedkd audit {run.log.path} makes it")
            return draw_roc(audit)

        return self._drawn(draw)

    def compression(self) -> "Figure":
        """Test accuracy against size of the networks of ``fedkd distill``."""
        run = self._run

        def draw() -> "Figure":
            from fedkd.app.runs.frames import networks_of
            from fedkd.results.report.figures.compression import draw_compression

            return draw_compression(networks_of(run.folder))

        return self._drawn(draw)

    def continual(self) -> "Figure":
        """What is left of each task after each, of a student that learned several in sequence."""
        run = self._run

        def draw() -> "Figure":
            from fedkd.results.report.figures.continual import draw_continual

            if "learners" not in run.result:
                raise FolderError(f"{run.folder}: no tasks were learned in sequence; data.tasks names some")
            return draw_continual(run.result)

        return self._drawn(draw)

    def _of_log(self, name: str) -> "Figure":
        """One of the figures that are drawn from a run's logs."""
        run = self._run

        def draw() -> "Figure":
            from fedkd.results.report.figures import run_figures

            return run_figures.draw_figure(run.log, name)

        return self._drawn(draw)

    def _drawn(self, draw: Callable[[], "Figure"]) -> "Figure":
        from fedkd.results.report.style import drawing, finish, why_empty

        with drawing():
            figure = draw()
            finish(figure)
        if (reason := why_empty(figure)) is not None:
            raise FolderError(f"{self._run.folder}: there is nothing to draw: {' '.join(reason.split())}")
        return figure
