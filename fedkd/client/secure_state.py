"""What a client keeps of secure sums: in a file of its own, and nowhere else."""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from fedkd.core.errors import RunError
from fedkd.core.files import replace_file
from fedkd.privacy.secure_sum import ProtocolError
from fedkd.privacy.secure_sum.entropy import SystemEntropy

NOISE_BYTES = 32


class SessionStore:
    """The file of one client, which only its owner may read.

    ``sessions`` counts the secure sums that the client has begun, over all rounds and attempts. Of every round that it
    helped to unmask it remembers over whom, and with which report of its own.
    """

    def __init__(self, state_dir: str, client: int) -> None:
        self._path = Path(state_dir) / f"client_{client:06d}" / "secure_sum.json"
        self._content: dict[str, Any] = {
            "sessions": 0,
            "round": 0,
            "noise": None,
            "report": "",
            "releases": {},
            "state": None,
        }
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

    def begin(self, round: int) -> None:
        """Count a new session."""
        noise = self._content["noise"] or SystemEntropy().draw("noise", NOISE_BYTES).hex()
        self._content |= {"sessions": self.sessions + 1, "round": round, "noise": noise, "state": None}

    def noise_seed(self, run: bytes, round: int) -> int:
        """The secret seed of a round's noise: always the same, lest asking for the round again averages it out."""
        return int(hashlib.sha256(f"{self._content['noise']} {_key(run, round)}".encode()).hexdigest(), 16)

    def state(self, round: int) -> dict[str, Any]:
        """The session's state after its last step; raises ``RunError`` when there is none of this round."""
        state = self._content["state"]
        if self._content["round"] != round or state is None:
            raise RunError(f"this client has begun no secure sum in round {round}; it has to advertise its keys first")
        return dict(state)

    def note_report(self, report: bytes) -> None:
        """Remember what the client adds to the sum that is going on, by its digest."""
        self._content["report"] = hashlib.sha256(report).hexdigest()

    def check_release(self, run: bytes, round: int, survivors: Collection[int]) -> None:
        """Raises ``ProtocolError`` when the round was unmasked before, over others or with another report.

        Two sums tell what they differ by, and the same noise on both would not hide it.
        """
        release = self._release(survivors)
        if self._content["releases"].get(_key(run, round), release) != release:
            raise ProtocolError(
                f"round {round} was unmasked before, over other clients than {sorted(survivors)} or with another "
                "report, and the difference of the two sums would tell of single ones; start a new run"
            )

    def note_release(self, run: bytes, round: int, survivors: Collection[int]) -> None:
        """Remember that a round is unmasked, and over whom."""
        self._content["releases"][_key(run, round)] = self._release(survivors)

    def _release(self, survivors: Collection[int]) -> str:
        return hashlib.sha256(json.dumps([self._content["report"], sorted(survivors)]).encode()).hexdigest()

    def save(self, state: dict[str, Any]) -> None:
        """Keep the state, on disk on return, in place of the one before."""
        self._content["state"] = state
        self._path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._path, json.dumps(self._content).encode(), mode=0o600, shared=True)


def _key(run: bytes, round: int) -> str:
    return f"{run.hex()} {round}"
