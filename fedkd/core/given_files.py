"""Files that a configuration names, and whose content is a part of the experiment."""

import hashlib
import stat
from pathlib import Path

from fedkd.core.errors import ConfigError
from fedkd.core.wording import cut, shown


def given_path(key: str, named: str) -> Path:
    """The whole path of a file named by a key, relative to where the user works; raises ``ConfigError``."""
    try:
        return Path(named).expanduser().absolute()
    except (OSError, RuntimeError) as error:
        raise ConfigError([f"{key}: {cut(str(error))}, got {shown(named)}; give the file's whole path"]) from error


def read_given(key: str, named: str, *, most_bytes: int, remedy: str, digest: str | None = None) -> bytes:
    """What is in the file that ``key`` names, at most ``most_bytes``.

    Raises ``ConfigError``, which ends with the ``remedy``, when there is no such file, it is too large, or its SHA-256
    is not ``digest`` (None: any will do).
    """
    path = given_path(key, named)
    try:
        # A look before the file is opened: a pipe would wait for somebody to write, a device never ends.
        kind = path.stat()
        if not stat.S_ISREG(kind.st_mode):
            raise ConfigError([f"{key}: must name a file, got {shown(named)}; {remedy}"])
        if kind.st_size > most_bytes:
            raise ConfigError(
                [f"{key}: a file has at most {most_bytes:,} bytes, {cut(named)} has {kind.st_size:,}; {remedy}"]
            )
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError([f"{key}: no such file, got {shown(named)}; {remedy}"]) from error
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise ConfigError([f"{key}: {shown(named)} cannot be read ({why}); {remedy}"]) from error
    if digest is not None and (found := digest_of_content(content)) != digest:
        raise ConfigError(
            [
                f"{key}: {cut(named)} is not the file that the configuration was made for: its SHA-256 is {found} and "
                f"not {digest}; put that file back, or set the digest beside the key to null"
            ]
        )
    return content


def digest_of_content(content: bytes) -> str:
    """SHA-256, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
