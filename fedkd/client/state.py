"""What clients keep between rounds, on disk, so that memory does not grow with their number."""

import io
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fedkd.core.coding.history import CodeHistory
from fedkd.core.errors import RunError
from fedkd.core.files import replace_file
from fedkd.core.messages import Job
from fedkd.experiment import Experiment

KEPT = 3
"""Rounds kept of each client: the one going on, and the two that a run may go back to, one for each checkpoint."""

Memory = dict[str, Tensor]

_KEY = "state_key"
"""A file that lies where simulated clients would keep their state, while that of a deployment is on its nodes."""


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
        state_dir.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{secrets.token_hex(16)} {nodes}\n", encoding="ascii")
    key, before = file.read_text(encoding="ascii").split()
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


class ClientStore:
    """The memories of one client: a folder with a file for each of its last rounds."""

    def __init__(self, state_dir: str, client: int) -> None:
        self._folder = Path(state_dir) / f"client_{client:06d}"

    def rounds(self, before: int) -> list[int]:
        """The rounds before ``before`` whose memory is kept, in rising order."""
        return [round for round in self._all_rounds() if round < before]

    def load(self, round: int) -> Memory:
        """What the client remembered at the end of a round; raises ``RunError`` when the file cannot be read."""
        path = self._path(round)
        try:
            memory: Memory = torch.load(path, weights_only=True)
        except Exception as error:
            raise RunError(f"{path} cannot be read ({error}); it holds what a client keeps between rounds") from error
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
        self._folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(memory, buffer)
        # Work that is done twice may be written down twice at the same time.
        replace_file(self._path(round), buffer.getvalue(), durable=False, shared=True)
        earlier = [other for other in self.rounds(round) if other <= after]
        for other in self._all_rounds():
            if other != round and other not in earlier[1 - KEPT :]:
                self._path(other).unlink(missing_ok=True)

    def _all_rounds(self) -> list[int]:
        return sorted(int(path.stem.removeprefix("round_")) for path in self._folder.glob("round_*.pt"))

    def _path(self, round: int) -> Path:
        return self._folder / f"round_{round:05d}.pt"


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


def recall(experiment: Experiment, job: Job, client: int, remembers: bool) -> Notes:
    up, down = experiment.uplink, experiment.downlink
    if not (remembers or up.delta or down.delta):
        return Notes(None, 0, {}, None, None)
    if job.state_dir is None:
        raise RunError("these clients keep something between rounds, and the job has no state_dir to keep it in")
    store = ClientStore(job.state_dir, client)
    after = job.accepted.get(client, 0)
    memory = store.load(after) if after in store.rounds(job.round) else {}
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
