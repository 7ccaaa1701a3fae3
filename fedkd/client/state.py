"""What clients keep between rounds, on disk, so that memory does not grow with their number."""

import re
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fedkd.client.setup import keeps_memory
from fedkd.config.identity import run_digest_of
from fedkd.core.coding.history import CodeHistory
from fedkd.core.errors import FolderError, RunError
from fedkd.core.files import writing
from fedkd.core.messages import Job
from fedkd.core.sealed import digest_of, load_sealed, save_sealed, seal_of
from fedkd.experiment import Experiment

KEPT = 3
"""Rounds kept of each client: the one going on, and the two that a run may go back to, one for each checkpoint."""

Memory = dict[str, Tensor]

_KEY = "state_key"
"""A file that lies where simulated clients would keep their state, while that of a deployment is on its nodes."""
_KEY_AND_NODES = re.compile(r"([0-9a-f]{32}) ([1-9][0-9]{0,8})\n?")
_NAME = re.compile(r"round_(\d{5,9})\.pt")


def state_key(state_dir: Path, nodes: int) -> str:
    """What the nodes of a deployment file the state of a run's clients under: 32 hexadecimal digits.

    It is drawn when it is first needed, and has no influence on results. Raises ``RunError`` when the state is here, or
    was divided among another number of ``nodes``.
    """
    file = state_dir / _KEY
    if any(state_dir.glob("client_*")):
        raise RunError(
            f"{state_dir} holds what this run's clients keep between rounds, and on the nodes of a deployment they "
            "would have nothing; go on where the run was begun, by fedkd run or a simulation"
        )
    if not file.is_file():
        with writing(file):
            state_dir.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{secrets.token_hex(16)} {nodes}\n", encoding="ascii")
    found = _KEY_AND_NODES.fullmatch(file.read_bytes().decode("ascii", errors="replace"))
    if found is None:
        raise FolderError(
            f"{file} is damaged: it holds no key and number of nodes; put it back as the run wrote it, for it says "
            "where on the nodes what this run's clients keep is"
        )
    key, before = found.groups()
    if int(before) != nodes:
        raise RunError(
            f"this run's clients live on {before} SuperNodes, with what they keep between rounds, and there are {nodes}"
            f"; start {before}, with the same state-dir and partition-id each as before"
        )
    return key


def require_state_here(state_dir: Path) -> None:
    """Raise ``RunError`` when the nodes of a deployment hold what the run's clients keep between rounds."""
    if (state_dir / _KEY).is_file():
        raise RunError(
            f"{state_dir}: what this run's clients keep between rounds is on the nodes of a Flower deployment; "
            "go on there, with the same SuperNodes"
        )


def state_digests(state_dir: Path, accepted: Mapping[int, int], round: int) -> dict[int, str]:
    """The digests of the files that clients wrote in a round that was accepted, by client, where they are to be seen.

    ``accepted`` is the last round of which a client's report was accepted.
    """
    chosen = (client for client, last in accepted.items() if last == round)
    seals = {client: seal_of(_path_of(state_dir, client, round)) for client in chosen}
    return {client: seal[1] for client, seal in seals.items() if seal is not None}


def check_states(state_dir: Path, run: str, accepted: Mapping[int, int], digests: Mapping[int, str]) -> None:
    """Raise ``FolderError`` unless the clients have what they go on from, after the round ``accepted`` each.

    ``run`` is the run's digest, ``digests`` are those of the files, by client. The files of a deployment are on its
    nodes, which look for themselves.
    """
    if not digests and (state_dir / _KEY).is_file():
        return
    for client, round in sorted(accepted.items()):
        path = _path_of(state_dir, client, round)
        found = digest_of(path, _label(client, round, run))
        # A file system that is shared may have shown a file too late for its digest to be noted.
        if found != digests.get(client, found):
            raise FolderError(f"{path} was changed: it is not what the client wrote after round {round}")


class ClientStore:
    """The memories of one client of the run with this digest: a folder with a file for each of its last rounds."""

    def __init__(self, state_dir: str, client: int, run: str) -> None:
        self._folder = _folder_of(Path(state_dir), client)
        self._client, self._run = client, run

    def rounds(self, before: int) -> list[int]:
        """The rounds before ``before`` whose memory is kept, in rising order."""
        return [round for round in self._all_rounds() if round < before]

    def load(self, round: int) -> Memory:
        """What the client remembered at the end of a round.

        Raises ``FolderError`` when the file is missing, damaged, or another client's, round's or run's.
        """
        path = self._path(round)
        try:
            memory = load_sealed(path, _label(self._client, round, self._run))
        except FolderError as error:
            raise FolderError(
                f"{error}; client {self._client} goes on from it: put it back as it was, or start a new run"
            ) from error
        if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in memory.items()):
            raise FolderError(f"{path} is damaged: it holds something else than tensors by name")
        return memory

    def save(self, round: int, memory: Memory, *, after: int) -> None:
        """Write what was made of the memory of the round ``after`` (0: of none) atomically.

        Those older than the newest three are dropped, as are those that nothing follows from: of rounds that are done
        again, and of rounds since ``after``, whose reports were not accepted. Raises ``RunError`` where the folder of
        the run is out of sight.
        """
        if not self._folder.parent.parent.is_dir():
            raise RunError(
                f"{self._folder.parent.parent} is not on {socket.gethostname()}, and clients keep what they need "
                "between rounds there; on a cluster, name a folder that all machines share with --out"
            )
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        # Work that is done twice may be written down twice at the same time.
        label = _label(self._client, round, self._run)
        save_sealed(self._path(round), memory, label, durable=False, shared=True)
        earlier = [other for other in self.rounds(round) if other <= after]
        for other in self._all_rounds():
            if other != round and other not in earlier[1 - KEPT :]:
                self._path(other).unlink(missing_ok=True)

    def _all_rounds(self) -> list[int]:
        names = (_NAME.fullmatch(path.name) for path in self._folder.glob("round_*.pt"))
        return sorted({int(name[1]) for name in names if name is not None})

    def _path(self, round: int) -> Path:
        return self._folder / _file_name(round)


def _folder_of(state_dir: Path, client: int) -> Path:
    return state_dir / f"client_{client:06d}"


def _file_name(round: int) -> str:
    return f"round_{round:05d}.pt"


def _path_of(state_dir: Path, client: int, round: int) -> Path:
    return _folder_of(state_dir, client) / _file_name(round)


def _label(client: int, round: int, run: str) -> str:
    return f"memory of client {client} after round {round}, run {run[:32]}, format 1"


SENT, RECEIVED = "sent/", "received/"
"""Where the codes last sent and received are among what a client remembers."""


@dataclass
class Notes:
    """What a client remembers, and the codes of the last messages that it and the server both know of.

    It goes on from the end of the round ``after``, the last one of which its report was accepted (0: none): a round
    whose report was dropped or never came is as if it had not taken part. ``sent`` and ``received`` are None where
    messages are not coded as differences.
    """

    store: ClientStore | None
    after: int
    memory: Memory
    sent: CodeHistory | None
    received: CodeHistory | None

    def save(self, round: int) -> None:
        if self.store is None:
            return
        for prefix, history in ((SENT, self.sent), (RECEIVED, self.received)):
            if history is not None:
                self.memory |= {prefix + name: value for name, value in history.state_dict().items()}
        self.store.save(round, self.memory, after=self.after)


def recall(experiment: Experiment, job: Job, client: int) -> Notes:
    """What the client goes on from; raises ``RunError`` where it should remember something and does not."""
    up, down = experiment.uplink, experiment.downlink
    if not keeps_memory(experiment, client):
        return Notes(None, 0, {}, None, None)
    if job.state_dir is None:
        raise RunError("these clients keep something between rounds, and the job has no state_dir to keep it in")
    store = ClientStore(job.state_dir, client, run_digest_of(job.config))
    after = job.accepted.get(client, 0)
    memory = store.load(after) if after > 0 else {}
    return Notes(
        store,
        after,
        {name: value for name, value in memory.items() if not name.startswith((SENT, RECEIVED))},
        _history(experiment, memory, SENT) if up.delta else None,
        _history(experiment, memory, RECEIVED) if down.delta else None,
    )


def _history(experiment: Experiment, memory: Memory, prefix: str) -> CodeHistory:
    history = CodeHistory(experiment.data.public.labels.numel())
    history.load_state_dict(
        {name.removeprefix(prefix): value for name, value in memory.items() if name.startswith(prefix)}
    )
    return history
