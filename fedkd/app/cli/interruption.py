"""How commands end when somebody ends them, and what they say of going on."""

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

EXIT_SIGNALLED = 128
"""Added to the number of the signal that ended a run, as shells expect: 130 for Ctrl-C, 143 for SIGTERM."""


@contextmanager
def terminated_gently() -> Iterator[None]:
    """Inside the block, SIGTERM, as batch systems send it, does what Ctrl-C does."""

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_status(interrupt: KeyboardInterrupt) -> int:
    """The status of a command that was interrupted."""
    return EXIT_SIGNALLED + (interrupt.args[0] if interrupt.args else signal.SIGINT)


def this_command() -> str:
    """The command that is running, as one would type it."""
    return shlex.join(["fedkd", *sys.argv[1:]])
