"""The public samples that a node was sent, kept in its own folder, so that they are sent once."""

import io
import os
import re
from contextlib import suppress
from pathlib import Path

import numpy as np

from fedkd.app.plain_clients.protocol import NDArray, digest_of
from fedkd.core.errors import RunError
from fedkd.core.files import replace_file, writing

KEPT = 4
"""How many sets of public samples a node keeps: those that it used last."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_last: dict[str, NDArray] = {}
"""The samples that this process used last, by their digest."""


def folder() -> Path:
    """``fedkd-public`` in Flower's own folder: ``$FLWR_HOME``, or ``~/.flwr``."""
    return Path(os.environ.get("FLWR_HOME", Path.home() / ".flwr")).expanduser() / "fedkd-public"


def keep(samples: NDArray, digest: str) -> NDArray:
    """File samples that were sent; raises ``RunError`` where they are not those of the digest, or cannot be written."""
    _check(samples, digest, "the public samples that were sent are")
    path = _path(digest)
    with writing(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = io.BytesIO()
    np.save(content, samples, allow_pickle=False)
    # The nodes of a simulation share the folder. What is lost is sent again.
    replace_file(path, content.getvalue(), mode=0o600, durable=False, shared=True)
    _forget_oldest(path)
    return _remember(samples, digest)


def load(digest: str) -> NDArray:
    """The samples of the digest; raises ``RunError`` where this node does not have them."""
    if digest in _last:
        return _last[digest]
    path = _path(digest)
    try:
        samples = np.load(path, allow_pickle=False)
        _check(samples, digest, f"{path} is")
        os.utime(path)
    except (OSError, ValueError, RunError) as error:
        raise RunError(
            f"this node does not have the public samples {digest[:12]}… ({error}); the server sends them again in the "
            "next round, or give logits_of the node's own: public=array"
        ) from error
    return _remember(samples, digest)


def _path(digest: str) -> Path:
    if not _DIGEST.fullmatch(digest):
        raise RunError(f"the digest of the public samples must be 64 hexadecimal digits, got {digest[:80]!r}")
    return folder() / f"{digest}.npy"


def _check(samples: object, digest: str, what: str) -> None:
    if type(samples) is not np.ndarray or samples.dtype.kind not in "fi" or not samples.flags.c_contiguous:
        raise RunError(f"{what} no array of numbers")
    if (found := digest_of(samples)) != digest:
        raise RunError(f"{what} damaged: their digest is {found[:12]}…, not {digest[:12]}…")


def _remember(samples: NDArray, digest: str) -> NDArray:
    samples.setflags(write=False)
    _last.clear()
    _last[digest] = samples
    return samples


def _forget_oldest(newest: Path) -> None:
    """Remove all but the files that were used last; another process may do the same."""
    with suppress(OSError):
        files = sorted(newest.parent.glob("*.npy"), key=lambda path: (path == newest, path.stat().st_mtime))
        for path in files[:-KEPT]:
            path.unlink(missing_ok=True)
