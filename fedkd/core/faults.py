"""What code that is not fedkd's does wrong, told with its file and line."""

import importlib
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedkd.core.errors import FedkdError, RunError

_PACKAGE = Path(__file__).resolve().parents[1]
_SHIPPED = tuple(
    str(root / name) for root in (_PACKAGE / "shipped", _PACKAGE.parent) for name in ("strategies", "clients")
)
_INSTALLED = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))
_LOADERS = tuple(str(_PACKAGE / "core" / name) for name in ("faults.py", "plugin_files.py", "plugins.py"))


def described(error: BaseException, origin: Path | None = None) -> str:
    """``FILE, line N: ValueError: message``, where the line is the last that was reached in the folder of ``origin``.

    Without an ``origin``, in a file of the user's own; where there is none, and fedkd itself refuses something, there
    is no place before its words.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    lines = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in _LOADERS
        and not frame.filename.startswith("<")
        and frame.filename != importlib.__file__
    ]
    frame = _beside(lines, origin) if origin is not None else _to_blame(lines)
    if frame is not None:
        return f"{frame.filename}, line {frame.lineno}: {text}"
    return text if origin is None else f"{origin}: {text}"


def _beside(lines: list[traceback.FrameSummary], origin: Path) -> traceback.FrameSummary | None:
    return next((frame for frame in reversed(lines) if Path(frame.filename).parent == origin.parent), None)


def _to_blame(lines: list[traceback.FrameSummary]) -> traceback.FrameSummary | None:
    """The last line of a user's own; where there is none, what fedkd itself refuses stands for itself."""
    if users := [frame for frame in lines if _is_users(frame.filename)]:
        return users[-1]
    if not lines or lines[-1].filename.startswith(str(_PACKAGE)):
        return None
    return next((frame for frame in reversed(lines) if frame.filename.startswith(_SHIPPED)), lines[-1])


def users_line(error: BaseException) -> str | None:
    """``FILE:LINE``, the last line of the user's own that an error came through; None where there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith("<") and _is_users(frame.filename)]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else None


@contextmanager
def told_by_line(what: str, raised: type[FedkdError] = RunError) -> Iterator[None]:
    """Turns what is raised inside and is no error of fedkd's, ``sys.exit`` too, into an error that names the line.

    ``what`` was going on. The error itself, with its traceback, is the cause of what is raised.
    """
    try:
        yield
    except (FedkdError, BrokenPipeError):
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error.__context__, BrokenPipeError):
            # Nobody reads any more what is written, as after `| head`.
            raise
        raise raised(f"{what} ended with an error: {described(error)}") from error


def _is_users(file: str) -> bool:
    return not file.startswith((str(_PACKAGE), *_SHIPPED, *_INSTALLED))
