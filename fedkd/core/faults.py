"""What code that is not fedkd's does wrong, told with its file and line."""

import importlib
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedkd.core.errors import FedkdError, RunError

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))
_LOADERS = tuple(str(_PACKAGE / "core" / name) for name in ("faults.py", "plugin_files.py", "plugins.py"))


def described(error: BaseException, origin: Path | None = None) -> str:
    """``FILE, line N: ValueError: message``, where the line is the last that was reached in the folder of ``origin``.

    Without an ``origin``, in a file of the user's own; where there is none, in any but Python's and the loaders of
    plug-ins.
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
    if origin is not None:
        found = [frame for frame in lines if Path(frame.filename).parent == origin.parent]
    else:
        found = [frame for frame in lines if _is_users(frame.filename)] or lines
    if found:
        return f"{found[-1].filename}, line {found[-1].lineno}: {text}"
    return text if origin is None else f"{origin}: {text}"


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
        raise raised(f"{what} ended with an error in {described(error)}; mend what is wrong there") from error


def _is_users(file: str) -> bool:
    return not file.startswith((str(_PACKAGE), *_INSTALLED))
