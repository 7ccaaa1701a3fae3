"""The account that somebody keeps of what they gave away of their privacy, in a file of their own."""

import json
from pathlib import Path

from fedkd.core.documents import parse_json
from fedkd.core.errors import FolderError
from fedkd.core.files import held, reading, replace_file, writing
from fedkd.privacy.accounting import DpEvent
from fedkd.privacy.ledger import PrivacyLedger


class OwnLedger:
    """A ``PrivacyLedger`` in the file ``path``, which only its owner may read; it begins with its first charge."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def charge(self, client: int, round: int, event: DpEvent, attempt: str, delta: float) -> float:
        """As ``PrivacyLedger.charge``, on disk on return: ε at ``delta`` of all that was ever charged.

        Raises ``FolderError`` for a file that is damaged, for what cannot be read refunds nothing, ``RunError`` where
        it cannot be written.
        """
        with writing(self._path.parent):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with held(self._path.with_suffix(".lock"), "lose a charge"):
            ledger = self._read()
            ledger.charge(client, round, event, attempt)
            replace_file(self._path, json.dumps(ledger.state_dict()).encode(), mode=0o600)
        return ledger.epsilon(delta)

    def _read(self) -> PrivacyLedger:
        ledger = PrivacyLedger()
        if self._path.exists():
            with reading(self._path):
                text = self._path.read_text(encoding="utf-8")
            try:
                ledger.load_state_dict(parse_json(text))
            except (KeyError, TypeError, ValueError) as error:
                raise FolderError(
                    f"{self._path} is damaged, and nothing is released without it; put back a copy of it"
                ) from error
        return ledger
