"""A teacher that does something else once, when a file asks for it."""

import os
from dataclasses import dataclass
from pathlib import Path

from fedkd.aggregation.strategy import LogitAggregator
from fedkd.aggregation.types import ReportStack, Teacher


@dataclass
class Moody(LogitAggregator):
    """The mean of the probabilities; but if the file ``mood`` says ``ROUND SIGNAL``, its process gets that first.

    With ``ROUND error`` the teacher raises, with ``ROUND parent SIGNAL`` it is the process that started its own that
    gets the signal. What was asked for is done once: the file is removed.
    """

    mood: str = ""

    def aggregate(self, stack: ReportStack) -> Teacher:
        path = Path(self.mood)
        if path.is_file():
            round, *who, what = path.read_text(encoding="utf-8").split()
            if int(round) == stack.round:
                path.unlink()
                if what == "error":
                    raise ZeroDivisionError("in a bad mood")
                os.kill(os.getppid() if who else os.getpid(), int(what))
        return Teacher.from_probabilities(stack.probabilities.mean(dim=0))
