"""What a client keeps of a secure sum between its steps: in a file of its own, and nowhere else."""

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from fedkd.errors import RunError
from fedkd.secure import ProtocolError

RELEASES_KEPT = 3
"""As many rounds as a run may go back to."""


class SessionStore:
    """The file of one client, which only its owner may read.

    ``sessions`` counts the secure sums that the client has begun, over all rounds and attempts; ``releases`` says over
    whom the sums were that it helped to unmask, of the last rounds.
    """

    def __init__(self, state_dir: str, client: int) -> None:
        self._path = Path(state_dir) / f"client_{client:06d}" / "secure_sum.json"
        self._content: dict[str, Any] = {"sessions": 0, "round": 0, "noise": None, "releases": [], "state": None}
        if self._path.exists():
            try:
                self._content = json.loads(self._path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise RunError(
                    f"{self._path} cannot be read ({error}); it holds a client's secrets of a round"
                ) from error

    @property
    def sessions(self) -> int:
        return int(self._content["sessions"])

    def begin(self, round: int, noise: bytes) -> None:
        """Count a new session; the noise's seed stays what it was if the round was begun before."""
        again = self._content["round"] == round and self._content["noise"] is not None
        kept = self._content["noise"] if again else noise.hex()
        self._content |= {"sessions": self.sessions + 1, "round": round, "noise": kept, "state": None}

    def noise_seed(self) -> int:
        """The seed of a round's noise: a round that is begun again releases the same noise."""
        return int(self._content["noise"], 16)

    def state(self, round: int) -> dict[str, Any]:
        """The session's state after its last step; raises ``RunError`` when there is none of this round."""
        state = self._content["state"]
        if self._content["round"] != round or state is None:
            raise RunError(f"this client has begun no secure sum in round {round}; it has to advertise its keys first")
        return dict(state)

    def check_release(self, run: bytes, round: int, survivors: Collection[int]) -> None:
        """Raises ``ProtocolError`` when the round was unmasked over others: two sums tell what they differ by."""
        for release in self._content["releases"]:
            if (release["run"], release["round"]) == (run.hex(), round) and release["clients"] != sorted(survivors):
                raise ProtocolError(
                    f"round {round} was unmasked over clients {release['clients']}, and their difference to "
                    f"{sorted(survivors)} would tell of single ones; start a new run"
                )

    def note_release(self, run: bytes, round: int, survivors: Collection[int]) -> None:
        """Remember over whom a round is unmasked."""
        release = {"run": run.hex(), "round": round, "clients": sorted(survivors)}
        others = [each for each in self._content["releases"] if each != release]
        self._content["releases"] = [*others, release][-RELEASES_KEPT:]

    def save(self, state: dict[str, Any]) -> None:
        """Keep the state, on disk on return, in place of the one before."""
        self._content["state"] = state
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(f".{os.getpid()}.partial")
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(self._content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self._path)
