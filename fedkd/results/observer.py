"""How an experiment tells the outside what it is doing."""

from typing import Protocol, runtime_checkable

from fedkd.results.records import Overview, RoundRecord, Summary


@runtime_checkable
class Observer(Protocol):
    """Receives the events of a run, in order, in the thread that runs it."""

    def started(self, overview: Overview) -> None:
        """Data are in place; the engine is about to start."""

    def noticed(self, text: str) -> None:
        """Something that the user of a resumed run should read, such as where it goes on; may come before all else."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """``done`` of ``total`` parts of a stage (``clients``, ``distillation``, or a control's name) are finished."""

    def round_ended(self, record: RoundRecord, seconds: float) -> None:
        """A round is on disk."""

    def control_ended(self, name: str, accuracy: float) -> None:
        """A control has its final test accuracy."""

    def finished(self, summary: Summary, overview: Overview) -> None:
        """The run is complete and its summary on disk."""


class Silent:
    """An observer that ignores everything."""

    def started(self, overview: Overview) -> None: ...

    def noticed(self, text: str) -> None: ...

    def progress(self, stage: str, done: int, total: int) -> None: ...

    def round_ended(self, record: RoundRecord, seconds: float) -> None: ...

    def control_ended(self, name: str, accuracy: float) -> None: ...

    def finished(self, summary: Summary, overview: Overview) -> None: ...
