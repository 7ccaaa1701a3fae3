"""Private data that are at home on a node: where its operator has them, and what the node is told of the server's data.

Nothing here tells the server more of them than ``HomeError`` does; the node's own log has the rest.
"""

import os
import re
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedkd.client.setup import experiment_at_home
from fedkd.config.load import to_json
from fedkd.config.schema import ExperimentConfig
from fedkd.core import plugin_files
from fedkd.core.errors import HomeError, RunError
from fedkd.core.files import replace_file, writing
from fedkd.core.messages import Home, Reply
from fedkd.data.home import own_common
from fedkd.engines.flower.wire import Part, Partition
from fedkd.engines.sendable import sendable

PRIVATE, PUBLIC = "private-data", "public-data"

LOG = "errors.log"
"""In the node's own folder: what went wrong with its private data, in full."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_PARTS = 10_000


def home_of(
    config: ExperimentConfig, common: str, partition: Partition, node_config: Mapping[str, Any], folder: Path
) -> Home | None:
    """Where the node's private data are, and what is known of the server's (None: they are not at home).

    ``folder`` is the node's own, ``common`` the digest of what the server tells of its data. Raises ``RunError`` for an
    experiment that has private data elsewhere than the node has.
    """
    named, scheme = node_config.get(PRIVATE), config.data.partition.scheme
    if not config.data.at_home:
        if named is not None:
            raise RunError(
                f"this node has private data of its own, and was asked to take its share by data.partition.scheme="
                f"{scheme}; set that to at_home, or start the node without {PRIVATE}"
            )
        return None
    if named is None:
        raise RunError(
            f"data.partition.scheme=at_home takes private data of this node's own, and --node-config has no {PRIVATE}; "
            f'start it with {PRIVATE}="FOLDER", say (docs/deployment.md)'
        )
    if partition.index is None or partition.count != config.clients.count:
        raise RunError(
            f"with data.partition.scheme=at_home every node has one client: num-partitions must be clients.count = "
            f"{config.clients.count}, got {partition.count}; set clients.count, or start as many nodes"
        )
    return Home(partition.index, str(named), str(_file(folder, common)), common)


def lacks_common(home: Home, config: ExperimentConfig, node_config: Mapping[str, Any]) -> bool:
    """Whether the node has yet to be sent what the server tells of its data.

    Where its operator has named public data, they must be the server's: else ``HomeError`` is raised.
    """
    path = Path(home.common)
    if (named := node_config.get(PUBLIC)) is not None:
        own = own_common(config, str(named))
        if own.digest != home.common_digest:
            raise HomeError(
                f"it has another public set than the server: {own.digest[:16]}… in place of {home.common_digest[:16]}…"
            )
        _keep(path, own.to_bytes())
    elif not path.exists():
        _join(path)
    return not path.exists()


def require_fit(home: Home, config: ExperimentConfig) -> None:
    """Raises ``HomeError`` for private data with which the node cannot take part."""
    experiment_at_home(to_json(config), home, plugin_files.working_folder())


def keep_part(part: Part, folder: Path) -> None:
    """Keep a part of what the server tells of its data, below the node's own folder, until all are there."""
    if not 0 <= part.index < part.count <= _MOST_PARTS:
        raise ValueError(f"part {part.index} of {part.count} is none")
    _keep(_file(folder, part.digest).with_suffix(f".{part.index}of{part.count}"), part.content)


def withheld(reply: Reply, most_bytes: int | None, folder: Path) -> Reply:
    """A reply as it may leave the node: without the words of an error, which its log gets."""
    travelling = sendable(reply, most_bytes)
    if travelling.ok:
        return reply
    note(folder, reply.traceback or travelling.error or "")
    told = reply.error if reply.traceback else "it failed; the log of its node says more"
    return Reply(reply.client, error=told)


def note(folder: Path, error: BaseException | str) -> None:
    """Write an error down in the node's own log, which nobody else reads."""
    text = error if isinstance(error, str) else "".join(traceback.format_exception(error))
    path = folder / LOG
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600), "a") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')}\n{text.rstrip()}\n\n")


def _file(folder: Path, digest: str) -> Path:
    if not _DIGEST.fullmatch(digest):
        raise RunError(f"the digest of what the server tells of its data must be 64 hexadecimal digits, got {digest!r}")
    return folder / "common" / f"{digest}.npz"


def _keep(path: Path, content: bytes) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content, shared=True)


def _join(path: Path) -> None:
    """Make the file of its parts, if all are there."""
    found = {each: re.fullmatch(r"\.(\d+)of(\d+)", each.suffix) for each in path.parent.glob(f"{path.stem}.*")}
    parts = {int(name[1]): each for each, name in found.items() if name is not None}
    counts = {int(name[2]) for name in found.values() if name is not None}
    if len(counts) == 1 and len(parts) == counts.pop():
        _keep(path, b"".join(parts[index].read_bytes() for index in sorted(parts)))
        for part in parts.values():
            part.unlink(missing_ok=True)
