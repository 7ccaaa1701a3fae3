"""The tracebacks of clients that failed, and of what ended a run, kept beside it."""

import traceback
from pathlib import Path

from fedkd.core.errors import FedkdError, RunError
from fedkd.core.files import replace_file, writing
from fedkd.core.messages import Job, Reply

MOST = 100
"""Files that are kept: more clients than that rarely fail for more reasons."""

TRACEBACK = "traceback.txt"
"""In the run's folder: where the code was, of a plug-in, say, that ended the run with an error of its own."""


def keep_cause(run: Path, error: RunError) -> str:
    """Where the traceback of what is no error of fedkd's own is from now on; blank where there is none."""
    if error.__cause__ is None or isinstance(error.__cause__, FedkdError | OSError):
        return ""
    path = run / TRACEBACK
    replace_file(path, "".join(traceback.format_exception(error.__cause__)).encode(errors="replace"))
    return f" (traceback in {path})"


class Tracebacks:
    """The folder ``failures`` of a run: ``round_00001_client_000003.txt`` for each client that failed in a round."""

    def __init__(self, run: Path) -> None:
        self.folder = run / "failures"

    def keep(self, job: Job, reply: Reply) -> bool:
        """Write down the traceback of a failed reply, if it has one and there is room; whether that was done.

        Raises ``RunError`` when it cannot be written.
        """
        if type(reply.traceback) is not str or not reply.traceback:
            return False
        step = "" if job.kind == "round" else f"_{job.kind.replace('/', '_')}"
        path = self.folder / f"round_{job.round:05d}{step}_client_{reply.client:06d}.txt"
        with writing(path):
            self.folder.mkdir(exist_ok=True)
            if not path.exists() and len(list(self.folder.iterdir())) >= MOST:
                return False
            path.write_text(reply.traceback, encoding="utf-8", errors="backslashreplace")
        return True
