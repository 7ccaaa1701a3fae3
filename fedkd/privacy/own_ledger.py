"""The account that somebody keeps of what they gave away of their privacy, in a file of their own."""

import json
from pathlib import Path

from fedkd.core.documents import parse_json
from fedkd.core.errors import FolderError
from fedkd.core.files import reading, replace_file, writing
from fedkd.privacy.accounting import DpEvent
from fedkd.privacy.ledger import PrivacyLedger


class OwnLedger:
    """A ``PrivacyLedger`` in the file ``path``, which only its owner may read; it begins with its first charge.

    Raises ``FolderError`` for a file that is damaged: what cannot be read refunds nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ledger = PrivacyLedger()
        if path.exists():
            with reading(path):
                text = path.read_text(encoding="utf-8")
            try:
                self._ledger.load_state_dict(parse_json(text))
            except (KeyError, TypeError, ValueError) as error:
                raise FolderError(
                    f"{path} is damaged, and nothing is released without it; put back a copy of it"
                ) from error

    def charge(self, client: int, round: int, event: DpEvent, attempt: str) -> None:
        """As ``PrivacyLedger.charge``, on disk on return; raises ``RunError`` when it cannot be written."""
        self._ledger.charge(client, round, event, attempt)
        with writing(self._path.parent):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._path, json.dumps(self._ledger.state_dict()).encode(), mode=0o600)

    def epsilon(self, delta: float) -> float:
        """ε of all that was charged."""
        return self._ledger.epsilon(delta)
