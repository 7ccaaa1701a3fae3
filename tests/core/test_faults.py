"""What code of a user's own does wrong is told with its line, and what fedkd refuses in its own words."""

import sys
from pathlib import Path

import pytest

import fedkd
from fedkd.core.errors import ConfigError, RunError
from fedkd.core.faults import described, told_by_line

REFUSAL = f"exec(compile('raise ValueError(\"no\")', {fedkd.__file__!r}, 'exec'))"
"""What a file of fedkd's raises."""


def caught(source: str, path: Path) -> BaseException:
    """What a file with that source raises, with the frames from there on."""
    try:
        exec(compile(source, str(path), "exec"))
    except Exception as error:
        below = None if error.__traceback__ is None else error.__traceback__.tb_next
        return error.with_traceback(below)
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("\n1 / 0", 2, "ZeroDivisionError: division by zero"),
        # Deeper files are Python's, a library's, or fedkd's.
        ("import json\n\njson.loads('{')", 3, "JSONDecodeError"),
        ("import torch\ntorch.zeros(2) @ torch.zeros(3)", 2, "RuntimeError"),
        (f"\n\n{REFUSAL}", 3, "ValueError: no"),
    ],
)
def test_the_line_is_the_last_of_the_users_own(source: str, line: int, words: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    error = caught(source, path)
    assert described(error).startswith(f"{path}, line {line}: {words}")


def test_what_fedkd_refuses_stands_for_itself() -> None:
    assert described(caught(REFUSAL, Path(fedkd.__file__))) == "ValueError: no"


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), SystemExit(0), MemoryError()])
def test_what_is_no_error_of_fedkds_becomes_one(error: BaseException) -> None:
    words = rf"^the run ended with an error: .*{type(error).__name__}"
    with pytest.raises(RunError, match=words) as refusal, told_by_line("the run"):
        raise error
    assert refusal.value.__cause__ is error


def test_what_is_one_stays_itself_and_so_does_an_interruption() -> None:
    for error in (ConfigError(["x"]), KeyboardInterrupt(), BrokenPipeError()):
        with pytest.raises(type(error)) as refusal, told_by_line("the run"):
            raise error
        assert refusal.value is error


def test_nobody_reading_any_more_is_no_error_of_what_was_going_on() -> None:
    """As rich does it, which writes most of what a command says."""

    def write() -> None:
        try:
            raise BrokenPipeError
        except BrokenPipeError:
            sys.exit(1)

    with pytest.raises(SystemExit) as left, told_by_line("the list"):
        write()
    assert left.value.code == 1
