"""What clients keep between rounds, on disk, so that memory does not grow with their number."""

import os
import socket
from pathlib import Path

import torch
from torch import Tensor

from fedkd.errors import RunError

KEPT = 3
"""Rounds kept of each client: the one going on, and the two that a run may go back to, one for each checkpoint."""

Memory = dict[str, Tensor]


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
        # Of this process alone: work that is done twice may be written down twice at the same time.
        partial = self._path(round).with_suffix(f".{os.getpid()}.partial")
        torch.save(memory, partial)
        os.replace(partial, self._path(round))
        earlier = [other for other in self.rounds(round) if other <= after]
        for other in self._all_rounds():
            if other != round and other not in earlier[1 - KEPT :]:
                self._path(other).unlink(missing_ok=True)

    def _all_rounds(self) -> list[int]:
        return sorted(int(path.stem.removeprefix("round_")) for path in self._folder.glob("round_*.pt"))

    def _path(self, round: int) -> Path:
        return self._folder / f"round_{round:05d}.pt"
